# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many processes and threads a guest may have: controller pids (cgroup-v2.rst, "PID Interface Files")."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import units
from ..kernel.controller import Controller
from ..model import Limits
from .wording import NO_LIMIT, ceiling, refuse_above, require

FIELDS: tuple[str, ...] = ("processes",)
_FILE = "pids.max"


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``processes``, a number or ``max``."""
    value = options.get("processes")
    if value is None:
        return recorded
    return dataclasses.replace(recorded, processes=ceiling("processes", value, units.parse_count, 1))


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep this limit."""
    if limits.processes is not None:
        require("processes", "pids", _FILE, "cgroup.procs")
        most = int(Path("/proc/sys/kernel/pid_max").read_text())
        refuse_above("processes", limits.processes, most, "process ids (kernel.pid_max)")


def kept(limits: Limits) -> Limits:
    return limits


def read(group: Controller) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value."""
    text = group.read(_FILE)
    return {"processes": None if text in (None, NO_LIMIT) else int(str(text))}


def write(group: Controller, limits: Limits) -> None:
    """Put the limit in force. Raises OSError."""
    group.write(_FILE, NO_LIMIT if limits.processes is None else limits.processes)
