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
from .errors import Conflict, InvalidInput
from .facet import Facet, compare_fields
from .facets import FACETS, root
from .kernel import cgroup
from .model import Context, Guest, Root, check_name
from .outcome import Outcome
from .site import Site

_KILL_TIMEOUT = 10.0

STATES = ("present", "started", "stopped", "restarted", "frozen", "absent")


def configure(
    site: Site, name: str, facet: str, options: Mapping[str, Any], *, check: bool = False, restart: bool = False
) -> Outcome:
    """Bring one facet of guest ``name`` to what ``options`` ask for; an unknown guest gets a record.

    Options that are None or missing stay as they are. A running guest takes what it can live; the rest is told as
    ``restart_required``, or done at once with ``restart``. Raises :class:`VserverError`.
    """
    with _locked(site, name, check) as lock:
        changed, before, after = _configure(site, name, facet, options, check)
        return _finish(site, name, lock, check, restart, changed, before, after)


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
    if state not in STATES:
        raise InvalidInput(f"state {state!r} is unknown", remedy=f"Use one of {', '.join(STATES)}.")
    with _locked(site, name, check) as lock:
        if state == "absent":
            return _absent(site, name, lock, check)
        changed, before, after = _configure(site, name, "context", options, check)
        was = info.state(site, name)
        warnings = power.in_the_way(site, name) if power.starts(state, was) else ()
        becomes = power.become(site, name, state, was, lock, check)
        if becomes is not None:
            changed, before, after = True, {**before, "state": was}, {**after, "state": becomes}
        outcome = _finish(site, name, lock, check, restart and becomes is None, changed, before, after)
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


def _configure(
    site: Site, name: str, facet_name: str, options: Mapping[str, Any], check: bool
) -> tuple[bool, dict[str, Any], dict[str, Any]]:
    """Record and apply one facet; returns whether anything changed, and the options that did: before, after."""
    facet: Facet = FACETS[facet_name]
    with contextlib.ExitStack() as stack:
        if not check:
            stack.enter_context(store.lock(site, "registry"))
        recorded = store.load(site, name)
        others = _others(site, name)
        base = recorded or Guest(name, context=Context(xid=store.free_xid(others)))
        guest = base.with_section(facet_name, facet.parse(options, base.section(facet_name)))
        guest = guest.with_section(facet_name, facet.resolve(site, guest, others, check))
        defined = compare_fields(facet_name, guest.section(facet_name), base.section(facet_name))
        if not check and guest != recorded:
            store.save(site, guest)
            faults.reached("configure:recorded")
    in_force = facet.observe(site, guest)
    drift = [change for change in facet.compare(guest.section(facet_name), in_force) if change.live]
    if drift and not check:
        facet.apply(site, guest, drift)
        faults.reached("configure:applied")
    changes = {change.option: change for change in (*drift, *defined)}
    return (
        recorded is None or bool(changes),
        {option: change.before for option, change in changes.items()},
        {option: change.after for option, change in changes.items()},
    )


def _others(site: Site, name: str) -> list[Guest]:
    """Every other guest as recorded, and as it still runs where that is different: both hold what they name."""
    recorded = [guest for guest in store.load_all(site) if guest.name != name]
    in_force = [now.guest for now in (running.read(site, guest.name) for guest in recorded) if now is not None]
    return [*recorded, *(guest for guest in in_force if guest not in recorded)]


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


def _absent(site: Site, name: str, lock: int, check: bool) -> Outcome:
    guest = store.load(site, name)
    cloned = guest is not None and root.observe(site, guest) is not None
    is_so = guest == _blank(guest) if guest is not None and cloned else guest is None
    if is_so and not power.leftovers(site, name):
        return Outcome(False)
    was = info.state(site, name)
    if not check:
        power.stop(site, name, lock)
        boot.forget(site, name)
        if guest is not None and cloned:
            store.save(site, _blank(guest))
        else:
            store.forget(site, name)
    return Outcome(True, {"state": was}, {"state": "absent"})
