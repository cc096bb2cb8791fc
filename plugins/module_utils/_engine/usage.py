# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the host each running guest uses: processor time, memory, processes; and each process with its guest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import info, running, store
from .kernel import cgroup
from .kernel import process as kernel_process
from .running import Running
from .site import Site


@dataclass(frozen=True)
class Sample:
    """What one running guest has used so far.

    * moment: when that was, in seconds of CLOCK_MONOTONIC
    * processor: seconds of processor time since its start
    * memory: bytes, page cache included
    """

    guest: str
    xid: int
    state: str
    moment: float
    processor: float
    memory: int
    processes: int
    started_at: str


def group(site: Site, name: str) -> Path:
    """The v2 group that holds a guest's own processes."""
    return running.outer_cgroup(site, cgroup.layout(), name) / "guest"


def processor_seconds(path: Path) -> float:
    """Processor time of a v2 group and all below it, also of processes that have ended; 0 when it is gone.

    It is counted whether or not the controller is enabled (cgroup-v2.rst, cpu.stat).
    """
    with contextlib.suppress(OSError):
        fields = dict(line.split() for line in (path / "cpu.stat").read_text().splitlines())
        return int(fields.get("usage_usec", 0)) / 1e6
    return 0.0


def running_guests(site: Site, names: Sequence[str] = ()) -> Iterator[Running]:
    """The guests that run, or those of ``names`` that do."""
    for name in names or store.names(site):
        now = running.read(site, name)
        if now is not None:
            yield now


def samples(site: Site, names: Sequence[str] = ()) -> list[Sample]:
    """A sample of every running guest, or of those of ``names`` that run."""
    return [
        Sample(
            now.guest.name,
            now.guest.xid,
            info.state(site, now.guest.name),
            time.monotonic(),
            processor_seconds(group(site, now.guest.name)),
            info.memory(site, now.guest.name),
            len(cgroup.processes(group(site, now.guest.name))),
            now.started_at,
        )
        for now in running_guests(site, names)
    ]


def rates(before: Sequence[Sample], after: Sequence[Sample]) -> list[dict[str, Any]]:
    """``after`` as JSON-ready rows, each with ``cpu_percent``, where 100 is one processor (pure).

    A guest that was not there before, or has started anew, has none yet: None.
    """
    known = {(sample.guest, sample.started_at): sample for sample in before}
    rows = []
    for sample in after:
        old = known.get((sample.guest, sample.started_at))
        passed = sample.moment - old.moment if old else 0.0
        used = sample.processor - old.processor if old else 0.0
        rows.append(
            {
                "name": sample.guest,
                "xid": sample.xid,
                "state": sample.state,
                "cpu_percent": round(100 * max(used, 0.0) / passed, 1) if passed > 0 else None,
                "cpu_seconds": round(sample.processor, 3),
                "memory_bytes": sample.memory,
                "processes": sample.processes,
                "started_at": sample.started_at,
            }
        )
    return rows


def processes(site: Site, names: Sequence[str] = (), *, host: bool = False) -> list[dict[str, Any]]:
    """Every process of the running guests, or of those of ``names``, by guest and pid; JSON-ready rows.

    * host: the host's own as well, whose guest is None
    """
    import psutil

    rows = []
    seen: set[int] = set()
    for now in running_guests(site, names):
        pids = cgroup.processes(group(site, now.guest.name))
        seen.update(pids)
        rows += [row for row in (_row(pid, now) for pid in sorted(pids)) if row]
    if host:
        rows += [row for row in (_row(pid, None) for pid in psutil.pids() if pid not in seen) if row]
    return rows


def _row(pid: int, now: Running | None) -> dict[str, Any] | None:
    """One process, None when it has ended."""
    import psutil

    shift = now.guest.base_id if now is not None and now.guest.context.user_namespace else 0
    try:
        of = psutil.Process(pid)
        with of.oneshot():
            times, uid = of.cpu_times(), of.uids().effective
            return {
                "guest": now.guest.name if now else None,
                "xid": now.guest.xid if now else None,
                "pid": pid,
                "pid_inside": _pid_inside(pid) if now else None,
                "ppid": of.ppid(),
                "uid": uid,
                "uid_inside": uid - shift if now else None,
                "state": of.status(),
                "cpu_seconds": round(times.user + times.system, 2),
                "memory_bytes": of.memory_info().rss,
                "started": of.create_time(),
                "name": of.name(),
                "command": of.cmdline(),
            }
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None


def _pid_inside(pid: int) -> int:
    """The number a process has in its own PID namespace (proc_pid_status(5), NSpid)."""
    return int(kernel_process.status(pid)["NSpid"].split()[-1])
