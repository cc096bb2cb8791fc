# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet limits: what a guest may use at most (Linux-VServer: vlimit, vsched).

Memory, processors and processes are limits of the guest's cgroup, set by the runtime and read back from the kernel;
rlimits are set on every process of the guest.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import runtime, units
from ..errors import InvalidInput, VserverError
from ..facet import Change, compare_fields
from ..kernel import cgroup
from ..model import Guest, Limits
from ..running import Running, inner_cgroup, read, update_section
from ..site import Site

#: Name → number of every per-process limit this platform has (getrlimit(2)).
RLIMITS: Mapping[str, int] = {
    name[len("RLIMIT_") :].lower(): getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")
}
_MEMORY_MIN = 4 << 20
_CPUS_MIN = 0.01
_NO_LIMIT = "max"


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: ``memory`` (bytes, ``512M``), ``cpus`` (1.5), ``processes``, each ``max`` for none; ``rlimits``."""
    memory, cpus, processes, rlimits = (options.get(key) for key in ("memory", "cpus", "processes", "rlimits"))
    return Limits(
        recorded.memory if memory is None else _ceiling("memory", memory, units.parse_bytes, _MEMORY_MIN),
        recorded.cpus if cpus is None else _ceiling("cpus", cpus, units.parse_number, _CPUS_MIN),
        recorded.processes if processes is None else _ceiling("processes", processes, units.parse_count, 1),
        recorded.rlimits if rlimits is None else _parse_rlimits(rlimits),
    )


def _ceiling(option: str, value: Any, convert: Any, least: float) -> Any:
    if str(value).strip().lower() == _NO_LIMIT:
        return None
    number = convert(option, value)
    if number < least:
        raise InvalidInput(f"{option} {value} is too small", remedy=f"Give at least {least:g}, or max for no limit.")
    return number


def _parse_rlimits(given: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    parsed = {}
    for name, value in given.items():
        key = str(name).lower().removeprefix("rlimit_")
        if key not in RLIMITS:
            raise InvalidInput(f"rlimit {name!r} is unknown", remedy=f"Use one of {', '.join(sorted(RLIMITS))}.")
        soft, hard = (value.get("soft"), value.get("hard")) if isinstance(value, Mapping) else (value, value)
        if soft is None or hard is None:
            raise InvalidInput(f"rlimit {key} needs soft and hard", remedy="Give both, or one value for both.")
        pair = _rlimit(key, soft), _rlimit(key, hard)
        if pair[1] != -1 and not -1 < pair[0] <= pair[1]:
            raise InvalidInput(
                f"rlimit {key}: soft {soft} is above hard {hard}", remedy="Give soft no higher than hard."
            )
        parsed[key] = pair
    return dict(sorted(parsed.items()))


def _rlimit(key: str, value: int | str) -> int:
    return (
        -1
        if str(value).strip().lower() in ("infinity", "unlimited", "-1")
        else units.parse_bytes(f"rlimit {key}", value)
    )


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Limits:
    """Refuse a limit whose controller this host does not have."""
    layout = cgroup.layout()
    needed = {"memory": guest.limits.memory, "cpu": guest.limits.cpus, "pids": guest.limits.processes}
    for controller, limit in needed.items():
        if limit is not None and controller not in layout.controllers:
            raise InvalidInput(
                f"limit {controller} of guest {guest.name}",
                why=f"this host has no cgroup controller {controller!r}",
                remedy=f"Boot without cgroup_disable={controller}.",
            )
    return guest.limits


def observe(site: Site, guest: Guest, now: Running | None) -> Limits | None:
    """The limits in force, from the guest's cgroup; rlimits as they were last set."""
    if now is None:
        return None
    inner = inner_cgroup(site, guest.name)
    groups = {controller: top / inner for controller, top in cgroup.layout().controllers.items()}
    return Limits(
        _read_memory(groups.get("memory")),
        _read_cpus(groups.get("cpu")),
        _read_number(groups.get("pids"), "pids.max"),
        now.guest.limits.rlimits,
    )


def _read_text(group: Path | None, *names: str) -> str | None:
    """The first of a cgroup's files ``names`` (v2's, then v1's) that exists."""
    if group is not None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                return (group / name).read_text().strip()
    return None


def _read_number(group: Path | None, *names: str) -> int | None:
    text = _read_text(group, *names)
    return None if text in (None, _NO_LIMIT) else int(str(text))


def _read_memory(group: Path | None) -> int | None:
    value = _read_number(group, "memory.max", "memory.limit_in_bytes")
    return None if value is None or value >= 1 << 62 else value  # v1 says "no limit" with its largest number


def _read_cpus(group: Path | None) -> float | None:
    text = _read_text(group, "cpu.max")
    if text is None:
        quota, period = _read_text(group, "cpu.cfs_quota_us"), _read_text(group, "cpu.cfs_period_us")
        if quota is None or period is None:
            return None
        text = f"{quota} {period}"
    quota, period = text.split()
    return None if quota in (_NO_LIMIT, "-1") else round(int(quota) / int(period), 4)


def compare(desired: Limits, observed: Limits | None) -> list[Change]:
    """Every limit changes live, but an rlimit that is no longer set: what it was before us is known at the start only.

    The kernel rounds memory to pages, so the comparison does as well.
    """
    if observed is None:
        return []
    live = ["memory", "cpus", "processes"] + ["rlimits"] * (set(observed.rlimits) <= set(desired.rlimits))
    changes = compare_fields("limits", desired, observed, live)
    return [
        change for change in changes if not (change.option == "memory" and _same_pages(change.before, change.after))
    ]


def _same_pages(one: int | None, other: int | None) -> bool:
    page = resource.getpagesize()
    return one is not None and other is not None and one // page == other // page


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    """Set the limits of a running guest."""
    now = read(site, guest.name)
    if now is None:
        return
    if any(change.option in ("memory", "cpus", "processes") for change in changes):
        runtime.update(site, now.runtime, guest)
    if any(change.option == "rlimits" for change in changes):
        _set_rlimits(site, guest, now)
    update_section(site, guest, "limits")


def _set_rlimits(site: Site, guest: Guest, now: Running) -> None:
    """Set the rlimits on every process of the guest, until no new one has appeared meanwhile (prlimit(2))."""
    group = cgroup.layout().tree / inner_cgroup(site, guest.name)
    done: set[int] = set()
    while True:
        new = set(cgroup.processes(group)) - done
        if not new:
            return
        for pid in new:
            for name, pair in guest.limits.rlimits.items():
                try:
                    resource.prlimit(pid, RLIMITS[name], pair)
                except ProcessLookupError:
                    break
                except (PermissionError, ValueError) as error:
                    raise VserverError(
                        f"set rlimit {name} of guest {guest.name} to {pair}",
                        why=str(error),
                        remedy="A hard limit rises only as far as this host's own (CAP_SYS_RESOURCE).",
                    ) from error
        done |= new
