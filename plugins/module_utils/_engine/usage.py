# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the host each running guest uses, and how fast; and each process with its guest."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import accounting, info, running, store
from .accounting import Account
from .errors import VserverError
from .kernel import cgroup_processes
from .kernel import process as kernel_process
from .running import Running
from .site import Site


@dataclass(frozen=True)
class Sample:
    """What one running guest has used so far.

    * moment: when that was, in seconds of CLOCK_MONOTONIC
    """

    guest: str
    xid: int
    state: str
    moment: float
    account: Account
    started_at: str


def epoch(started_at: str) -> float:
    """A moment (ISO 8601) in seconds since 1970 (pure)."""
    return datetime.datetime.fromisoformat(started_at).timestamp()


def running_guests(site: Site, names: Sequence[str] = ()) -> Iterator[Running]:
    """The guests that run, or those of ``names`` that do. Left out is one of which that cannot be told; ``list`` says
    so."""
    for name in names or store.names(site):
        with contextlib.suppress(VserverError):
            now = running.found(site, name)
            if now is not None:
                yield now


def samples(site: Site, names: Sequence[str] = ()) -> list[Sample]:
    """A sample of every running guest, or of those of ``names`` that run."""
    present = list(running_guests(site, names))
    accounts = accounting.read_all(site, [now.guest.name for now in present])
    return [
        Sample(
            now.guest.name,
            now.guest.xid,
            info.running_state(site, now.guest.name),
            time.monotonic(),
            accounts[now.guest.name],
            now.started_at,
        )
        for now in present
    ]


#: What it is called a second → the counter, and what a row shows of it.
_RATES: Mapping[str, tuple[Callable[[Account], float | None], int, int]] = {
    "cpu_percent": (lambda account: account.cpu_seconds, 100, 1),
    "throttled_percent": (lambda account: account.throttled_seconds, 100, 1),
    "read_bytes_per_second": (lambda account: account.read_bytes, 1, 0),
    "written_bytes_per_second": (lambda account: account.written_bytes, 1, 0),
    "received_bytes_per_second": (lambda account: _outside(account, "received_bytes"), 1, 0),
    "sent_bytes_per_second": (lambda account: _outside(account, "sent_bytes"), 1, 0),
}


def _outside(account: Account, counter: str) -> int | None:
    """What passed an interface other than lo."""
    slots = account.network
    return None if slots is None else sum(getattr(slots[family], counter) for family in ("ipv4", "ipv6"))


def rates(before: Sequence[Sample], after: Sequence[Sample]) -> list[dict[str, Any]]:
    """``after`` as JSON-ready rows, each with ``cpu_percent``, where 100 is one processor, and other rates (pure).

    What is received and sent a second is without what passes lo, the host's own. A guest that was not there before, or
    has started anew, has no rates yet: None.
    """
    known = {(sample.guest, sample.started_at): sample for sample in before}
    return [
        {
            "name": sample.guest,
            "xid": sample.xid,
            "state": sample.state,
            **_rates(known.get((sample.guest, sample.started_at)), sample),
            **dataclasses.asdict(sample.account),
            "started_at": sample.started_at,
        }
        for sample in after
    ]


def _rates(old: Sample | None, new: Sample) -> dict[str, float | None]:
    passed = new.moment - old.moment if old else 0.0
    found: dict[str, float | None] = {}
    for name, (counter, times, digits) in _RATES.items():
        was, now = counter(old.account) if old else None, counter(new.account)
        if passed <= 0 or was is None or now is None:
            found[name] = None
        else:
            found[name] = round(times * max(now - was, 0) / passed, digits)
    return found


def gathered(site: Site, names: Sequence[str] | None, what: Collection[str]) -> list[dict[str, Any]]:
    """Guests as :func:`.info.guests` tells of them, with what else is asked for.

    * what: of ``disk``, for ``disk_bytes``, and ``usage``, None for one that does not run
    """
    found = info.guests(site, names, disk="disk" in what)
    if "usage" in what:
        names = [guest["name"] for guest in found if guest.get("pid") is not None]
        used = {sample.guest: sample for sample in samples(site, names)} if names else {}
        for guest in found:
            guest["usage"] = _used(site, used[guest["name"]]) if guest["name"] in used else None
    return found


def _used(site: Site, sample: Sample) -> dict[str, Any]:
    return {
        "uptime_seconds": round(time.time() - epoch(sample.started_at), 3),
        **dataclasses.asdict(sample.account),
        "process_states": accounting.states(running.group(site, sample.guest)),
    }


def processes(site: Site, names: Sequence[str] = (), *, host: bool = False) -> list[dict[str, Any]]:
    """Every process of the running guests, or of those of ``names``, by guest and pid; JSON-ready rows.

    * host: the host's own as well, whose guest is None
    """
    import psutil

    rows = []
    seen: set[int] = set()
    for now in running_guests(site, names):
        pids = cgroup_processes.ids(running.group(site, now.guest.name))
        seen.update(pids)
        rows += [row for row in (_row(pid, now) for pid in sorted(pids)) if row]
    if host:
        rows += [row for row in (_row(pid, None) for pid in psutil.pids() if pid not in seen) if row]
    return rows


def process_rates(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], passed: float
) -> list[dict[str, Any]]:
    """``after`` with ``cpu_percent`` of the ``passed`` seconds since ``before``, where 100 is one processor (pure).

    One that was not there before has used all its time since.
    """
    known = {(row["pid"], row["started"]): row["cpu_seconds"] for row in before}
    return [
        {
            **row,
            "cpu_percent": round(
                100 * max(row["cpu_seconds"] - known.get((row["pid"], row["started"]), 0.0), 0.0) / passed, 1
            ),
        }
        for row in after
    ]


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
