# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories by file handle: what the kernel knows them by, whatever becomes of their path (open_by_handle_at(2))."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from .syscall import check, libc

#: struct file_handle: length and type, before that many bytes; MAX_HANDLE_SZ.
_HEADER, _LENGTH_MAX = struct.Struct("=Ii"), 128
_AT_EMPTY_PATH = 0x1000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def of(fd: int) -> bytes:
    """The handle of an open directory. Raises OSError where its file system has none."""
    packed = ctypes.create_string_buffer(_HEADER.pack(_LENGTH_MAX, 0), _HEADER.size + _LENGTH_MAX)
    mount = ctypes.c_int()
    check(libc.name_to_handle_at(fd, b"", packed, ctypes.byref(mount), _AT_EMPTY_PATH), "have a handle of a directory")
    return packed.raw


def made(kind: int, identity: bytes) -> bytes:
    """A handle whose parts are known (pure)."""
    return _HEADER.pack(len(identity), kind) + identity


@contextlib.contextmanager
def opened(beside: int, handle: bytes) -> Iterator[int]:
    """A directory of the file system that ``beside`` is in, for a ``with`` block.

    Raises FileNotFoundError when it is gone, other OSError when this process may not ask.
    """
    try:
        fd = check(libc.open_by_handle_at(beside, handle, _DIRECTORY), "open a directory by its handle")
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise FileNotFoundError(errno.ENOENT, "it has been removed") from error
        raise
    try:
        yield fd
    finally:
        os.close(fd)
