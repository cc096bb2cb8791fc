# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a path below a directory that somebody else filled: no link in it leads out.

openat2(2), Linux 5.6. The C library has no function for it.
"""

from __future__ import annotations

import ctypes
import errno
import os

from ..errors import Unsupported
from .syscall import syscall

# One number on every architecture, as for all system calls since 424 (include/uapi/asm-generic/unistd.h).
_OPENAT2 = 437

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

#: The kernel answers EAGAIN when a rename elsewhere left it unable to tell whether ".." stayed inside.
_ATTEMPTS = 1000


class _OpenHow(ctypes.Structure):
    """struct open_how (include/uapi/linux/openat2.h)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in_root(
    root_fd: int,
    path: str,
    flags: int,
    mode: int = 0,
    resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
) -> int:
    """Open ``path`` as a process would whose root directory is ``root_fd``; return a new descriptor (close-on-exec).

    By default symbolic links are followed, absolute ones and ``..`` from ``root_fd``; with ``RESOLVE_NO_SYMLINKS``
    added, any link in the path is refused with ELOOP.

    Raises OSError as open(2) does, its ``filename`` being ``path``; :class:`Unsupported` before Linux 5.6.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    attempt = 0
    while True:
        try:
            return syscall(f"open {path}", _OPENAT2, root_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        except OSError as error:
            attempt += 1
            if error.errno in (errno.EAGAIN, errno.EINTR) and attempt < _ATTEMPTS:
                continue
            if error.errno == errno.ENOSYS:
                raise Unsupported(
                    f"open {path} inside a file system tree",
                    why="the kernel has no openat2",
                    remedy="Use Linux 5.6 or newer.",
                ) from error
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from error
