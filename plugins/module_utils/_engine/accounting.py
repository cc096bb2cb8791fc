# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest has used since it started: the kernel's own counters of its cgroup, in both versions of control groups.

One reading of a guest is a dozen small files and one map; sockets are listed once for all guests. Whatever the kernel
does not count here is None, and why is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import running, socket_owners
from .chbind import attach
from .chbind.traffic_counter import Traffic
from .kernel import cgroup, cgroup_processes, pressure, process
from .kernel.controller import Controller
from .kernel.pressure import Pressure
from .limits import socket_counter
from .site import Site


@dataclass(frozen=True)
class Account:
    """Counters of a running guest; bytes, seconds, numbers.

    * throttled_seconds: how long it had used up its ``cpus``; throttled_periods of cpu_periods: how often
    * memory_bytes: page cache included; memory_peak_bytes: the most of it so far
    * memory_high_events, memory_max_events: how often it was at these limits; memory_low_events: how often it was made
      to give back memory although it had no more than it is promised
    * oom_events: how often an allocation was about to fail; oom_kills: processes killed for want of memory
    * tasks: what counts for its limit of processes: also each thread, and who has ended and is not waited for
    * processes_refused: how often a process or thread was one too many
    * sockets: TCP and UDP sockets it has now; sockets_refused: how often one was one too many
    * pressure: how long something in it waited, by what for: ``cpu``, ``memory``, ``io``
    * network: what it received and sent, by :data:`.chbind.traffic_counter.SLOTS`
    * not_counted: why the fields are None that are
    """

    cpu_seconds: float = 0.0
    cpu_user_seconds: float = 0.0
    cpu_system_seconds: float = 0.0
    cpu_periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_anonymous_bytes: int | None = None
    memory_cache_bytes: int | None = None
    memory_low_events: int | None = None
    memory_high_events: int | None = None
    memory_max_events: int | None = None
    oom_events: int | None = None
    oom_kills: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    read_operations: int | None = None
    written_operations: int | None = None
    processes: int = 0
    tasks: int | None = None
    processes_refused: int | None = None
    sockets: int | None = None
    sockets_refused: int | None = None
    pressure: Mapping[str, Pressure] | None = None
    network: Mapping[str, Traffic] | None = None
    not_counted: Mapping[str, str] = field(default_factory=dict)


#: The beginning of a counter's name → the controller that counts it.
_COUNTED_BY = {
    "cpu_periods": "cpu",
    "throttled": "cpu",
    "memory": "memory",
    "oom": "memory",
    "read": "io",
    "written": "io",
    "processes_refused": "pids",
    "tasks": "pids",
}
_OTHERWISE = {
    "sockets": "the kernel does not tell whose a socket is: Linux 5.8 is the first that does",
    "sockets_refused": "the kernel has no hook for the end of a socket: Linux 6.1 is the first that has",
    "pressure": "the kernel measures no pressure: it was built without, or psi=1 is not on its command line",
    "network": "packets are counted by the programs of a binding, and network: host is none",
}


def read_all(site: Site, names: Sequence[str]) -> dict[str, Account]:
    """The counters of running guests, by name; what has vanished meanwhile is as if it had used nothing."""
    listed = socket_owners.by_guest({name: running.group(site, name) for name in names}) if names else {}
    return {name: _read(site, name, listed[name]) for name in names}


