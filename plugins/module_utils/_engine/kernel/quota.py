# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Project quota: how much of a file system the files of a directory tree may take (quotactl(2), ext4, XFS)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import handle
from .syscall import check, libc

_GET, _SET, _PROJECT = 0x800007, 0x800008, 2
_BLOCK = 1024  # of a limit, QIF_DQBLKSIZE
_VALID = 1 | 4  # QIF_BLIMITS, QIF_ILIMITS
#: struct if_dqblk: hard and soft limit of blocks, bytes used; the same of inodes; two times; what is valid.
_RECORD = struct.Struct("=8QI4x")

_GET_ATTRIBUTES, _SET_ATTRIBUTES, _INHERIT = 0x801C581F, 0x401C5820, 0x200
#: struct fsxattr: flags, two of extents, project, one more of extents.
_ATTRIBUTES = struct.Struct("=5I8x")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Quota:
    """Limits and use of one project; None is no limit. Space is in bytes."""

    space: int | None = None
    inodes: int | None = None
    space_used: int = 0
    inodes_used: int = 0


def read(device: str, project: int) -> Quota:
    """The quota of a project on the file system of a block device. Raises OSError."""
    record = ctypes.create_string_buffer(_RECORD.size)
    try:
        _quotactl(_GET, device, project, record)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return Quota()
        raise
    blocks, _soft, space, inodes, _soft_inodes, inodes_used, *_rest = _RECORD.unpack(record.raw)
    return Quota(blocks * _BLOCK or None, inodes or None, space, inodes_used)


def write(device: str, project: int, space: int | None, inodes: int | None) -> None:
    """Limit a project. Space is kept in whole KiB. Raises OSError."""
    blocks = (space or 0) // _BLOCK
    packed = _RECORD.pack(blocks, 0, 0, inodes or 0, 0, 0, 0, 0, _VALID)
    _quotactl(_SET, device, project, ctypes.create_string_buffer(packed, len(packed)))


def _quotactl(command: int, device: str, project: int, record: ctypes.Array[ctypes.c_char]) -> None:
    number = ctypes.c_int((command << 8 | _PROJECT) - (1 << 32 if command >> 23 else 0))
    check(libc.quotactl(number, os.fsencode(device), ctypes.c_int(project), record), f"quota of {device}")


def project(top: Path) -> int:
    """The project that a directory and all below it belongs to; 0 for none, or when :func:`assign` has not ended."""
    fd = os.open(top, _DIRECTORY)
    try:
        flags, _size, _extents, found, _cow = _attributes(fd)
        return found if flags & _INHERIT else 0
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            return 0  # this file system knows nothing of projects
        raise
    finally:
        os.close(fd)


def assign(top: Path, number: int) -> None:
    """Have a directory and all below it belong to a project, and what is made there later as well.

    Somebody else may change everything below meanwhile; no link is followed. ``top`` is last, so that a broken run is
    seen. Symbolic links and the like take no space worth counting. Raises OSError.
    """
    with _opened(os.open(top, _DIRECTORY)) as fd:
        # Directories that are still to be looked into, as handles: neither open files nor a path, whatever their depth.
        rest = [handle.of(fd)]
        while rest:
            with contextlib.suppress(FileNotFoundError), handle.opened(fd, rest.pop()) as directory:
                rest += _assign_in(directory, number)
        _assign_one(fd, number, True)


def _assign_in(directory: int, number: int) -> list[bytes]:
    """Assign what is in a directory, and return the directories of that, which are what they are to be themselves."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    below = []
    with os.scandir(directory) as entries:
        plain = [entry for entry in entries if not entry.is_symlink()]
        names = [entry.name for entry in plain if entry.is_dir() or entry.is_file()]
    for name in names:
        try:
            opened = os.open(name, flags, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV):
                continue  # it was removed, or is something else by now
            raise
        with _opened(opened) as fd:
            kind = os.fstat(fd).st_mode
            if stat.S_ISDIR(kind):
                _assign_one(fd, number, True)  # first, so that what is made in it from now on belongs there
                below.append(handle.of(fd))
            elif stat.S_ISREG(kind):
                _assign_one(fd, number, False)
    return below


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _attributes(fd: int) -> tuple[int, int, int, int, int]:
    packed = fcntl.ioctl(fd, _GET_ATTRIBUTES, b"\0" * _ATTRIBUTES.size)
    found: tuple[int, int, int, int, int] = _ATTRIBUTES.unpack(packed)
    return found


def _assign_one(fd: int, number: int, inherit: bool) -> None:
    flags, size, extents, _project, cow = _attributes(fd)
    wanted = _ATTRIBUTES.pack(flags | (_INHERIT if inherit else 0), size, extents, number, cow)
    fcntl.ioctl(fd, _SET_ATTRIBUTES, wanted)
