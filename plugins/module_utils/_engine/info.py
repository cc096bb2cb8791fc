# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of guests: their records, and their live state as the kernel tells it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from . import accounting, proc_view, running, store
from .errors import InvalidInput, VserverError
from .facet import Change
from .facets import binding, root
from .facets.order import FACETS
from .kernel import capability, cgroup_processes, namespace
from .limits import processes
from .model import Guest, Limits
from .running import Running
from .site import Site

_NO_DISK = {"disk_bytes": 0, "disk_shared_bytes": 0}


def guests(site: Site, names: Sequence[str] | None = None, *, disk: bool = True) -> list[dict[str, Any]]:
    """Every guest, or those in ``names``, in the shape of :func:`guest`; one that vanishes meanwhile is left out.

    Of one whose record, or what is noted of its run, cannot be read there is ``error``, which says why, ``name`` and
    ``state``, "unreadable".

    * disk: with the ``disk_bytes`` each one uses, and ``disk_shared_bytes``, for which every file is looked at

    Raises :class:`InvalidInput` for an unknown name.
    """
    known = store.names(site)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise InvalidInput(f"guest {unknown[0]} does not exist", remedy=f"This host has: {', '.join(known) or 'none'}.")
    wanted = known if names is None else names
    sizes = disk_use(site, wanted) if disk else {}
    found = [told for told in (_told(site, name) for name in wanted) if told]
    return [{**told, **sizes.get(told["name"], _NO_DISK)} if disk else told for told in found]


def _told(site: Site, name: str) -> dict[str, Any]:
    try:
        return guest(site, name)
    except VserverError as error:
        return {"name": name, "state": "unreadable", "error": str(error)}


def state(site: Site, name: str) -> str:
    """``running``, ``frozen``, ``stopped``, or ``undefined`` when there is no record."""
    if running.read(site, name) is not None:
        return running_state(site, name)
    return "undefined" if store.load(site, name) is None else "stopped"


def running_state(site: Site, name: str) -> str:
    """``running`` or ``frozen``, of a guest that runs."""
    return "frozen" if cgroup_processes.frozen(running.group(site, name)) else "running"


def section(value: Any) -> dict[str, Any]:
    """A section as JSON-ready data."""
    return {key: list(item) if isinstance(item, tuple) else item for key, item in vars(value).items()}


def guest(site: Site, name: str) -> dict[str, Any]:
    """The record and the live state of one guest; empty when it does not exist."""
    record = store.load(site, name)
    if record is None:
        return {}
    now = running.read(site, name)
    reasons = restart_reasons(now, compare(record, observe(site, record, now)))
    context = section(record.context)
    context.pop("xid")
    return {
        "name": name,
        "xid": record.xid,
        "state": running_state(site, name) if now else "stopped",
        "hostname": record.hostname,
        "addresses": [address.split("/")[0] for address in record.binding.addresses],
        "root": section(record.root),
        "binding": {**section(record.binding), "programs": binding.programs(now.pid) if now else []},
        "capabilities": {**section(record.capabilities), "bounding": _bounding(now)},
        "limits": {**section(processes.kept(record.limits)), "rlimits": _rlimits(record.limits)},
        "context": {**context, "init": context["init"] or "auto"},
        "pid": now.pid if now else None,
        "started_at": now.started_at if now else None,
        "processes": len(cgroup_processes.ids(running.group(site, name))) if now else 0,
        "memory_bytes": accounting.memory(site, name) if now else 0,
        "own_uptime": _own_uptime(now),
        "lxcfs": _shows_lxcfs(site, now),
        "restart_required": bool(reasons),
        "restart_reasons": list(reasons),
    }


def observe(site: Site, record: Guest, now: Running | None) -> dict[str, Any]:
    """What each facet of a guest observes, by its name; of one that ends meanwhile, as of one that does not run."""
    try:
        return {name: facet.observe(site, record, now) for name, facet in FACETS.items()}
    except (OSError, VserverError):
        if now is None or running.read(site, record.name) == now:
            raise
        return {name: facet.observe(site, record, None) for name, facet in FACETS.items()}


def compare(record: Guest, observed: Mapping[str, Any]) -> dict[str, list[Change]]:
    """What of each facet would have to change for ``record`` to be in force, by its name (pure).

    * observed: what :func:`observe` says
    """
    return {name: facet.compare(record.section(name), observed[name]) for name, facet in FACETS.items()}


def restart_reasons(now: Running | None, differing: Mapping[str, Sequence[Change]]) -> tuple[str, ...]:
    """Why a running guest must be restarted before its record is in force, a sentence each; empty if it need not be.

    * differing: what :func:`compare` says (pure)
    """
    if now is None:
        return ()
    return tuple(
        f"{facet}: {change.option} is {change.before!r} in the running guest, {change.after!r} in its record"
        for facet, changes in differing.items()
        for change in changes
        if not change.live
    )


def _rlimits(limits: Limits) -> dict[str, dict[str, int | str]]:
    """The rlimits as the module takes them."""
    return {
        name: {which: "infinity" if value == -1 else value for which, value in (("soft", soft), ("hard", hard))}
        for name, (soft, hard) in limits.rlimits.items()
    }


def _bounding(now: Running | None) -> list[str] | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return None if now is None else list(capability.bounding(now.pid))
    return None


def _own_uptime(now: Running | None) -> bool | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return None if now is None else namespace.has_time() and not namespace.shared(now.pid, "time")
    return None


def _shows_lxcfs(site: Site, now: Running | None) -> bool | None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return None if now is None else proc_view.shown(site, now.pid)
    return None


def disk_use(site: Site, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Guest → ``disk_bytes``, of disk that are its own, and ``disk_shared_bytes``, of the template below its clone.

    One du(1) for all: it copes with any depth, follows no link, and takes in its stride what a running guest removes.
    """
    own = {name: str(root.directory(site, name)) for name in names if root.directory(site, name).is_dir()}
    shared = {name: _template(site, name) for name in own}
    tops = [*own.values(), *filter(None, {*shared.values()})]
    if not tops:
        return {}
    command = ["du", "--summarize", "--block-size=1", "--one-file-system", "--null", "--", *tops]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\0")
    sizes = {top: int(size) for size, top in (line.split("\t", 1) for line in lines if line)}
    return {
        name: {"disk_bytes": sizes.get(top, 0), "disk_shared_bytes": sizes.get(shared[name] or "", 0)}
        for name, top in own.items()
    }


def _template(site: Site, name: str) -> str | None:
    """The template's root that lies below a guest's clone; None of one that is a copy, or of the host's root."""
    with contextlib.suppress(VserverError):
        record = store.load(site, name)
        clone = None if record is None else root.observe(site, record, None)
        return str(root.template_root(site, clone)) if clone is not None and clone.method == "overlay" else None
    return None
