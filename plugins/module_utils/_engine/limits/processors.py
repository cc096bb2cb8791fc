# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the host's processors a guest may run on: controller cpuset (cgroup-v2.rst, "Cpuset Interface Files")."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..kernel.controller import Controller
from ..model import Limits
from .wording import NO_LIMIT, require

FIELDS: tuple[str, ...] = ("cpuset",)
_FILE = "cpuset.cpus"
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
    return numbers(Path("/sys/devices/system/cpu/online").read_text())


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``cpuset``, numbers of processors such as ``0-2,5``, or ``max`` for all."""
    value = options.get("cpuset")
    if value is None:
        return recorded
    text = str(value).strip().lower()
    if text == NO_LIMIT:
        return dataclasses.replace(recorded, cpuset=None)
    try:
        found = numbers(text)
    except ValueError:
        found = frozenset()
    if not found:
        raise InvalidInput(
            f"cpuset {value!r} is not a list of processors", remedy="Write numbers such as 0-2,5, or max for all."
        )
    return dataclasses.replace(recorded, cpuset=words(found))


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep this limit."""
    if limits.cpuset is not None:
        require("cpuset", "cpuset", _FILE, _FILE)
        missing = numbers(limits.cpuset) - online()
        if missing:
            raise InvalidInput(
                f"cpuset {limits.cpuset} names processors that this host does not have",
                why=f"it has {words(online())}",
                remedy=f"Take out {words(missing)}.",
            )


def kept(limits: Limits) -> Limits:
    return limits


def read(group: Controller, asked: str | None) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value; all there are is None, unless that is what was asked for."""
    text = group.read(_FILE)
    return {"cpuset": text if text and (text == asked or text != _above(group)) else None}


def _above(group: Controller) -> str:
    """What the group above may use. A group with processes is not allowed an empty list, in v2 no more than in v1."""
    above = Controller(group.path.parent, group.unified)
    return above.read("cpuset.cpus.effective" if group.unified else _FILE) or ""


def write(group: Controller, limits: Limits) -> None:
    """Put the limit in force. Raises OSError."""
    group.write(_FILE, _above(group) if limits.cpuset is None else limits.cpuset)
