# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's whole life, composed of its five facets: the calls that modules and command line make.

Each call takes the guest's lock, compares what is asked for with the record and with what is in force, and applies the
difference; check mode stops before the last step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import boot, faults, holdings, info, last_end, power, running, store
from .errors import Busy, Conflict, VserverError
from .facet import Change, compare_fields
from .facets import root
from .facets.order import FACETS
from .kernel import cgroup_processes
from .model import Context, Guest, Root, check_name
from .outcome import Outcome, in_the_way
from .registry import Registry
from .site import Site
from .wish import Wish

_KILL_TIMEOUT = 10.0


def configure(
    site: Site, name: str, facet: str, options: Mapping[str, Any], *, check: bool = False, restart: bool = False
) -> Outcome:
    """Bring one facet of guest ``name`` to what ``options`` ask for; an unknown guest gets a record.

    Options that are None or missing stay as they are. A running guest takes what it can live; the rest is told as
    ``restart_required``, or done at once with ``restart``. Raises :class:`VserverError`.
    """
    return bring(site, Wish(name, {facet: options}, restart=restart), check=check)


def set_state(
    site: Site,
    name: str,
    state: str,
    options: Mapping[str, Any],
    *,
    check: bool = False,
    restart: bool = False,
) -> Outcome:
    """Bring the context facet of guest ``name`` to ``options``, and the guest to ``state`` (one of STATES).

    ``absent`` stops the guest and forgets its definition, but leaves its clone with the data. Raises
    :class:`VserverError`.
    """
    return bring(site, Wish(name, {"context": options}, state, restart), check=check)


@dataclass(frozen=True)
class Noted:
    """That a guest has been recorded: as it was, None for a new one, and as it is now."""

    before: Guest | None
    guest: Guest


def bring(
    site: Site, wish: Wish, *, check: bool = False, registry: Registry | None = None, noted: Noted | None = None
) -> Outcome:
    """Bring a guest to what is asked of it: all facets, then the state, under one lock and with at most one restart.

    * registry: what is known of all guests, for check mode, which notes there what the guest would become
    * noted: what :func:`note` has recorded of ``wish`` already

    Raises :class:`VserverError`.
    """
    with _locked(site, wish.name, check) as lock:
        if wish.state == "absent":
            outcome = _absent(site, wish, lock, check)
            if registry is not None:
                recorded = registry.recorded(wish.name)
                kept = _blank(recorded) if recorded and wish.keep_data and root.observe(site, recorded, None) else None
                registry.drop(wish.name, kept)
            return outcome
        if noted is None or store.load(site, wish.name) != noted.guest:
            noted = _record(site, wish, check, registry)
        return _become(site, wish, noted, lock, check)


def note(site: Site, wishes: Sequence[Wish]) -> dict[str, Noted | VserverError]:
    """Record what is asked for of many guests, reading all records at most once; what became of each by name.

    A guest for whom one would have to wait, because somebody else is at work on it or was killed over it, is left out.
    """
    answers: dict[str, Noted | VserverError] = {}
    store.prepare(site)
    with store.lock(site, "registry"):
        registry = Registry(site)
        for wish in wishes:
            # Against the order of locks, and so without waiting.
            with contextlib.suppress(Busy), store.lock_idle(site, wish.name):
                try:
                    answers[wish.name] = _as_it_is(site, wish) or _save(site, wish, registry)
                except VserverError as error:
                    answers[wish.name] = error
    return answers


def _become(site: Site, wish: Wish, noted: Noted, lock: int, check: bool) -> Outcome:
    """Make true what has been recorded, and then the state."""
    name, guest = wish.name, noted.guest
    now = running.read(site, name)
    differing = info.compare(guest, info.observe(site, guest, now))
    drift = _drift(site, wish, guest, differing, check)
    changes = {change.option: change for change in (*drift, *_defined(noted))}
    changed = noted.before is None or bool(changes)
    before = {option: change.before for option, change in changes.items()}
    after = {option: change.after for option, change in changes.items()}
    was = info.running_state(site, name) if now else "stopped" if noted.before else "undefined"
    starts = power.starts(wish.state, was)
    warnings = power.in_the_way(site, guest) if starts else ()
    becomes = power.become(site, name, wish.state, was, lock, check)
    if becomes is not None:
        changed, before, after = True, {**before, "state": was}, {**after, "state": becomes}
    if not check:
        now = running.read(site, name)  # it may have ended meanwhile, by itself too
    reasons: tuple[str, ...] = ()
    if not starts and becomes != "stopped":
        differing = info.compare(guest, info.observe(site, guest, now)) if drift and not check else differing
        reasons = info.restart_reasons(now, differing)
    if reasons and wish.restart and becomes is None:
        warnings = (*warnings, *power.in_the_way(site, guest))
        if not check:
            power.stop(site, name, lock)
            power.start(site, name, lock)
        changed, reasons = True, ()
        before, after = {**before, "restarted": False}, {**after, "restarted": True}
    return Outcome(changed, before, after, restart_required=reasons, warnings=warnings)


