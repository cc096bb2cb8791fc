# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Landlock: keeping a process and all its descendants from sockets and processes of others (landlock(7))."""

from __future__ import annotations

import ctypes
import errno
import os

from .syscall import syscall

# Same numbers on every architecture (include/uapi/asm-generic/unistd.h).
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_CREATE_RULESET_VERSION = 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
#: The first version of the interface that knows scopes: Linux 6.12.
ABI_WITH_SCOPES = 6


class _RulesetAttributes(ctypes.Structure):
    """struct landlock_ruleset_attr (include/uapi/linux/landlock.h)."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def abi() -> int:
    """The version of the interface this kernel has; 0: none, or switched off."""
    try:
        return syscall("ask for Landlock", _CREATE_RULESET, 0, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def scope(*, signals: bool = False) -> None:
    """Keep the calling process and its descendants from abstract unix sockets of anybody else, for good.

    * signals: and from sending signals to anybody else

    Nothing else is restricted. Does nothing on a kernel without scopes. Needs CAP_SYS_ADMIN; raises OSError.
    """
    if abi() < ABI_WITH_SCOPES:
        return
    attributes = _RulesetAttributes(scoped=_SCOPE_ABSTRACT_UNIX_SOCKET | (_SCOPE_SIGNAL if signals else 0))
    size = ctypes.sizeof(attributes)
    ruleset = syscall("make a Landlock ruleset", _CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        syscall("enter a Landlock domain", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
