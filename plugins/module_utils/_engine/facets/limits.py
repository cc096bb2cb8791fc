# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet limits: what a guest may use at most (Linux-VServer: vlimit, vsched).

Each kind of limit is a file of :mod:`..limits`. All but those of single processes and namespaces are limits of the
guest's cgroup, written there by us before its init runs and read back from the kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .. import running, systemd
from ..errors import VserverError
from ..facet import Change, compare_fields
from ..kernel import cgroup
from ..kernel.controller import Controller, controller, controllers
from ..limits import (
    devices,
    memory,
    per_process,
    processes,
    processor,
    processors,
    protection,
    share,
    sockets,
    space,
    sysctls,
)
from ..model import Guest, Limits
from ..running import Running
from ..site import Site


class _Parsed(Protocol):
    def parse(self, options: Mapping[str, Any], recorded: Limits) -> Limits: ...


class _Kind(_Parsed, Protocol):
    """Limits that are files of one controller."""

    FIELDS: tuple[str, ...]

    def kept(self, limits: Limits) -> Limits: ...
    def refuse(self, limits: Limits) -> None: ...
    def write(self, group: Controller, limits: Limits) -> None: ...


#: Controller → the limits that are set with it on the group of the guest's processes.
_KINDS: Mapping[str, _Kind] = {
    "memory": memory,
    "cpu": processor,
    "cpuset": processors,
    "pids": processes,
    "io": devices,
}
_ALL: Sequence[_Kind] = (*_KINDS.values(), share)
_PARSED: Sequence[_Parsed] = (*_ALL, protection, sockets, space, per_process, sysctls)
_NONE = Limits(processes=None)


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: the fields of :class:`Limits`, as people write them; ``max`` is no limit."""
    if any(value is not None for value in options.values()):
        for kind in _PARSED:
            recorded = kind.parse(options, recorded)
    return recorded


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Limits:
    """Refuse a limit that this host cannot keep: no such controller, device or processor, or more than there is."""
    limits = guest.limits
    for kind in _ALL:
        kind.refuse(limits)
    protection.refuse(limits)
    sockets.refuse(limits)
    space.refuse(site, guest)
    per_process.refuse(limits)
    sysctls.refuse(limits, guest.context.user_namespace)
    top = cgroup.layout().controllers.get("memory")
    memory.require_sum(limits, top == cgroup.layout().unified)
    return limits


def observe(site: Site, guest: Guest, now: Running | None) -> Limits | None:
    """The limits in force, as the kernel tells; rlimits as they were last set."""
    if now is None:
        return None
    layout = cgroup.layout()
    outer, share_of, _unit = running.own_groups(site, guest.name)
    groups = controllers(layout, f"{outer}/guest", outer)
    values: dict[str, Any] = {}
    for name, tell in (("memory", memory), ("cpu", processor), ("pids", processes)):
        if name in groups:
            values.update(tell.read(groups[name]))
    if "cpuset" in groups:
        values.update(processors.read(groups["cpuset"], guest.limits.cpuset))
    sharing = controller(layout, "cpu", share_of, share_of)
    if sharing is not None:
        values.update(share.read(sharing))
    if "io" in groups:
        values.update(devices.read(groups["io"], list(guest.limits.io)))
    values.update(protection.read(site, guest.name))
    values.update(sockets.read(layout.tree / outer))
    values.update(space.read(site, guest))
    values.update(sysctls.read(now.pid, now.guest.limits.sysctls))
    return Limits(rlimits=now.guest.limits.rlimits, **values)


def compare(desired: Limits, observed: Limits | None) -> list[Change]:
    """Every limit changes live, but an rlimit or sysctl no longer set: what it was is known at the start only.

    The kernel rounds some, so the comparison does as well.
    """
    if observed is None or desired == observed:
        return []
    live = {field.name for field in dataclasses.fields(Limits)}
    for option in ("rlimits", "sysctls"):
        if not set(getattr(observed, option)) <= set(getattr(desired, option)):
            live.remove(option)
    differing = {change.option for change in compare_fields("limits", _kept(desired), _kept(observed))}
    return [change for change in compare_fields("limits", desired, observed, live) if change.option in differing]


def _kept(limits: Limits) -> Limits:
    for kind in _ALL:
        limits = kind.kept(limits)
    return space.kept(protection.kept(limits))


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    """Set the limits of a running guest."""
    now = running.read(site, guest.name)
    if now is None:
        return
    changed = {change.option for change in changes}
    _write(site, guest, now.pid, changed)
    if changed & set(per_process.FIELDS):
        per_process.write(guest, running.inner_cgroup(site, guest.name))
    running.update_section(site, guest, "limits")


def enforce(site: Site, guest: Guest, pid: int) -> None:
    """Put a guest's limits in force before its init runs, in its new cgroup; ``pid`` is to become its process 1.

    The rlimits are the runtime's to set.
    """
    limits = guest.limits
    io = running.controllers(site, guest.name).get("io")
    if io is not None:
        devices.count(io, site.guests)
    fields = (field.name for field in dataclasses.fields(Limits))
    changed = {name for name in fields if getattr(limits, name) != getattr(_NONE, name)} | set(sockets.FIELDS)
    if running.sharing_group(site, guest.name)[1] is not None and _sharing(site, guest) is not None:
        changed |= {*share.FIELDS, *protection.FIELDS}  # systemd remembers what the guest had before
    if space.astray(site, guest) or space.read(site, guest) != {name: getattr(limits, name) for name in space.FIELDS}:
        changed |= set(space.FIELDS)  # it is the file system that remembers
    _write(site, guest, pid, changed)


def release(site: Site) -> None:
    """Take back what the host has kept for guests that have ended; their cgroups are gone."""
    protection.release(site)


def forget(site: Site, name: str) -> None:
    """Have systemd forget what it was told of a guest that there is no more. Raises :class:`~..errors.ToolFailed`."""
    systemd.forget_properties(site.unit(name), share.OF_UNIT, *protection.OF_UNIT)
    protection.forget(site)


def _sharing(site: Site, guest: Guest) -> Controller | None:
    group = running.sharing_group(site, guest.name)[0]
    return controller(cgroup.layout(), "cpu", group, group)


def _write(site: Site, guest: Guest, pid: int, changed: set[str]) -> None:
    groups = running.controllers(site, guest.name)
    for name, kind in _KINDS.items():
        if changed & set(kind.FIELDS):
            _put(guest, kind, groups.get(name))
    if changed & set(share.FIELDS):
        sharing, unit = _sharing(site, guest), running.sharing_group(site, guest.name)[1]
        if unit is None or sharing is None:
            _put(guest, share, sharing)
        elif not share.in_force(sharing, guest.limits):
            share.write_unit(unit, guest.limits)
    if changed & set(protection.FIELDS):
        with _told(guest):
            protection.write(site, guest)
    if changed & set(sockets.FIELDS):
        sockets.write(guest, running.outer_cgroup(site, cgroup.layout(), guest.name))
    if changed & set(space.FIELDS):
        space.write(site, guest)
    if changed & set(sysctls.FIELDS):
        sysctls.write(guest, pid)


def _put(guest: Guest, kind: _Kind, group: Controller | None) -> None:
    with _told(guest):
        if group is None:
            raise FileNotFoundError(None, "this host has no such cgroup controller", kind.FIELDS[0])
        kind.write(group, guest.limits)


@contextlib.contextmanager
def _told(guest: Guest) -> Iterator[None]:
    """Say whose limits they are, and which file refused."""
    try:
        yield
    except OSError as error:
        raise VserverError(
            f"set the limits of guest {guest.name}",
            why=f"{Path(str(error.filename)).name}: {error.strerror}",
            remedy="See the kernel's cgroup-v2.rst for what this file takes.",
        ) from error
