# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's whole life, composed of its five facets: the calls that modules and command line make.

Each call takes the guest's lock, compares what is asked for with the record and with what is in force, and applies the
difference; check mode stops before the last step.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from . import boot, faults, info, power, running, store
from .errors import Conflict
from .facet import Change, compare_fields
from .facets import FACETS, root
from .kernel import cgroup
from .model import Context, Guest, Root, check_name
from .outcome import Outcome
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


def bring(site: Site, wish: Wish, *, check: bool = False, registry: Registry | None = None) -> Outcome:
    """Bring a guest to what is asked of it: all facets, then the state, under one lock and with at most one restart.

    * registry: what is known of all guests, for check mode, which notes there what the guest would become

    Raises :class:`VserverError`.
    """
    with _locked(site, wish.name, check) as lock:
        if wish.state == "absent":
            outcome = _absent(site, wish, lock, check)
            if registry is not None:
                recorded = registry.recorded(wish.name)
                kept = _blank(recorded) if recorded and wish.keep_data and root.observe(site, recorded) else None
                registry.drop(wish.name, kept)
            return outcome
        recorded, guest = _record(site, wish, check, registry)
        changes = {change.option: change for change in (*_drift(site, wish, guest, check), *_defined(recorded, guest))}
        changed = recorded is None or bool(changes)
        before = {option: change.before for option, change in changes.items()}
        after = {option: change.after for option, change in changes.items()}
        was = info.state(site, wish.name)
        warnings = power.in_the_way(site, wish.name) if power.starts(wish.state, was) else ()
        becomes = power.become(site, wish.name, wish.state, was, lock, check)
        if becomes is not None:
            changed, before, after = True, {**before, "state": was}, {**after, "state": becomes}
        outcome = _finish(site, wish.name, lock, check, wish.restart and becomes is None, changed, before, after)
        return dataclasses.replace(outcome, warnings=(*warnings, *outcome.warnings))


def kill(site: Site, name: str) -> None:
    """End every process of guest ``name`` at once, without an order to its init. It is fine when it does not run.

    Raises :class:`VserverError`.
    """
    with _locked(site, name, False) as lock:
        cgroup.kill(running.outer_cgroup(site, cgroup.layout(), name) / "guest", _KILL_TIMEOUT)
        power.stop(site, name, lock)


def remove_root(site: Site, name: str, *, check: bool = False) -> Outcome:
    """Remove the clone of guest ``name`` with all its data; what else is recorded of the guest stays.

    Raises :class:`Conflict` while the guest runs.
    """
    with _locked(site, name, check):
        guest = store.load(site, name)
        if guest is None:
            return Outcome(False)
        present = root.observe(site, guest)
        if present is None and guest.root == Root() and guest != _blank(guest):
            return Outcome(False)
        if running.read(site, name) is not None:
            raise Conflict(f"remove the clone of guest {name}", why="the guest runs", remedy="Stop it first.")
        if not check:
            root.remove(site, name)
            _record_without_root(site, guest)
        return Outcome(True, {"root": info.section(present or guest.root)}, {"root": None})


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


def _record(site: Site, wish: Wish, check: bool, registry: Registry | None) -> tuple[Guest | None, Guest]:
    """Record what is asked for; returns the guest as it was recorded, and as it is now."""
    with contextlib.ExitStack() as stack:
        if not check:
            stack.enter_context(store.lock(site, "registry"))
        registry = registry or Registry(site)
        recorded = registry.recorded(wish.name)
        others = registry.others(wish.name)
        guest = wish.parsed(recorded or Guest(wish.name, context=Context(xid=registry.free_xid())))
        for name in wish.options:
            guest = guest.with_section(name, FACETS[name].resolve(site, guest, others, check))
        registry.put(guest)
        if not check and guest != recorded:
            store.save(site, guest)
            faults.reached("configure:recorded")
    return recorded, guest


def _defined(recorded: Guest | None, guest: Guest) -> list[Change]:
    """What differs from what was recorded, or from a new guest's settings (pure)."""
    base = recorded or Guest(guest.name, context=Context(xid=guest.xid))
    return [change for name in FACETS for change in compare_fields(name, guest.section(name), base.section(name))]


def _drift(site: Site, wish: Wish, guest: Guest, check: bool) -> list[Change]:
    """Make what is recorded true where that is possible live; returns what was not."""
    found = []
    for name, facet in FACETS.items():
        if name not in wish.options:
            continue
        drift = [change for change in facet.compare(guest.section(name), facet.observe(site, guest)) if change.live]
        if drift and not check:
            facet.apply(site, guest, drift)
            faults.reached("configure:applied")
        found += drift
    return found


def _finish(
    site: Site,
    name: str,
    lock: int,
    check: bool,
    restart: bool,
    changed: bool,
    before: dict[str, Any],
    after: dict[str, Any],
) -> Outcome:
    """Restart if that is asked for and needed, and report."""
    reasons = info.restart_reasons(site, name)
    warnings: tuple[str, ...] = ()
    if reasons and restart:
        warnings = power.in_the_way(site, name)
        if not check:
            power.stop(site, name, lock)
            power.start(site, name, lock)
        changed, reasons = True, ()
        before, after = {**before, "restarted": False}, {**after, "restarted": True}
    return Outcome(changed, before, after, info.guest(site, name, reasons), reasons, warnings)


def _absent(site: Site, wish: Wish, lock: int, check: bool) -> Outcome:
    name = wish.name
    guest = store.load(site, name)
    clone = None if guest is None else root.observe(site, guest)
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
