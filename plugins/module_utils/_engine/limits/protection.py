# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that is not taken from a guest while others have some to spare: controller memory (cgroup-v2.rst, memory.low).

A group is protected as far as every group above it claims as much. So the claim is written to all of the guest's own
groups, and the group of all guests claims the sum. It never claims more, which would go to guests that asked for
nothing, nor less, at any moment. Groups that a guest makes inside are protected through it if cgroup2 is mounted with
memory_recursiveprot (5.7), as systemd mounts it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import running, store, systemd, units
from ..errors import InvalidInput, Unsupported, VserverError
from ..kernel import cgroup
from ..kernel.controller import Controller, controller
from ..model import Guest, Limits
from ..site import Site
from .memory import host_memory
from .wording import NO_LIMIT, refuse_above, require

#: Option → the file of v2, and systemd's word for it (systemd.resource-control(5)).
_WORDS = {"memory_low": ("memory.low", "MemoryLow"), "memory_min": ("memory.min", "MemoryMin")}
FIELDS = tuple(_WORDS)
OF_UNIT = tuple(word for _file, word in _WORDS.values())

#: Option → bytes, 0 for none.
Claim = Mapping[str, int]


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: FIELDS, each bytes (``512M``); 0: none."""
    values: dict[str, Any] = {
        option: units.parse_bytes(option, options[option]) or None
        for option in FIELDS
        if options.get(option) is not None
    }
    limits = dataclasses.replace(recorded, **values)
    for option in FIELDS:
        value = getattr(limits, option)
        if value is not None and limits.memory is not None and value > limits.memory:
            raise InvalidInput(
                f"{option} {value} is above memory {limits.memory}",
                why="what a guest may not have cannot be kept for it",
                remedy=f"Give both, {option} no higher than memory.",
            )
    return limits


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep these limits."""
    for option, (file, _word) in _WORDS.items():
        value = getattr(limits, option)
        if value is None:
            continue
        require(option, "memory", file, None)
        if not cgroup.protects_below():
            raise Unsupported(
                f"limit {option}",
                why="cgroup2 is mounted without memory_recursiveprot, so a guest's own groups have no part in it",
                remedy="Run mount -o remount,nsdelegate,memory_recursiveprot on its mount point.",
            )
        refuse_above(option, value, host_memory(), "bytes of memory")


def kept(limits: Limits) -> Limits:
    """``limits`` as the kernel keeps them, in whole pages (pure)."""
    rounded: dict[str, Any] = {option: number or None for option, number in _claim(limits).items()}
    return dataclasses.replace(limits, **rounded)


def _claim(limits: Limits) -> dict[str, int]:
    page = resource.getpagesize()
    return {option: (getattr(limits, option) or 0) // page * page for option in FIELDS}


def read(site: Site, name: str) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value; the least that a group on the way to the guest claims."""
    levels = _levels(site, name)
    found = _of(levels[0]) if levels else dict.fromkeys(FIELDS, 0)
    if any(found.values()):
        claims, top = [_of(level) for level in levels], _top_of(site, name)
        passed, sums = _of(top), _sums(top)
        for option in FIELDS:
            found[option] = min(claim[option] for claim in claims) if passed[option] >= sums[option] else 0
    return {option: number or None for option, number in found.items()}


def write(site: Site, guest: Guest) -> None:
    """Put the limits of a running guest in force. Raises OSError, :class:`VserverError`."""
    wanted, levels = _claim(guest.limits), _levels(site, guest.name)
    if not levels or not (any(wanted.values()) or any(_of(level) != wanted for level in levels)):
        return
    with _locked(site):
        top, own = _top_of(site, guest.name), _of(levels[0])
        others = {option: number - own[option] for option, number in _sums(top).items()}
        _put(top, {option: others[option] + max(own[option], wanted[option]) for option in FIELDS})
        for level in levels:
            _put(level, wanted)
        _put(top, {option: others[option] + wanted[option] for option in FIELDS})


def release(site: Site) -> None:
    """Have the groups of all guests claim no more for those whose groups are gone."""
    for top in (_top(site, in_unit) for in_unit in (False, True)):
        if top is not None and any(_of(top).values()):
            with contextlib.suppress(OSError, VserverError), _locked(site):  # the next guest that claims does it
                _put(top, _sums(top))


def forget(site: Site) -> None:
    """Have systemd forget what it was told for all guests together, once that is nothing. Raises
    :class:`~..errors.ToolFailed`."""
    with _locked(site):
        top = _top(site, True)
        if top is None or not any(_of(top).values()):
            systemd.forget_properties(site.slice, *OF_UNIT)


@dataclass(frozen=True)
class _Level:
    """A group on the way to a guest's processes.

    * unit: systemd's name of it, if it is systemd's to write
    * guests: of the group that all guests are in: where each guest's own group is, as a pattern
    """

    group: Controller
    unit: str | None = None
    guests: str = ""


def _levels(site: Site, name: str) -> list[_Level]:
    """The guest's groups from the innermost outwards; none with control groups of version 1."""
    outer, sharing, unit = running.own_groups(site, name)
    found = [_level(f"{outer}/guest"), _level(outer), _level(sharing, unit) if unit else None]
    return [level for level in found if level is not None]


def _top_of(site: Site, name: str) -> _Level:
    top = _top(site, running.sharing_group(site, name)[1] is not None)
    if top is None:
        raise FileNotFoundError(None, "this host has no such cgroup controller", "memory")
    return top


def _top(site: Site, in_unit: bool) -> _Level | None:
    """The group that all guests are in: those that are units, or those with supervisors."""
    return _level(site.slice, site.slice, "*/bound/guest") if in_unit else _level(site.cgroup, None, "*/guest")


def _level(group: str, unit: str | None = None, guests: str = "") -> _Level | None:
    memory = controller(cgroup.layout(), "memory", group, group)
    return _Level(memory, unit, guests) if memory is not None and memory.unified else None


def _sums(top: _Level) -> dict[str, int]:
    """What all guests in a group claim together."""
    claims = [_of(_Level(Controller(str(path), True))) for path in Path(top.group.path).glob(top.guests)]
    return {option: sum(claim[option] for claim in claims) for option in FIELDS}


def _of(level: _Level) -> dict[str, int]:
    """What a group claims; nothing, when it is gone."""
    texts = {option: level.group.read(file) or "0" for option, (file, _word) in _WORDS.items()}
    return {option: sys.maxsize if text == NO_LIMIT else int(text) for option, text in texts.items()}


def _put(level: _Level, claim: Claim) -> None:
    if _of(level) == claim:
        return
    if level.unit is not None:
        systemd.set_property(level.unit, *(f"{word}={claim[option]}" for option, (_file, word) in _WORDS.items()))
    else:
        for option, (file, _word) in _WORDS.items():
            level.group.write(file, claim[option])


def _locked(site: Site) -> AbstractContextManager[int]:
    return store.lock(site, "memory-claims")
