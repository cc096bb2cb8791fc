# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest has used since it started: the kernel's own counters of its cgroup, in both versions of control groups.

One reading of a guest is a dozen small files. Whatever the kernel does not count here is None.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import running
from .kernel import cgroup, process, sock_diag
from .kernel.controller import Controller, controllers
from .site import Site


@dataclass(frozen=True)
class Account:
    """Counters of a running guest; bytes, seconds, numbers.

    * throttled_seconds: how long it had used up its ``cpus``; throttled_periods of cpu_periods: how often
    * memory_bytes: page cache included; memory_peak_bytes: the most of it so far
    * memory_high_events, memory_max_events: how often it was at these limits; oom_kills: killed for want of memory
    * processes_refused: how often a process or thread was one too many
    * …_stalled_seconds: how long something in it waited for this (PSI, "some")
    """

    cpu_seconds: float = 0.0
    cpu_user_seconds: float = 0.0
    cpu_system_seconds: float = 0.0
    cpu_periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None
    memory_bytes: int = 0
    memory_peak_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_anonymous_bytes: int | None = None
    memory_cache_bytes: int | None = None
    memory_high_events: int | None = None
    memory_max_events: int | None = None
    oom_kills: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    read_operations: int | None = None
    written_operations: int | None = None
    processes: int = 0
    processes_refused: int | None = None
    cpu_stalled_seconds: float | None = None
    memory_stalled_seconds: float | None = None
    io_stalled_seconds: float | None = None


def read(site: Site, name: str) -> Account:
    """The counters of a running guest; what has vanished meanwhile is as if it had used nothing."""
    inner = running.inner_cgroup(site, name)
    layout = cgroup.layout()
    groups, tree = controllers(layout, inner), Controller(layout.tree / inner, True)
    values: dict[str, Any] = {"processes": len(cgroup.processes(tree.path))}
    with contextlib.suppress(OSError):
        values.update(_processor(tree, groups.get("cpu")))
        if "memory" in groups:
            values.update(_memory(groups["memory"]))
        if "io" in groups:
            values.update(_disks(groups["io"]))
        if "pids" in groups:
            values["processes_refused"] = _flat(groups["pids"], "pids.events").get("max")
        for what in ("cpu", "memory", "io"):
            values[f"{what}_stalled_seconds"] = stalled(tree.read(f"{what}.pressure"))
    return Account(**values)


def flat(text: str | None) -> dict[str, int]:
    """A flat keyed file, ``key number`` lines (cgroup-v2.rst, "Format") (pure)."""
    return {key: int(value) for key, value in map(str.split, (text or "").splitlines())}


def _flat(group: Controller, file: str) -> dict[str, int]:
    return flat(group.read(file))


def _seconds(units: int | None, second: float) -> float | None:
    return None if units is None else units / second


def _processor(tree: Controller, group: Controller | None) -> dict[str, Any]:
    """v2's group counts time whether or not the controller is there."""
    stat = _flat(tree, "cpu.stat")
    limited = stat if group is None or group.unified else _flat(group, "cpu.stat")
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
    group = controllers(cgroup.layout(), running.inner_cgroup(site, name)).get("memory")
    with contextlib.suppress(OSError):
        return 0 if group is None else _in_use(group)
    return 0


def _in_use(group: Controller) -> int:
    return _number(group, "memory.current" if group.unified else "memory.usage_in_bytes") or 0


def _memory(group: Controller) -> dict[str, Any]:
    stat = _flat(group, "memory.stat")
    if group.unified:
        events = _flat(group, "memory.events")
        return {
            "memory_bytes": _in_use(group),
            "memory_peak_bytes": _number(group, "memory.peak"),
            "memory_swap_bytes": _number(group, "memory.swap.current"),
            "memory_anonymous_bytes": stat.get("anon"),
            "memory_cache_bytes": stat.get("file"),
            "memory_high_events": events.get("high"),
            "memory_max_events": events.get("max"),
            "oom_kills": events.get("oom_kill"),
        }
    return {
        "memory_bytes": _in_use(group),
        "memory_peak_bytes": _number(group, "memory.max_usage_in_bytes"),
        "memory_swap_bytes": stat.get("total_swap"),
        "memory_anonymous_bytes": stat.get("total_rss"),
        "memory_cache_bytes": stat.get("total_cache"),
        "oom_kills": _flat(group, "memory.oom_control").get("oom_kill"),
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


def stalled(text: str | None) -> float | None:
    """The seconds of "some" in a pressure file (psi.rst); None where the kernel does not measure it (pure)."""
    for line in (text or "").splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2]) / 1e6
    return None


def states(group: Path) -> dict[str, int]:
    """How many processes of a v2 group are in each state, by its letter (proc_pid_stat(5))."""
    found = Counter(process.state(pid) for pid in cgroup.processes(group))
    return {letter: found[letter] for letter in sorted(filter(None, found))}


def sockets(groups: Mapping[str, Path]) -> dict[str, int | None]:
    """How many TCP and UDP sockets processes of each guest have made, from one listing by the kernel.

    * groups: guest → its v2 group; a socket belongs to a group below it

    None where the kernel does not tell whose a socket is (< 5.8).
    """
    owners = {entry: name for name, group in groups.items() for entry in _identities(group)}
    try:
        listed = sock_diag.everything()
    except OSError:
        return dict.fromkeys(groups)
    if listed and not any(found.cgroup for found in listed):
        return dict.fromkeys(groups)
    counted = Counter(owners.get(found.cgroup) for found in listed)
    return {name: counted[name] for name in groups}


def _identities(group: Path) -> Sequence[int]:
    """The ids of a v2 group and all below it: their inode numbers."""
    found = []
    for path in cgroup.below(group):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_ino)
    return found
