# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a small file, of the kernel's or our own: two dozen for each guest that is looked at."""

from __future__ import annotations

import os

_PIECE = 1 << 14


def read(path: str | os.PathLike[str]) -> bytes:
    """The whole of a file, in half the time that Python's own objects for files take. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = piece = os.read(fd, _PIECE)
        while piece:  # the kernel tells some of its files page by page
            piece = os.read(fd, _PIECE)
            content += piece
    finally:
        os.close(fd)
    return content
