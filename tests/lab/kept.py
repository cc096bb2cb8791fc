# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What took long to make is kept: images and booted machines, until nobody has asked for them in a long time."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

_KEPT_SECONDS = 14 * 86400


def used(directory: Path) -> None:
    """Notes that somebody has use for it, now."""
    os.utime(directory)


def forget_old(place: Path) -> None:
    """Removes the directories in ``place`` that have been of no use for long."""
    for entry in place.iterdir():
        if entry.is_dir() and time.time() - entry.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(entry, ignore_errors=True)
