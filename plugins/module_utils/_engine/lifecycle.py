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
import ipaddress
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import boot, faults, host_addresses, info, running, runtime, store, supervise
from .chbind.policy import loopback_addresses
from .errors import Conflict, InvalidInput, VserverError
from .facet import Facet, compare_fields
from .facets import FACETS, binding, root
from .host import listeners
from .kernel import cgroup, process
from .model import Context, Guest, Root, check_name
from .outcome import Outcome
from .running import Running
from .site import Site

#: What an init expects as its order to power off; every other one gets SIGTERM.
_STOP_SIGNALS = {
    "systemd": signal.SIGRTMIN + 3,  # systemd(1), SIGNALS
    "init": signal.SIGPWR,  # sysvinit, init(8)
    "busybox": signal.SIGUSR2,
}
_FREEZE_TIMEOUT = 10.0

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
            return _absent(site, name, check)
        changed, before, after = _configure(site, name, "context", options, check)
        was = info.state(site, name)
        warnings = _in_the_way(site, name) if _starts(state, was) else ()
        becomes = _TRANSITIONS[state](site, name, was, lock, check)
        if becomes is not None:
            changed, before, after = True, {**before, "state": was}, {**after, "state": becomes}
        outcome = _finish(site, name, lock, check, restart and becomes is None, changed, before, after)
        return dataclasses.replace(outcome, warnings=(*warnings, *outcome.warnings))


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
        warnings = _in_the_way(site, name)
        if not check:
            _stop(site, name)
            _start(site, name, lock)
        changed, reasons = True, ()
        before, after = {**before, "restarted": False}, {**after, "restarted": True}
    return Outcome(changed, before, after, info.guest(site, name, reasons), reasons, warnings)


def _starts(state: str, was: str) -> bool:
    """Whether a guest that is ``was`` gets a new process 1 on its way to ``state`` (pure)."""
    return state == "restarted" or (state in ("started", "frozen") and was not in ("running", "frozen"))


def _in_the_way(site: Site, name: str) -> tuple[str, ...]:
    """What of the host holds ports that a guest about to start could want."""
    guest = store.load(site, name)
    if guest is None or guest.binding.network == "host":
        return ()
    own = {ipaddress.ip_interface(text).ip for text in host_addresses.wanted(guest)}
    try:
        return listeners.warnings(name, listeners.listeners(site, own | {loopback_addresses(guest.xid)[0]}))
    except OSError as error:
        return (f"programs of the host that hold ports of guest {name} are not looked for: {error.strerror}",)


def _to_present(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    return None


def _to_started(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was == "running":
        return None
    if not check:
        if was == "frozen":
            _freeze(site, name, False)
        else:
            _start(site, name, lock)
    return "running"


def _to_stopped(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was in ("stopped", "undefined") and not _leftovers(site, name):
        return None
    if not check:
        _stop(site, name)
    return "stopped"


def _to_restarted(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if not check:
        _stop(site, name)
        _start(site, name, lock)
    return "running"


def _to_frozen(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was == "frozen":
        return None
    if not check:
        _to_started(site, name, was, lock, check)
        _freeze(site, name, True)
    return "frozen"


#: State asked for → (site, name, state now, lock, check) → the state it becomes, or None when it is there already.
_TRANSITIONS = {
    "present": _to_present,
    "started": _to_started,
    "stopped": _to_stopped,
    "restarted": _to_restarted,
    "frozen": _to_frozen,
}


def _absent(site: Site, name: str, check: bool) -> Outcome:
    guest = store.load(site, name)
    cloned = guest is not None and root.observe(site, guest) is not None
    is_so = guest == _blank(guest) if guest is not None and cloned else guest is None
    if is_so and not _leftovers(site, name):
        return Outcome(False)
    was = info.state(site, name)
    if not check:
        _stop(site, name)
        boot.forget(site, name)
        if guest is not None and cloned:
            store.save(site, _blank(guest))
        else:
            store.forget(site, name)
    return Outcome(True, {"state": was}, {"state": "absent"})


def _leftovers(site: Site, name: str) -> bool:
    """Whether something of a run is left on the host although the guest does not run."""
    return bool(cgroup.hierarchies(cgroup.layout(), site.guest_cgroup(name)) or runtime.state(site, name))


def _start(site: Site, name: str, lock: int) -> Running:
    """Start a guest that does not run."""
    guest = store.require(site, name)
    if root.observe(site, guest) is None:
        raise InvalidInput(f"start guest {name}", why="it has no root", remedy="Clone it from a template first.")
    binding.require_tight(guest)
    return supervise.spawn(site, guest, runtime.choose(site), lock)


def _stop(site: Site, name: str) -> None:
    """Stop a guest: its init's own order first, after its timeout every process at once. Fine when it does not run."""
    now = running.read(site, name)
    if now is not None:
        group = running.outer_cgroup(site, cgroup.layout(), name) / "guest"
        _end_in_order(now, group)
        faults.reached("stop:waited")
    boot.release(site, name)


def _end_in_order(now: Running, group: Path) -> None:
    """Have the guest end by itself, within its timeout: by its init, or where that is deaf, process by process.

    A process 1 without a handler never sees a signal but SIGKILL (pid_namespaces(7)), and its death takes all others
    along at once; so those get SIGTERM first.
    """
    timeout = now.guest.context.timeout
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        init = os.path.basename((process.executable(now.pid) or "").removesuffix(" (deleted)"))
        order = _STOP_SIGNALS.get(init, signal.SIGTERM)
        if process.listens(now.pid, order):
            os.kill(now.pid, order)
            cgroup.freeze(group, False, _FREEZE_TIMEOUT)
            process.wait_gone(now.pid, now.start, timeout)
            return
    for pid in cgroup.processes(group):
        if pid != now.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    cgroup.freeze(group, False, _FREEZE_TIMEOUT)
    deadline = time.monotonic() + timeout
    while set(cgroup.processes(group)) - {now.pid} and time.monotonic() < deadline:
        time.sleep(0.01)


def _freeze(site: Site, name: str, on: bool) -> None:
    group = running.outer_cgroup(site, cgroup.layout(), name) / "guest"
    if not cgroup.freeze(group, on, _FREEZE_TIMEOUT):
        raise VserverError(
            f"{'freeze' if on else 'thaw'} guest {name}",
            why=f"some of its processes have not followed for {_FREEZE_TIMEOUT:.0f} s",
            remedy="They hang in the kernel; see /proc/PID/stack of its processes.",
        )
