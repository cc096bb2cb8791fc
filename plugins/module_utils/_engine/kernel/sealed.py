# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in memory that nobody can change any more (memfd_create(2), F_ADD_SEALS of fcntl(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

#: Path, inode and time of change of a program → the descriptor of its copy, and what that is.
_copies: dict[tuple[str, int, int], tuple[int, tuple[int, int]]] = {}


def program(path: str) -> int | None:
    """The descriptor of a sealed copy of a program, to be executed; None where there can be none.

    It stays open in this process until that closes all it has, and is then made anew.
    """
    with contextlib.suppress(OSError):
        facts = os.stat(path)
        of = path, facts.st_ino, facts.st_mtime_ns
        if of not in _copies or not _is_open(*_copies[of]):
            made = _copy(path)
            _copies[of] = made, _identity(made)
        return _copies[of][0]
    return None


def _copy(path: str) -> int:
    copy = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(path, "rb") as file:
            while os.sendfile(copy, file.fileno(), None, 1 << 30):
                pass
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        if not os.access(f"/proc/self/fd/{copy}", os.X_OK):
            raise PermissionError("this host executes nothing that is in memory only (vm.memfd_noexec)")
    except OSError:
        os.close(copy)
        raise
    return copy


def _identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


def _is_open(fd: int, identity: tuple[int, int]) -> bool:
    try:
        return _identity(fd) == identity
    except OSError:
        return False
