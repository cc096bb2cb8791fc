# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of processors as the kernel writes them, and its own (Documentation/admin-guide/cputopology.rst)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

_PLACE = Path("/sys/devices/system/cpu")
#: The kernel's largest CONFIG_NR_CPUS, and then some.
_MOST = 1 << 16


def numbers(text: str) -> frozenset[int]:
    """``0-2,5`` → 0, 1, 2, 5, as the kernel writes lists (pure). Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise ValueError(part)
        low, high = int(first), int(last if dash else first)
        if not low <= high < _MOST:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return frozenset(found)


def words(found: Iterable[int]) -> str:
    """0, 1, 2, 5 → ``0-2,5`` (pure)."""
    spans: list[list[int]] = []
    for number in sorted(found):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


@functools.cache
def online() -> frozenset[int]:
    """The processors that this host has and that are switched on, read from the kernel once a process."""
    return numbers((_PLACE / "online").read_text())


@functools.cache
def possible() -> frozenset[int]:
    """Those that the kernel keeps room for, there or not."""
    return numbers((_PLACE / "possible").read_text())
