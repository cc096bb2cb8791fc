# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two names for each other's files, at once.

renameat2(2), Linux 3.15; ext4, xfs, btrfs and tmpfs can do it.
"""

from __future__ import annotations

import os
from pathlib import Path

from .syscall import check, libc

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Let each of two existing paths of one file system be what the other was, in one step. Raises OSError."""
    first, second = os.fsencode(one), os.fsencode(other)
    result = libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    check(result, f"exchange {one} and {other}")
