# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many processes and threads a guest may have: controller pids (cgroup-v2.rst, "PID Interface Files").

A guest of which nothing is said may have 15 % of what the host can have, as systemd lets a service (TasksMax=,
systemd-system.conf(5)). The kernel sizes that number so that the stacks of all threads fill an eighth of memory
(kernel/fork.c, set_max_threads); with the rest that a small process takes, 15 % of it is a quarter.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import units
from ..kernel.controller import Controller
from ..model import AUTO, Limits
from .wording import NO_LIMIT, ceiling, refuse_above, require

FIELDS: tuple[str, ...] = ("processes",)
_FILE = "pids.max"
_SHARE = 0.15
_KERNEL = Path("/proc/sys/kernel")


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``processes``, a number, ``auto`` for a share of the host's, or ``max``."""
    value = options.get("processes")
    if value is None:
        return recorded
    if str(value).strip().lower() == AUTO:
        return dataclasses.replace(recorded, processes=AUTO)
    return dataclasses.replace(recorded, processes=ceiling("processes", value, units.parse_count, 1))


@functools.cache
def most() -> int:
    """How many processes and threads this host can have."""
    return min(int((_KERNEL / name).read_text()) for name in ("pid_max", "threads-max"))


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep this limit."""
    number = kept(limits).processes
    if number is not None:
        require("processes", "pids", _FILE, "cgroup.procs")
        refuse_above("processes", number, most(), "processes (kernel.pid_max, kernel.threads-max)")


def kept(limits: Limits) -> Limits:
    """``limits`` with the number that this host makes of ``auto``."""
    if limits.processes != AUTO:
        return limits
    return dataclasses.replace(limits, processes=int(most() * _SHARE))


def read(group: Controller) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value."""
    text = group.read(_FILE)
    return {"processes": None if text in (None, NO_LIMIT) else int(str(text))}


def write(group: Controller, limits: Limits) -> None:
    """Put the limit in force. Raises OSError."""
    number = kept(limits).processes
    group.write(_FILE, NO_LIMIT if number is None else number)