def _read(site: Site, name: str, its_sockets: int | None) -> Account:
    layout, inner = cgroup.layout(), running.inner_cgroup(site, name)
    groups, tree = running.controllers(site, name), Controller(f"{layout.tree}/{inner}", True)
    values: dict[str, Any] = {"processes": len(cgroup_processes.ids(layout.tree / inner)), "sockets": its_sockets}
    with contextlib.suppress(OSError):
        values.update(_processor(tree, groups.get("cpu")))
        if "memory" in groups:
            values.update(_memory(groups["memory"]))
        if "io" in groups:
            values.update(_disks(groups["io"]))
        if "pids" in groups:
            values["tasks"] = _number(groups["pids"], "pids.current")
            values["processes_refused"] = flat(groups["pids"].read("pids.events")).get("max")
        outer = running.outer_cgroup(site, layout, name)
        values["network"] = attach.traffic(outer)
        values["sockets_refused"] = _sockets_refused(outer)
        values["pressure"] = _pressure(tree)
    account = Account(**values)
    v1 = [controller for controller, files in groups.items() if not files.unified]
    return dataclasses.replace(account, not_counted=reasons(_missing(account), groups, v1))


def _missing(account: Account) -> list[str]:
    return [entry.name for entry in dataclasses.fields(account) if getattr(account, entry.name) is None]


def reasons(missing: Collection[str], present: Collection[str], v1: Collection[str]) -> dict[str, str]:
    """Why counters are None, by their name (pure).

    * present: the controllers this host has; v1: those of them that are in a hierarchy of version 1
    """
    return {name: _OTHERWISE.get(name) or _reason(name, present, v1) for name in missing}


def _reason(name: str, present: Collection[str], v1: Collection[str]) -> str:
    controller = next(counts for beginning, counts in _COUNTED_BY.items() if name.startswith(beginning))
    if controller not in present:
        return f"the host's control groups have no controller {controller}"
    if controller in v1:
        return "control groups of version 1 do not count it"
    return "the kernel is too old to tell it" if name == "memory_peak_bytes" else "the kernel does not tell it"


def flat(text: str | None) -> dict[str, int]:
    """A flat keyed file, ``key number`` lines (cgroup-v2.rst, "Format") (pure)."""
    return {key: int(value) for key, value in map(str.split, (text or "").splitlines())}


def _seconds(units: int | None, second: float) -> float | None:
    return None if units is None else units / second


def _processor(tree: Controller, group: Controller | None) -> dict[str, Any]:
    """v2's group counts time whether or not the controller is there."""
    stat = flat(tree.read("cpu.stat"))
    limited = stat if group is None or group.unified else flat(group.read("cpu.stat"))
    throttled = _seconds(limited.get("throttled_usec"), 1e6)
    return {
        "cpu_seconds": stat.get("usage_usec", 0) / 1e6,
        "cpu_user_seconds": stat.get("user_usec", 0) / 1e6,
        "cpu_system_seconds": stat.get("system_usec", 0) / 1e6,
        "cpu_periods": limited.get("nr_periods"),
        "throttled_periods": limited.get("nr_throttled"),
        "throttled_seconds": throttled if throttled is not None else _seconds(limited.get("throttled_time"), 1e9),
    }


def _number(group: Controller, file: str) -> int | None:
    text = group.read(file)
    return None if text is None else int(text)


def memory(site: Site, name: str) -> int:
    """The bytes of memory that a guest uses now, page cache included; 0 where they are not counted."""
    group = running.controllers(site, name).get("memory")
    with contextlib.suppress(OSError):
        return 0 if group is None else _in_use(group) or 0
    return 0


def _in_use(group: Controller) -> int | None:
    return _number(group, "memory.current" if group.unified else "memory.usage_in_bytes")


def _memory(group: Controller) -> dict[str, Any]:
    stat = flat(group.read("memory.stat"))
    if group.unified:
        return {
            "memory_bytes": _in_use(group),
            "memory_peak_bytes": _number(group, "memory.peak"),
            "memory_swap_bytes": _number(group, "memory.swap.current"),
            "memory_anonymous_bytes": stat.get("anon"),
            "memory_cache_bytes": stat.get("file"),
            **_memory_events(group),
        }
    return {
        "memory_bytes": _in_use(group),
        "memory_peak_bytes": _number(group, "memory.max_usage_in_bytes"),
        "memory_swap_bytes": stat.get("total_swap"),
        "memory_anonymous_bytes": stat.get("total_rss"),
        "memory_cache_bytes": stat.get("total_cache"),
        **_memory_events(group),
    }


