# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locking a service of the host to some of the host's addresses (Linux-VServer: chbind for a daemon).

A systemd unit is bound whenever it starts: a drop-in has ``vserver bind-unit`` run in the unit's cgroup before anything
of the unit opens a socket. Any other cgroup is bound as it is, for as long as it lasts.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import holdings, service, service_sockets, service_target, store, systemd
from .chbind import attach as binding_attach
from .chbind.policy import BindingPolicy, policy_of
from .errors import Conflict, InvalidInput, Unsupported, VserverError
from .facets import binding
from .host import cgroups as host_cgroups
from .kernel import address, cgroup, sock_diag
from .model import Binding
from .outcome import Outcome
from .registry import Registry
from .service import Service
from .site import Site
from .systemd import Unit

#: A service that is bound for the first time keeps the host's loopback addresses.
_FIRST = Binding(loopback="host")
_OPTIONS = ("addresses", "loopback", "ping", "multicast", "shared")


def configure(
    site: Site, kind: str, name: str, options: Mapping[str, Any], *, check: bool = False, restart: bool = False
) -> Outcome:
    """Lock a service to addresses. Options as facet binding's; what is None or missing stays as it is.

    Programs act on a running service at once, but sockets that it has open stay where they are. Where that is another
    place, ``restart_required`` says so; with ``restart`` the unit is restarted. Raises :class:`VserverError`.
    """
    service_target.refuse_guest(site, kind, name)
    with _locked(site, check):
        recorded = service.load(site, kind, name)
        wanted = Service(kind, name, _parse(options, recorded))
        unit, group = _present(site, wanted, check)
        _refuse_contested(site, recorded, wanted)
        text = systemd.drop_in_text(name, site.program, site.state)
        before = _description(recorded)
        after = _description(wanted)
        if group is not None:
            before["in_force"], after["in_force"] = _in_force(group, wanted), True
        if kind == "unit":
            before["drop_in"], after["drop_in"] = systemd.has_drop_in(name, text), True
        changed = before != after
        if changed and not check:
            service.save(site, wanted)
            if not before.get("drop_in", True):
                systemd.write_drop_in(name, text)
            if group is not None:
                attach(site, wanted, group)
            if recorded is not None:
                _stop_steering(site, recorded)
    return _finish(site, wanted, unit, group, changed, before, after, check, restart)


def absent(site: Site, kind: str, name: str, *, check: bool = False, restart: bool = False) -> Outcome:
    """Let a service use every address of the host again. Raises :class:`VserverError`."""
    with _locked(site, check):
        recorded = service.load(site, kind, name)
        unit = systemd.show(name) if kind == "unit" else None
        group = _group(kind, name, unit)
        before: dict[str, Any] = _description(recorded)
        held: list[str] = []
        if group is not None and binding_attach.attached(group):
            before["in_force"] = True
            held = [service_sockets.place(found) for found in service_sockets.held(unit, group)]
        if kind == "unit" and systemd.drop_in(name).exists():
            before["drop_in"] = True
        if before and not check:
            if kind == "unit":
                systemd.remove_drop_in(name)
            if group is not None:
                binding_attach.detach(group)
            service.forget(site, kind, name)
            if recorded is not None:
                _stop_steering(site, recorded)
    reasons = tuple(f"{name} keeps listening on {place} only, as it was bound" for place in held)
    after: dict[str, Any] = dict.fromkeys(before)
    if reasons and restart and unit is not None:
        if not check:
            systemd.restart(unit)
        before, after, reasons = {**before, "restarted": False}, {**after, "restarted": True}, ()
    return Outcome(bool(before), before, after, {}, reasons)


@contextlib.contextmanager
def _locked(site: Site, check: bool) -> Iterator[None]:
    """Nobody else looks at addresses meanwhile; check mode writes nothing, not even a lock file."""
    if check:
        yield
        return
    store.prepare(site)
    with store.lock(site, "registry"):
        yield


