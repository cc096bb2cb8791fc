# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyrings: leaving that of a login session, which descendants inherit (session-keyring(7))."""

from __future__ import annotations

import errno
import os

from .syscall import syscall

#: machine (uname -m) → number of keyctl(2).
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION_KEYRING = 1


def leave_session() -> None:
    """Give the calling process a new, empty session keyring. Does nothing on a kernel without keyrings.

    Raises OSError; KeyError on a machine whose number for it is not known.
    """
    try:
        syscall("leave the session keyring", _KEYCTL[os.uname().machine], _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
