# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's processor time: controller cpu (sched-bwc.rst, sched-design-CFS.rst; cgroup-v2.rst, "CPU Interface Files").

Linux-VServer's token bucket in today's words: every ``cpu_period`` (interval) the bucket gets ``cpus`` × ``cpu_period``
(fill rate) of processor time, and keeps up to ``cpu_burst`` (tokens) that was not used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import units
from ..errors import InvalidInput
from ..kernel import cpu_list
from ..kernel.controller import Controller
from ..model import Limits
from .wording import NO_LIMIT, ceiling, refuse_above, require

FIELDS: tuple[str, ...] = ("cpus", "cpu_period", "cpu_burst")
_PERIOD = 100_000  # microseconds, the kernel's own
_PERIODS = (1_000, 1_000_000)  # kernel/sched/core.c: min_cfs_quota_period, max_cfs_quota_period
_CPUS_MIN = 0.01


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: ``cpus`` (1.5), ``cpu_period`` and ``cpu_burst`` (``50ms``).

    What the kernel does by itself is None: a period of 100 ms, a burst of 0.
    """
    given = {option: options[option] for option in FIELDS if options.get(option) is not None}
    if not given:
        return recorded
    values: dict[str, Any] = {}
    if "cpus" in given:
        values["cpus"] = ceiling("cpus", given["cpus"], units.parse_number, _CPUS_MIN)
    if "cpu_period" in given:
        period = units.parse_duration("cpu_period", given["cpu_period"])
        if not _PERIODS[0] <= period <= _PERIODS[1]:
            raise InvalidInput(f"cpu_period {period} µs is out of range", remedy="Give 1ms to 1s.")
        values["cpu_period"] = None if period == _PERIOD else period
    if "cpu_burst" in given:
        values["cpu_burst"] = units.parse_duration("cpu_burst", given["cpu_burst"]) or None
    limits = dataclasses.replace(recorded, **values)
    _check(limits)
    return limits


def _check(limits: Limits) -> None:
    """Refuse what does not go together (pure)."""
    if limits.cpus is None:
        for option in ("cpu_period", "cpu_burst"):
            if getattr(limits, option) is not None:
                raise InvalidInput(f"{option} is given without cpus", remedy=f"Give cpus, or take {option} out.")
    else:
        quota, period = _quota(limits)
        if quota < _PERIODS[0]:
            raise InvalidInput(
                f"cpus {limits.cpus:g} is too small for cpu_period {period} µs",
                why=f"that is {quota} µs a period, and the kernel gives no less than {_PERIODS[0]}",
                remedy="Give a longer period.",
            )
        if (limits.cpu_burst or 0) > quota:
            raise InvalidInput(
                f"cpu_burst {limits.cpu_burst} µs is too large",
                why=f"the kernel saves up no more than one period's {quota} µs",
                remedy="Give less, or a longer cpu_period.",
            )


def _quota(limits: Limits) -> tuple[int, int]:
    """Microseconds of processor time in every so many; -1: without limit."""
    period = limits.cpu_period or _PERIOD
    return -1 if limits.cpus is None else round(limits.cpus * period), period


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep these limits."""
    if limits.cpus is not None:
        require("cpus", "cpu", "cpu.max", "cpu.cfs_quota_us")
        refuse_above("cpus", limits.cpus, len(cpu_list.online()), "processors")
    if limits.cpu_burst is not None:
        require("cpu_burst", "cpu", "cpu.max.burst", "cpu.cfs_burst_us")


def kept(limits: Limits) -> Limits:
    """``limits`` as the kernel keeps them, in whole microseconds (pure)."""
    return limits if limits.cpus is None else dataclasses.replace(limits, cpus=_cpus(*_quota(limits)))


def _cpus(quota: int, period: int) -> float | None:
    return None if quota < 0 else round(quota / period, 4)


def read(group: Controller) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value."""
    if group.unified:
        words = (group.read("cpu.max") or f"{NO_LIMIT} {_PERIOD}").replace(NO_LIMIT, "-1").split()
        burst = group.read("cpu.max.burst")
    else:
        words = [group.read("cpu.cfs_quota_us") or "-1", group.read("cpu.cfs_period_us") or str(_PERIOD)]
        burst = group.read("cpu.cfs_burst_us")
    quota, period = map(int, words)
    return {
        "cpus": _cpus(quota, period),
        "cpu_period": None if period == _PERIOD else period,
        "cpu_burst": int(burst or 0) or None,
    }


def write(group: Controller, limits: Limits) -> None:
    """Put ``limits`` in force. Raises OSError."""
    quota, period = _quota(limits)
    burst_file = "cpu.max.burst" if group.unified else "cpu.cfs_burst_us"
    bursts = group.has(burst_file)
    if bursts:
        group.write(burst_file, 0)  # which must never be above the quota
    if group.unified:
        group.write("cpu.max", f"{NO_LIMIT if quota < 0 else quota} {period}")
    elif group.has("cpu.cfs_quota_us"):
        group.write("cpu.cfs_quota_us", -1)  # a shorter period would make it too small for a moment
        group.write("cpu.cfs_period_us", period)
        group.write("cpu.cfs_quota_us", quota)
    if bursts or limits.cpu_burst is not None:
        group.write(burst_file, limits.cpu_burst or 0)