def kill(site: Site, name: str) -> None:
    """End every process of guest ``name`` at once, without an order to its init. It is fine when it does not run.

    Raises :class:`VserverError`.
    """
    with _locked(site, name, False) as lock:
        now = running.left(site, name)
        cgroup_processes.kill(running.group(site, name), _KILL_TIMEOUT)
        if now is not None:
            last_end.note(site, now, "stopped", "killed")
        power.stop(site, name, lock, in_order=False)


def remove_root(site: Site, name: str, *, check: bool = False) -> Outcome:
    """Remove the clone of guest ``name`` with all its data; what else is recorded of the guest stays.

    Raises :class:`Conflict` while the guest runs; in check mode it warns.
    """
    with _locked(site, name, check):
        guest = store.load(site, name)
        if guest is None:
            return Outcome(False)
        present = root.observe(site, guest, None)
        if present is None and guest.root == Root() and guest != _blank(guest):
            return Outcome(False)
        warnings: tuple[str, ...] = ()
        if running.read(site, name) is not None:
            conflict = Conflict(f"remove the clone of guest {name}", why="the guest runs", remedy="Stop it first.")
            warnings = in_the_way(conflict, check=check)
        if not check:
            root.remove(site, name)
            _record_without_root(site, guest)
        return Outcome(True, {"root": info.section(present or guest.root)}, {"root": None}, warnings=warnings)


def _record_without_root(site: Site, guest: Guest) -> None:
    rest = guest.with_section("root", Root())
    if rest == _blank(rest):
        store.forget(site, guest.name)
    else:
        store.save(site, rest)


def _blank(guest: Guest) -> Guest:
    """``guest`` with nothing defined but its name, xid and root (pure)."""
    return Guest(guest.name, root=guest.root, context=Context(xid=guest.xid))


@contextlib.contextmanager
def _locked(site: Site, name: str, check: bool) -> Iterator[int]:
    """The guest's lock; check mode writes nothing, not even a lock file, and so reads without one."""
    check_name("guest", name)
    if check:
        yield -1
        return
    store.prepare(site)
    with store.lock_guest(site, name) as lock:
        yield lock


def _record(site: Site, wish: Wish, check: bool, registry: Registry | None) -> Noted:
    """Record what is asked for, or in check mode only find out what that would be."""
    known = _as_it_is(site, wish)
    if known is not None:
        return known
    if check:
        return _resolved(site, wish, registry or Registry(site), check)
    with store.lock(site, "registry"):
        return _save(site, wish, Registry(site))


def _as_it_is(site: Site, wish: Wish) -> Noted | None:
    """The guest as recorded, when no more is asked of it than to stop, for which no other's record is read; or None."""
    if wish.state != "stopped" or wish.asks_settings:
        return None
    guest = store.load(site, wish.name)
    return None if guest is None else Noted(guest, guest)


def _save(site: Site, wish: Wish, registry: Registry) -> Noted:
    noted = _resolved(site, wish, registry, check=False)
    if noted.guest != noted.before:
        store.save(site, noted.guest)
        faults.reached("configure:recorded")
    return noted


def _resolved(site: Site, wish: Wish, registry: Registry, check: bool) -> Noted:
    before = registry.recorded(wish.name)
    guest = wish.parsed(before or Guest(wish.name, context=Context(xid=registry.free_xid())))
    bound = None if before is None else before.binding
    holdings.refuse_undecided(f"guest {wish.name}", guest.binding, bound, registry.unknown_holders())
    rivals = registry.rivals(guest)
    for name in wish.options:
        guest = guest.with_section(name, FACETS[name].resolve(site, guest, rivals, check))
    if "binding" in wish.options:
        holdings.refuse_taken(guest, rivals, registry.services)
    registry.put(guest)
    return Noted(before, guest)


def _defined(noted: Noted) -> list[Change]:
    """What differs from what was recorded, or from a new guest's settings (pure)."""
    guest = noted.guest
    base = noted.before or Guest(guest.name, context=Context(xid=guest.xid))
    return [change for name in FACETS for change in compare_fields(name, guest.section(name), base.section(name))]


def _drift(
    site: Site, wish: Wish, guest: Guest, differing: Mapping[str, Sequence[Change]], check: bool
) -> list[Change]:
    """Make what is recorded true where that is possible live; returns what was not."""
    found = []
    for name, facet in FACETS.items():
        if name not in wish.options:
            continue
        drift = [change for change in differing[name] if change.live]
        if drift and not check:
            facet.apply(site, guest, drift)
            faults.reached("configure:applied")
        found += drift
    return found


def _absent(site: Site, wish: Wish, lock: int, check: bool) -> Outcome:
    name = wish.name
    guest = store.load(site, name)
    clone = None if guest is None else root.observe(site, guest, None)
    kept = _blank(guest) if guest is not None and clone is not None and wish.keep_data else None
    if guest == kept and not power.leftovers(site, name):
        return Outcome(False)
    was = info.state(site, name)
    before: dict[str, Any] = {"state": was}
    after: dict[str, Any] = {"state": "absent"}
    if clone is not None and kept is None:
        before, after = {**before, "root": info.section(clone)}, {**after, "root": None}
    if not check:
        power.stop(site, name, lock)
        boot.forget(site, name)
        if kept is not None:
            store.save(site, kept)
        else:
            root.remove(site, name)
            store.forget(site, name)
    return Outcome(True, before, after)
