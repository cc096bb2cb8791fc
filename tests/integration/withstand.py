# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest that takes all it can get is held to: a table.

A line is a deed of ``hostile.py``, the limits of its guest, a figure, and between what the figure has to come to lie;
then a limit is changed, live, and where the figure has to be after that. How a line is tried is in ``trial.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .deed import Deed

M = 1 << 20
#: Stands for the whole disk that guests are on.
DISK = "(disk)"

Figure = Callable[[Deed], float]


def taken(deed: Deed) -> float:
    """How much it says it has."""
    lines = deed.said()
    return int(lines[-1].split()[0]) if lines else 0


def refused(deed: Deed) -> float:
    """1 when there is no such thing to be had."""
    return float(deed.said() == ["0 ENOSYS"])


def zombies(deed: Deed) -> float:
    found: int = deed.used()["process_states"].get("Z", 0)
    return found


def used(counter: str, unit: int = 1) -> Figure:
    """How much of something its guest uses."""
    return lambda deed: deed.used()[counter] / unit


def rate(counter: str, unit: int = 1, seconds: float = 1.5) -> Figure:
    """How much a counter of its guest rises a second."""

    def measured(deed: Deed) -> float:
        before, began = deed.used()[counter], time.monotonic()
        time.sleep(seconds)
        return float(deed.used()[counter] - before) / unit / (time.monotonic() - began)

    return measured


@dataclass(frozen=True)
class Range:
    """Where a figure has to come to lie: above one, and never above the other."""

    above: float
    most: float


def about(value: float, part: float) -> Range:
    """So much, give or take a part of it."""
    return Range(value * (1 - part), value * (1 + part))


@dataclass(frozen=True)
class Case:
    """One thing that a guest takes all of.

    * deed: of hostile.py; limits: what it may have; figure, held: what it has then
    * change, then: what is changed while it goes on, and what it has after that
    * rises: counters of its use that tell of it; event: what ``vserver events`` tells
    * rate: the figure says how fast something goes now; it is measured again when something else was in the way
    * modest: the neighbour and the host do the deed as well, LITTLE of it, while the guest has all it can get
    * swap: the host needs some
    """

    deed: str
    limits: Mapping[str, Any]
    figure: Figure
    held: Range
    change: Mapping[str, Any] | None = None
    then: Range | None = None
    rises: tuple[str, ...] = ()
    event: str | None = None
    rate: bool = False
    modest: bool = False
    swap: bool = False


#: Enough for all but what a line is about.
COMMON: Mapping[str, Any] = {"memory": "256M", "memory_swap": 0, "processes": 40, "cpus": 0.5}


def _sysctl(deed: str, name: str, first: int, second: int, form: str = "{}") -> Case:
    """Something that a setting of the guest's own namespaces bounds."""
    one, other = ({"sysctls": {name: form.format(value)}} for value in (first, second))
    return Case(deed, one, taken, Range(first - 3, first), other, Range(second - 3, second), modest=True)


def _rlimit(deed: str, name: str, first: int, second: int, rises: tuple[str, ...] = ()) -> Case:
    """Something that each process has so much of; the hard limit stays, since not every host may raise it."""
    one, other = ({"rlimits": {name: {"soft": value, "hard": second}}} for value in (first, second))
    ranges = Range(first - 20, first), Range(second - 20, second)
    return Case(deed, one, taken, ranges[0], other, ranges[1], rises=rises, modest=True)


CASES: Mapping[str, Case] = {
    "fork bomb": Case(
        "fork bomb",
        {},
        used("processes"),
        Range(30, 40),
        {"processes": 60},
        Range(50, 60),
        rises=("processes_refused",),
        event="processes-refused",
    ),
    "memory without swap": Case(
        "memory",
        {"memory": "48M"},
        taken,
        Range(20, 48),
        {"memory": "96M"},
        Range(60, 96),
        rises=("oom_kills",),
        event="out-of-memory",
    ),
    "memory with swap": Case(
        "memory",
        {"memory": "32M", "memory_swap": "32M"},
        taken,
        Range(34, 64),
        {"memory_swap": "64M"},
        Range(66, 96),
        rises=("oom_kills", "memory_swap_bytes"),
        event="out-of-memory",
        swap=True,
    ),
    "page cache": Case(
        "page cache",
        {"memory": "40M", "io": [{"device": DISK, "read": "64M", "write": "64M"}]},
        used("memory_bytes", M),
        Range(30, 41),
        {"memory": "56M"},
        Range(46, 58),
        rises=("read_bytes",),
    ),
    "processors": Case(
        "spin",
        {"cpus": 0.1, "cpu_period": "50ms"},  # so little that it gets it on a busy machine as well
        rate("cpu_seconds", seconds=3.0),
        about(0.1, 0.05),
        {"cpus": 0.06},
        about(0.06, 0.05),
        rises=("throttled_seconds", "throttled_periods"),
        rate=True,
    ),
    "disk writes": Case(
        "write directly",
        {"io": [{"device": DISK, "write": "4M"}]},
        rate("written_bytes", M),
        about(4, 0.1),
        {"io": [{"device": DISK, "write": "8M"}]},
        about(8, 0.1),
        rises=("written_operations",),
        rate=True,
    ),
    "descriptors": _rlimit("descriptors", "nofile", 200, 400),
    "sockets": _rlimit("sockets", "nofile", 200, 400, ("sockets",)),
    "inotify instances": _sysctl("inotify", "user.max_inotify_instances", 9, 20),
    "inotify watches": _sysctl("watches", "user.max_inotify_watches", 50, 90),
    "keys": Case("keys", {}, refused, Range(0, 1)),
    "POSIX queues": _sysctl("queues", "fs.mqueue.queues_max", 10, 20),
    "shared memory": _sysctl("shared memory", "kernel.shmmni", 17, 30),
    "semaphores": _sysctl("semaphores", "kernel.sem", 10, 20, "100 1000 10 {}"),
    "message queues": _sysctl("messages", "kernel.msgmni", 10, 20),
    "pending signals": _rlimit("timers", "sigpending", 100, 200),
    "a thousand zombies": Case(
        "zombies",
        {"processes": 1100, "cpus": 1},
        zombies,
        Range(1000, 1100),
        {"processes": 1200},
        Range(1150, 1200),
        rises=("processes_refused", "tasks"),
        event="processes-refused",
    ),
}
#: Does nothing but what freezing and killing have to keep up with.
RESTLESS = Case("restless", {}, used("processes"), Range(0, 40))
