# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that show what goes on in guests: processes, and what each guest uses."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from .. import info, metrics, store, usage
from ..site import Site
from . import live, table

_PROCESSES = (
    table.Column("GUEST", "guest"),
    table.Column("XID", "xid", right=True),
    table.Column("PID", "pid", right=True),
    table.Column("INSIDE", "pid_inside", right=True),
    table.Column("UID", "uid_inside", right=True),
    table.Column("MEMORY", "memory_bytes", table.size, right=True),
    table.Column("CPU TIME", "cpu_seconds", table.duration, right=True),
    table.Column("STATE", "state"),
    table.Column("COMMAND", "command", table.command),
)
_TOP = live.View(
    (*_PROCESSES[:5], table.Column("CPU", "cpu_percent", table.percent, right=True), *_PROCESSES[5:]),
    {"cpu": ("cpu_percent",), "memory": ("memory_bytes",), "time": ("cpu_seconds",), "guest": ()},
    ("guest", "pid"),
)
_DISK = table.Column("DISK", "disk_bytes", table.size, right=True)
_GUESTS = (
    table.Column("GUEST", "name"),
    table.Column("XID", "xid", right=True),
    table.Column("STATE", "state", colour=table.state_colour),
    table.Column("CPU", "cpu_percent", table.percent, right=True),
    table.Column("THROTTLED", "throttled_percent", table.percent, right=True),
    table.Column("MEMORY", "memory_bytes", table.size, right=True),
    table.Column("READ/S", "read_bytes_per_second", table.size, right=True),
    table.Column("WRITE/S", "written_bytes_per_second", table.size, right=True),
    table.Column("RECV/S", "received_bytes_per_second", table.size, right=True),
    table.Column("SENT/S", "sent_bytes_per_second", table.size, right=True),
    table.Column("PROCESSES", "processes", right=True),
    table.Column("SOCKETS", "sockets", right=True),
    table.Column("OOM", "oom_kills", right=True),
    table.Column("CPU TIME", "cpu_seconds", table.duration, right=True),
    table.Column("UP", "started_at", table.age, right=True),
)
_SORTS = {
    "cpu": ("cpu_percent",),
    "memory": ("memory_bytes",),
    "io": ("read_bytes_per_second", "written_bytes_per_second"),
    "traffic": ("received_bytes_per_second", "sent_bytes_per_second"),
    "processes": ("processes",),
    "sockets": ("sockets",),
    "name": (),
    "disk": ("disk_bytes",),
}
_STAT = live.View(_GUESTS, {name: keys for name, keys in _SORTS.items() if name != "disk"}, ("name",))
_STAT_DISK = live.View((*_GUESTS[:6], _DISK, *_GUESTS[6:]), _SORTS, ("name",))
#: How often every file is looked at for the sizes on disk.
_DISK_SECONDS = 60.0


def _known(site: Site, arguments: argparse.Namespace) -> list[str]:
    return [store.require(site, name).name for name in arguments.names]


def _readable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Processes as people expect them: one of the host has a user as well, one without a command line a name."""
    for row in rows:
        row["uid_inside"] = row["uid"] if row["guest"] is None else row["uid_inside"]
        row["command"] = row["command"] or [f"[{row['name']}]"]
    return rows


def _ps(site: Site, arguments: argparse.Namespace) -> int:
    rows = usage.processes(site, _known(site, arguments), host=arguments.host)
    if arguments.json:
        table.show_json(rows)
    else:
        table.show(_PROCESSES, _readable(rows))
    return 0


def _top(site: Site, arguments: argparse.Namespace) -> int:
    names = _known(site, arguments)
    moment, before = time.monotonic(), usage.processes(site, names, host=arguments.host)

    def look() -> list[dict[str, Any]]:
        nonlocal moment, before
        now, after = time.monotonic(), usage.processes(site, names, host=arguments.host)
        rows = usage.process_rates(before, after, now - moment)
        moment, before = now, after
        return rows if arguments.json else _readable(rows)

    return live.show(_TOP, look, arguments)


def _stat(site: Site, arguments: argparse.Namespace) -> int:
    names, disk = _known(site, arguments), arguments.disk or arguments.sort == "disk"
    before = usage.samples(site, names)
    sizes: dict[str, dict[str, int]] = {}
    measured = -_DISK_SECONDS

    def look() -> list[dict[str, Any]]:
        nonlocal before, sizes, measured
        after = usage.samples(site, names)
        rows = usage.rates(before, after)
        before = after
        if disk:
            if time.monotonic() - measured >= _DISK_SECONDS:
                sizes, measured = info.disk_use(site, [row["name"] for row in rows]), time.monotonic()
            unknown = {"disk_bytes": None, "disk_shared_bytes": None}
            rows = [{**row, **sizes.get(row["name"], unknown)} for row in rows]
        return rows

    return live.show(_STAT_DISK if disk else _STAT, look, arguments)


def _metrics(site: Site, arguments: argparse.Namespace) -> int:
    sys.stdout.write(metrics.text(site, disk=arguments.disk, openmetrics=arguments.openmetrics))
    return 0


COMMANDS = {"metrics": _metrics, "ps": _ps, "stat": _stat, "top": _top}
