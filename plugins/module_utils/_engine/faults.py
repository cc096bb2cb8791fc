# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named places where a crash must do no harm. Tests replace :func:`reached` to kill the process right there."""

from __future__ import annotations


def reached(point: str) -> None:
    """Mark that ``point`` ("clone:built", "start:created", …) has just become true. Does nothing in production."""
