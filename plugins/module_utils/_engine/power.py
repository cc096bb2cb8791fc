# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, stopping and freezing a guest, and what of it each state asked for takes. Callers hold the guest's lock."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import time
from pathlib import Path

from . import boot, faults, host_addresses, running, runtime, store, supervise
from .chbind.policy import loopback_addresses
from .errors import InvalidInput, VserverError
from .facets import binding, root
from .host import listeners
from .kernel import cgroup, process
from .running import Running
from .site import Site

#: What an init expects as its order to power off; every other one gets SIGTERM.
_STOP_SIGNALS = {
    "systemd": signal.SIGRTMIN + 3,  # systemd(1), SIGNALS
    "init": signal.SIGPWR,  # sysvinit, init(8)
    "busybox": signal.SIGUSR2,
}
_FREEZE_TIMEOUT = 10.0


def starts(state: str, was: str) -> bool:
    """Whether a guest that is ``was`` gets a new process 1 on its way to ``state`` (pure)."""
    return state == "restarted" or (state in ("started", "frozen") and was not in ("running", "frozen"))


def in_the_way(site: Site, name: str) -> tuple[str, ...]:
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
            start(site, name, lock)
    return "running"


def _to_stopped(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if was in ("stopped", "undefined") and not leftovers(site, name):
        return None
    if not check:
        stop(site, name)
    return "stopped"


def _to_restarted(site: Site, name: str, was: str, lock: int, check: bool) -> str | None:
    if not check:
        stop(site, name)
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
    return _TRANSITIONS[state](site, name, was, lock, check)


def leftovers(site: Site, name: str) -> bool:
    """Whether something of a run is left on the host although the guest does not run."""
    return bool(cgroup.hierarchies(cgroup.layout(), site.guest_cgroup(name)) or runtime.state(site, name))


def start(site: Site, name: str, lock: int) -> Running:
    """Start a guest that does not run."""
    guest = store.require(site, name)
    if root.observe(site, guest) is None:
        raise InvalidInput(f"start guest {name}", why="it has no root", remedy="Clone it from a template first.")
    binding.require_tight(guest)
    return supervise.spawn(site, guest, runtime.choose(site), lock)


def stop(site: Site, name: str) -> None:
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
