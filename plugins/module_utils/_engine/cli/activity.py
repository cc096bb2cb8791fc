# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that show what goes on in guests: processes, and what each guest uses."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from typing import Any

from .. import metrics, store, usage
from ..site import Site
from . import table

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
#: What ``stat`` can sort by → the keys of a row that are added up, the greatest first but for names. A letter each.
SORTS = {
    "cpu": ("cpu_percent",),
    "memory": ("memory_bytes",),
    "io": ("read_bytes_per_second", "written_bytes_per_second"),
    "traffic": ("received_bytes_per_second", "sent_bytes_per_second"),
    "processes": ("processes",),
    "sockets": ("sockets",),
    "name": ("name",),
}
_HOME, _CLEAR_LINE, _CLEAR_REST = "\033[H", "\033[K", "\033[J"


def _known(site: Site, arguments: argparse.Namespace) -> list[str]:
    return [store.require(site, name).name for name in arguments.names]


def _ps(site: Site, arguments: argparse.Namespace) -> int:
    rows = usage.processes(site, _known(site, arguments), host=arguments.host)
    for row in rows if not arguments.json else ():
        row["uid_inside"] = row["uid"] if row["guest"] is None else row["uid_inside"]
        row["command"] = row["command"] or [f"[{row['name']}]"]
    if arguments.json:
        table.show_json(rows)
    else:
        table.show(_PROCESSES, rows)
    return 0


def by(rows: Sequence[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """``rows`` in the order of ``sort``, a key of SORTS (pure)."""
    if sort == "name":
        return sorted(rows, key=lambda row: str(row["name"]))
    return sorted(rows, key=lambda row: (-sum(row[key] or 0 for key in SORTS[sort]), row["name"]))


def _stat(site: Site, arguments: argparse.Namespace) -> int:
    names = _known(site, arguments)
    sort, before = arguments.sort, usage.samples(site, names)
    if arguments.once or arguments.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        time.sleep(arguments.interval)
        rows = by(usage.rates(before, usage.samples(site, names)), sort)
        if arguments.json:
            table.show_json(rows)
        else:
            table.show(_GUESTS, rows)
        return 0
    keys = {name[0]: name for name in SORTS}
    hint = "q ends; sort by " + ", ".join(f"{key} {name}" for key, name in keys.items())
    wait = 0.2  # the first figures come soon
    with _keys():
        while True:
            key = _key(wait)
            if key == "q":
                return 0
            sort, wait = keys.get(key, sort), arguments.interval
            after = usage.samples(site, names)
            rows = by(usage.rates(before, after), sort)
            lines = [*table.lines(_GUESTS, rows, colours=table.coloured()), "", hint]
            height = os.get_terminal_size().lines
            text = "\n".join(f"{line}{_CLEAR_LINE}" for line in lines[:height])
            sys.stdout.write(f"{_HOME}{text}{_CLEAR_REST}")
            sys.stdout.flush()
            before = after


def _metrics(site: Site, arguments: argparse.Namespace) -> int:
    sys.stdout.write(metrics.text(site, disk=arguments.disk, openmetrics=arguments.openmetrics))
    return 0


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Have the terminal pass on keys as they are typed, ^C still being a signal."""
    settings = termios.tcgetattr(0)
    tty.setcbreak(0)
    sys.stdout.write(_HOME + _CLEAR_REST)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, settings)
        sys.stdout.write("\n")


def _key(seconds: float) -> str:
    """The key that is typed within so many seconds, else nothing."""
    ready, _none, _none = select.select([0], [], [], seconds)
    return os.read(0, 1).decode(errors="replace") or "q" if ready else ""


COMMANDS = {"metrics": _metrics, "ps": _ps, "stat": _stat}