def _parse(options: Mapping[str, Any], recorded: Service | None) -> Binding:
    for option, remedy in (
        ("interface", "A service uses addresses the host has: put them on an interface as the distribution does."),
        ("network", "Use 'state: absent' to let the service use every address."),
    ):
        if options.get(option) is not None:
            raise InvalidInput(f"{option} is for guests", remedy=remedy)
    if recorded is None and options.get("addresses") is None:
        raise InvalidInput("addresses are missing", remedy="Give the addresses the service is to be locked to.")
    wanted = binding.parse(options, _FIRST if recorded is None else recorded.binding)
    if wanted.loopback == "private":
        raise InvalidInput("a service of the host has no private loopback", remedy="Use loopback 'host' or 'none'.")
    return wanted


def _present(site: Site, wanted: Service, check: bool) -> tuple[Unit | None, Path | None]:
    """The unit and the cgroup as they are; refuses what cannot be bound, but for what check mode may foretell."""
    unit = None
    if wanted.kind == "unit":
        unit = systemd.show(wanted.name)
        if unit is None and not check:
            raise InvalidInput(f"this host has no unit {wanted.name}", remedy="See 'systemctl list-unit-files'.")
        if not site.program.exists() and not check:
            raise InvalidInput(
                f"bind unit {wanted.name} to addresses",
                why=f"{site.program} is missing, which binds it whenever it starts",
                remedy="Use module engine, or role host.",
            )
        if unit is not None:
            _refuse_triggered(site, unit)
    group = _group(wanted.kind, wanted.name, unit)
    if wanted.kind == "cgroup" and group is None:
        raise InvalidInput(f"this host has no cgroup {wanted.name}", remedy="Make it first.")
    present = {entry.ip for entries in address.addresses().values() for entry in entries}
    missing = [own for own in first_addresses(policy(wanted)) if own not in present and not own.is_loopback]
    if missing and not check:
        raise InvalidInput(
            f"bind {wanted.kind} {wanted.name} to {missing[0]}",
            why="it is the first of its family, which every listener on any address gets, and not one of this host",
            remedy=f"This host has {', '.join(sorted(str(ip) for ip in present if not ip.is_loopback)) or 'none'}.",
        )
    return unit, group


def _refuse_triggered(site: Site, unit: Unit) -> None:
    """A socket that systemd opens for a service was never in the service's cgroup."""
    for name in unit.triggered_by:
        trigger = systemd.show(name) if name.endswith(".socket") else None
        if trigger is not None and trigger.ports and service.load(site, "unit", trigger.name) is None:
            raise Conflict(
                f"bind unit {unit.name} to addresses",
                why=f"systemd opens its sockets, in {trigger.name}",
                remedy=f"Bind unit {trigger.name} first, or disable it ('systemctl disable --now {trigger.name}').",
            )


def _refuse_contested(site: Site, recorded: Service | None, wanted: Service) -> None:
    registry = Registry(site)
    before = None if recorded is None else recorded.binding
    holdings.refuse_undecided(f"{wanted.kind} {wanted.name}", wanted.binding, before, registry.unknown_guests())
    for guest in registry.having(holdings.plain(wanted.binding)):
        taken = holdings.taken_from(guest, wanted.binding)
        if taken:
            raise Conflict(
                f"bind {wanted.kind} {wanted.name} to {', '.join(sorted(taken))}",
                why=f"guest {guest.name} (xid {guest.xid}) has it",
                remedy="Give it addresses of the host's own, or 'shared: true' to both.",
            )


def _group(kind: str, name: str, unit: Unit | None) -> Path | None:
    """The directory of the service's cgroup, if there is one now."""
    group = name if kind == "cgroup" else unit.group if unit is not None else None
    path = None if group is None else cgroup.layout().tree / group
    return path if path is not None and path.is_dir() else None