def _memory_events(group: Controller) -> dict[str, int | None]:
    if group.unified:
        events = flat(group.read("memory.events"))
        return {
            "memory_low_events": events.get("low"),
            "memory_high_events": events.get("high"),
            "memory_max_events": events.get("max"),
            "oom_events": events.get("oom"),
            "oom_kills": events.get("oom_kill"),
        }
    # Where memory and swap together may be no more than memory, that refuses first, and newer kernels do not count it.
    own, both = (_number(group, f"memory.{of}limit_in_bytes") for of in ("", "memsw."))
    counts = own is not None and (both is None or both > own)
    return {
        "memory_max_events": _number(group, "memory.failcnt") if counts else None,
        "oom_kills": flat(group.read("memory.oom_control")).get("oom_kill"),
    }


def _disks(group: Controller) -> dict[str, Any]:
    if group.unified:
        return disks(group.read("io.stat"))
    moved = v1_disks(group.read("blkio.throttle.io_service_bytes_recursive"))
    times = v1_disks(group.read("blkio.throttle.io_serviced_recursive"))
    return {
        "read_bytes": moved["Read"],
        "written_bytes": moved["Write"],
        "read_operations": times["Read"],
        "written_operations": times["Write"],
    }


def disks(text: str | None) -> dict[str, int]:
    """The sums over all devices of v2's io.stat (pure)."""
    sums: Counter[str] = Counter()
    for line in (text or "").splitlines():
        for word in line.split()[1:]:
            key, _sign, value = word.partition("=")
            sums[key] += int(value) if value.isdigit() else 0
    keys = {"read_bytes": "rbytes", "written_bytes": "wbytes", "read_operations": "rios", "written_operations": "wios"}
    return {name: sums[key] for name, key in keys.items()}


def v1_disks(text: str | None) -> Counter[str]:
    """The sums over all devices of a file of v1's blkio, by kind of operation (pure)."""
    sums: Counter[str] = Counter()
    for words in map(str.split, (text or "").splitlines()):
        if len(words) == 3:  # the last line is a total without a device
            sums[words[1]] += int(words[2])
    return sums


def incidents(site: Site, name: str) -> dict[str, int]:
    """How often a running guest was at its limits: kind of event (see :data:`.event.WORDS`) → count so far."""
    groups = running.controllers(site, name)
    found: dict[str, int | None] = {}
    with contextlib.suppress(OSError):
        found["sockets-refused"] = _sockets_refused(running.outer_cgroup(site, cgroup.layout(), name))
        if "pids" in groups:
            found["processes-refused"] = flat(groups["pids"].read("pids.events")).get("max")
        if "memory" in groups:
            events = _memory_events(groups["memory"])
            found["out-of-memory"] = events["oom_kills"]
            found["memory-high"] = events.get("memory_high_events")
            found["memory-max"] = events["memory_max_events"]
    return {kind: count for kind, count in found.items() if count is not None}


def _sockets_refused(outer: Path) -> int | None:
    counted = socket_counter.read(outer)
    return None if counted is None else counted.refused


def _pressure(tree: Controller) -> dict[str, Pressure] | None:
    found = {what: pressure.parse(tree.read(f"{what}.pressure")) for what in pressure.RESOURCES}
    return {what: told for what, told in found.items() if told is not None} or None


def states(group: Path) -> dict[str, int]:
    """How many processes of a v2 group are in each state, by its letter (proc_pid_stat(5)).

    Who has ended (Z) is in no group's list any more, so that is looked for among the children of the others.
    """
    listed = set(cgroup_processes.ids(group))
    children = {child for pid in listed for child in process.children(pid)}
    found = Counter(process.state(pid) for pid in listed | children)
    return {letter: found[letter] for letter in sorted(filter(None, found))}
