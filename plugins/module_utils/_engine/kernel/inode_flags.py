# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags of files and directories, as chattr(1) sets them (ioctl_iflags(2))."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_GET, _SET, _TOP_OF_HIERARCHIES = 0x80086601, 0x40086602, 0x20000
_FLAGS = struct.Struct("=I4x")  # the kernel writes an int where the number of the call says long


def spread_below(directory: Path) -> None:
    """Tell ext4 that what the directories in ``directory`` hold is unrelated: each gets a block group of its own.

    It is attribute ``T`` of chattr(1). Raises OSError where the file system has no such thing.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GET, bytes(_FLAGS.size)))
        fcntl.ioctl(fd, _SET, _FLAGS.pack(flags | _TOP_OF_HIERARCHIES))
    finally:
        os.close(fd)