def policy(of: Service) -> BindingPolicy:
    """What the programs on a service's cgroup enforce (pure)."""
    return binding.policy_for(0, of.binding)


def first_addresses(of: BindingPolicy) -> list[sock_diag.IP]:
    """What an address "any" of either family becomes (pure)."""
    own = (of.ipv4[0] if of.ipv4 else None, of.default_source6)
    return [first for first in own if first is not None]


def _in_force(group: Path, wanted: Service) -> bool:
    return binding_attach.matches(group, policy(wanted), steering=binding_attach.can_steer())


def attach(site: Site, wanted: Service, group: Path) -> None:
    """Put a service's programs on its cgroup. Raises :class:`VserverError`."""
    attempt = f"bind {wanted.kind} {wanted.name} to addresses"
    try:
        host_cgroups.sockets(site)
    except OSError as error:
        remedy = "Unmount the cgroup controllers net_cls and net_prio, or use Linux 5.15 or newer."
        raise Unsupported(attempt, why=str(error), remedy=remedy) from error
    try:
        binding.attach_policy(site, group, policy(wanted), shared=wanted.binding.shared)
    except OSError as error:
        filtered = error.errno == errno.EPERM and wanted.kind == "unit"
        raise VserverError(
            attempt,
            why=error.strerror or str(error),
            remedy="If it has filters of systemd's own (IPAddressDeny=), it takes Delegate=yes too."
            if filtered
            else None,
        ) from error


def _stop_steering(site: Site, gone: Service) -> None:
    """Steer no more to the addresses of ``gone``, but for those that services of the host are still bound to.

    While there is one of which that is not known, all stay until the host reboots.
    """
    records = service.load_all(site)
    if records.unknown:
        return
    rest = [found.binding for found in records.known]
    addresses = dict.fromkeys(text for own in rest for text in own.addresses)
    loopback = "host" if any(own.loopback == "host" for own in rest) else "none"
    keep = policy_of(0, [ipaddress.ip_interface(text) for text in addresses], loopback=loopback)
    binding.stop_steering(site, policy(gone), keep)


def _finish(
    site: Site,
    wanted: Service,
    unit: Unit | None,
    group: Path | None,
    changed: bool,
    before: dict[str, Any],
    after: dict[str, Any],
    check: bool,
    restart: bool,
) -> Outcome:
    """Restart if that is asked for, possible and needed, and report."""
    reasons = service_sockets.misplaced(wanted.name, policy(wanted), unit, group)
    if reasons and restart and unit is not None:
        if not check:
            systemd.restart(unit)
            unit = systemd.show(wanted.name)
            group = _group(wanted.kind, wanted.name, unit)
            if group is None or not _in_force(group, wanted):
                raise VserverError(
                    f"bind {wanted.kind} {wanted.name} to addresses",
                    why="it was restarted, and " + ("does not run" if group is None else "is not bound"),
                    remedy=f"See 'systemctl status {wanted.name}'.",
                )
        changed, reasons = True, () if check else service_sockets.misplaced(wanted.name, policy(wanted), unit, group)
        before, after = {**before, "restarted": False}, {**after, "restarted": True}
    differing = [key for key in after if before.get(key) != after[key]]
    return Outcome(
        changed,
        {key: before.get(key) for key in differing},
        {key: after[key] for key in differing},
        _subject(wanted, group),
        reasons,
    )


def _description(of: Service | None) -> dict[str, Any]:
    if of is None:
        return {}
    return {
        option: list(value) if isinstance(value, tuple) else value
        for option, value in ((option, getattr(of.binding, option)) for option in _OPTIONS)
    }


def _subject(of: Service, group: Path | None) -> dict[str, Any]:
    """The service as the module reports it."""
    attached = {} if group is None else binding_attach.attached(group).programs
    return {
        of.kind: of.name,
        **_description(of),
        "group": None if group is None else str(group),
        "programs": sorted(hook.name for hook, names in attached.items() if names),
    }
