# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's share of processor time where guests compete: controller cpu (cgroup-v2.rst, "CPU Interface Files").

A weight counts among the children of one group, so it is set on the group of the guest beside those of the others: its
outer one, or that of its systemd unit, which is systemd's to write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import systemd, units
from ..errors import InvalidInput
from ..kernel.controller import Controller
from ..model import Limits
from .wording import require

FIELDS: tuple[str, ...] = ("cpu_weight", "cpu_idle")
_USUAL, _LEAST, _MOST = 100, 1, 10_000
_V1_USUAL = 1024  # cpu.shares
OF_UNIT = "CPUWeight"  # systemd.resource-control(5)


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: ``cpu_weight``, 1 to 10000, the usual 100 being None; ``cpu_idle``."""
    weight, idle = options.get("cpu_weight"), options.get("cpu_idle")
    limits = recorded
    if weight is not None:
        number = units.parse_count("cpu_weight", weight)
        if not _LEAST <= number <= _MOST:
            raise InvalidInput(f"cpu_weight {number} is out of range", remedy=f"Give {_LEAST} to {_MOST}.")
        limits = dataclasses.replace(limits, cpu_weight=None if number == _USUAL else number)
    if idle is not None:
        limits = dataclasses.replace(limits, cpu_idle=bool(idle))
    if limits.cpu_idle and limits.cpu_weight is not None:
        raise InvalidInput(
            f"cpu_weight {limits.cpu_weight} is given with cpu_idle",
            why="who is idle has no weight",
            remedy=f"Give cpu_weight {_USUAL}, or cpu_idle false.",
        )
    return limits


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep these limits."""
    if limits.cpu_weight is not None:
        require("cpu_weight", "cpu", "cpu.weight", "cpu.shares")
    if limits.cpu_idle:
        require("cpu_idle", "cpu", "cpu.idle", "cpu.idle")


def kept(limits: Limits) -> Limits:
    return limits


def read(group: Controller) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value."""
    idle = group.read("cpu.idle") == "1"
    if group.unified:
        weight = int(group.read("cpu.weight") or _USUAL)
    else:
        weight = round(int(group.read("cpu.shares") or _V1_USUAL) * _USUAL / _V1_USUAL)
    return {"cpu_weight": None if idle or weight == _USUAL else weight, "cpu_idle": idle}


def in_force(group: Controller, limits: Limits) -> bool:
    return read(group) == {field: getattr(limits, field) for field in FIELDS}


def write(group: Controller, limits: Limits) -> None:
    """Put ``limits`` in force. Raises OSError."""
    if limits.cpu_idle or group.has("cpu.idle"):
        group.write("cpu.idle", int(limits.cpu_idle))  # who ceases to be idle gets the usual weight
    if not limits.cpu_idle:
        weight = limits.cpu_weight or _USUAL
        if group.unified:
            group.write("cpu.weight", weight)
        else:
            group.write("cpu.shares", round(weight * _V1_USUAL / _USUAL))


def write_unit(unit: str, limits: Limits) -> None:
    """Have systemd put ``limits`` in force for a unit. Raises :class:`~..errors.ToolFailed`."""
    weight = "idle" if limits.cpu_idle else str(limits.cpu_weight or _USUAL)
    systemd.set_property(unit, f"{OF_UNIT}={weight}")
