# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and swap of a guest: controller memory (cgroup-v2.rst, "Memory Interface Files"; v1: memory.rst)."""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import units
from ..errors import InvalidInput
from ..kernel.controller import Controller
from ..model import Limits
from .wording import NO_LIMIT, ceiling, refuse_above, require

#: Option → the file of v2.
_FILES = {
    "memory_swap": "memory.swap.max",
    "memory_high": "memory.high",
    "memory": "memory.max",
}
FIELDS = tuple(_FILES)
_LIMIT, _SUM = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
_V1_FILES = {"memory": _LIMIT, "memory_swap": _SUM}
_LEAST = 4 << 20
_V1_NO_LIMIT = 1 << 62  # v1 says so with its largest number of whole pages


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: FIELDS, each bytes (``512M``); ``max``: no ceiling."""
    given = {option: options[option] for option in FIELDS if options.get(option) is not None}
    if not given:
        return recorded
    values: dict[str, Any] = {option: _parse(option, value) for option, value in given.items()}
    limits = dataclasses.replace(recorded, **values)
    if limits.memory is not None and limits.memory_high is not None and limits.memory_high > limits.memory:
        raise InvalidInput(
            f"memory_high {limits.memory_high} is above memory {limits.memory}",
            why="it could never be reached",
            remedy="Give both, memory_high no higher than memory.",
        )
    return limits


def _parse(option: str, value: Any) -> int | None:
    number: int | None = ceiling(option, value, units.parse_bytes, 0 if option == "memory_swap" else _LEAST)
    return number


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep these limits."""
    asked = {option: getattr(limits, option) for option in FIELDS if getattr(limits, option) is not None}
    for option, value in asked.items():
        require(option, "memory", _FILES[option], _V1_FILES.get(option))
        if option == "memory_swap":
            refuse_above(option, value, _host_swap(Path("/proc/meminfo").read_text()), "bytes of swap")
        else:
            refuse_above(option, value, host_memory(), "bytes of memory")


def host_memory() -> int:
    """Bytes of memory that this host has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _host_swap(meminfo: str) -> int:
    """Bytes, from the text of proc_meminfo(5) (pure)."""
    (kilobytes,) = (line.split()[1] for line in meminfo.splitlines() if line.startswith("SwapTotal:"))
    return int(kilobytes) << 10


def require_sum(limits: Limits, unified: bool) -> None:
    """v1 limits memory and swap together, so swap alone cannot be limited there. Raises :class:`InvalidInput`."""
    if not unified and limits.memory_swap is not None and limits.memory is None:
        raise InvalidInput(
            f"limit memory_swap to {limits.memory_swap}",
            why="control groups of version 1 limit the sum of memory and swap",
            remedy="Give memory as well.",
        )


def kept(limits: Limits) -> Limits:
    """``limits`` as the kernel keeps them, in whole pages (pure)."""
    page = resource.getpagesize()
    values = {option: getattr(limits, option) for option in FIELDS}
    rounded: dict[str, Any] = {key: value // page * page for key, value in values.items() if value is not None}
    return dataclasses.replace(limits, **rounded) if rounded else limits


def read(group: Controller) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value."""
    if group.unified:
        return {option: _number(group.read(file)) for option, file in _FILES.items()}
    memory, total = (_v1_number(group.read(file)) for file in (_LIMIT, _SUM))
    return {"memory": memory, "memory_swap": None if memory is None or total is None else total - memory}


def _number(text: str | None) -> int | None:
    return None if text in (None, NO_LIMIT) else int(str(text))


def _v1_number(text: str | None) -> int | None:
    return None if text is None or int(text) >= _V1_NO_LIMIT else int(text)


def write(group: Controller, limits: Limits) -> None:
    """Put ``limits`` in force. Raises OSError."""
    if not group.unified:
        _write_v1(group, limits.memory, limits.memory_swap)
        return
    # The ceiling last: what is above it is reclaimed at once, and killed if that does not do.
    for option, file in _FILES.items():
        value = getattr(limits, option)
        if value is not None or group.has(file):
            group.write(file, NO_LIMIT if value is None else value)


def _write_v1(group: Controller, memory: int | None, swap: int | None) -> None:
    """The limit of memory must never be above that of the sum."""
    total = None if memory is None or swap is None else memory + swap
    if total is not None or group.has(_SUM):
        group.write(_SUM, -1)
        group.write(_LIMIT, -1 if memory is None else memory)
        group.write(_SUM, -1 if total is None else total)
    else:
        group.write(_LIMIT, -1 if memory is None else memory)
