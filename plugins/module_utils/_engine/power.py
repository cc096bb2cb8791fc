# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, stopping and freezing a guest, and what of it each state asked for takes. Callers hold the guest's lock."""

from __future__ import annotations

import ipaddress

from . import boot, ending, guest_unit, host_addresses, last_end, proc_view, running, runtime, supervise
from .chbind.policy import loopback_addresses
from .errors import VserverError
from .host import listeners
from .kernel import cgroup, cgroup_processes
from .model import Guest
from .running import Running
from .site import Site

_FREEZE_TIMEOUT = 10.0


def starts(state: str, was: str) -> bool:
    """Whether a guest that is ``was`` gets a new process 1 on its way to ``state`` (pure)."""
    return state == "restarted" or (state in ("started", "frozen") and was not in ("running", "frozen"))


def in_the_way(site: Site, guest: Guest) -> tuple[str, ...]:
    """What is wrong with the host for a guest about to start: programs that hold its ports, an lxcfs that is dead."""
    return (*_holding_ports(site, guest), *proc_view.warnings(site, guest.name))


def _holding_ports(site: Site, guest: Guest) -> tuple[str, ...]:
    if guest.binding.network == "host":
        return ()
    own = {ipaddress.ip_interface(text).ip for text in host_addresses.wanted(guest)}
    try:
        return listeners.warnings(guest.name, listeners.listeners(site, own | {loopback_addresses(guest.xid)[0]}))
    except OSError as error:
        return (f"programs of the host that hold ports of guest {guest.name} are not looked for: {error.strerror}",)


def _to_present(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    return None


def _to_started(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was == "running":
        return None
    if not check:
        if was == "frozen":
            _freeze(site, name, False)
        else:
            start(site, name, lock)
    return "running"


def _to_stopped(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was in ("stopped", "undefined") and not leftovers(site, name):
        return None
    if not check:
        stop(site, name, lock)
    return "stopped"


def _to_restarted(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if not check:
        stop(site, name, lock)
        start(site, name, lock)
    return "running"


def _to_frozen(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was == "frozen":
        return None
    if not check:
        _to_started(site, name, was, lock, check)
        _freeze(site, name, True)
    return "frozen"


#: State asked for → (site, name, state now, lock, check) → the state it becomes, or None.
_TRANSITIONS = {
    "present": _to_present,
    "started": _to_started,
    "stopped": _to_stopped,
    "restarted": _to_restarted,
    "frozen": _to_frozen,
}


def become(site: Site, name: str, state: str, was: str, lock: int, check: bool) -> str | None:
    """Bring a guest that is ``was`` to ``state``, one of STATES; what it became, None when it was there.

    ``lock`` is the descriptor of the guest's lock. In check mode nothing happens, and the answer is the same.
    """
    becomes = _TRANSITIONS[state](site, name, was, lock, check)
    if not check and state != "present":
        running.settle(site, name)
    return becomes


def leftovers(site: Site, name: str) -> bool:
    """Whether something of a run is left on the host although the guest does not run."""
    layout = cgroup.layout()
    groups = any(cgroup.hierarchies(layout, group) for group in running.outer_groups(site, name))
    return bool(groups or runtime.state(site, name))


def start(site: Site, name: str, lock: int) -> Running:
    """Start a guest that does not run."""
    guest, path = boot.require_bootable(site, name)
    return guest_unit.start(site, guest, lock) if guest_unit.used(site) else supervise.spawn(site, guest, path, lock)


def stop(site: Site, name: str, lock: int, *, in_order: bool = True) -> None:
    """Stop a guest: its init's own order first, after its timeout every process at once. Fine when it does not run.

    Its unit is stopped by systemd; what there is beside, such as a guest from before it had a unit, here.

    * in_order: False: every process at once, and nothing that is noted of the guest is read for it
    """
    if guest_unit.used(site):
        guest_unit.stop(site, name, lock)
    now = running.found(site, name) if in_order else None
    if now is not None:
        ending.in_order(site, now)
        last_end.note(site, now, "stopped")
    boot.release(site, name)


def _freeze(site: Site, name: str, on: bool) -> None:
    if not cgroup_processes.freeze(running.group(site, name), on, _FREEZE_TIMEOUT):
        raise VserverError(
            f"{'freeze' if on else 'thaw'} guest {name}",
            why=f"some of its processes have not followed for {_FREEZE_TIMEOUT:.0f} s",
            remedy="They hang in the kernel; see /proc/PID/stack of its processes.",
        )
