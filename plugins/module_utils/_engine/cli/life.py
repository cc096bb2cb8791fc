# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that start, stop, end and freeze guests."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable

from .. import autostart, lifecycle, running, several, store, throwaway
from ..errors import InvalidInput, VserverError
from ..kernel import cgroup_place, cgroup_processes, process
from ..site import Site


def _names(site: Site, arguments: argparse.Namespace, *, running_ones: bool = False) -> list[str]:
    """The guests that are named, each known; with ``--all`` all of them, or those that run."""
    known = store.names(site)
    if arguments.all:
        return [name for name in known if not running_ones or running.may_run(site, name)]
    for name in arguments.names:
        if name not in known:
            store.require(site, name)
    return list(dict.fromkeys(arguments.names))


def _each(site: Site, names: list[str], verb: str, act: Callable[[str], object]) -> int:
    """Do ``act`` for each name: for one here, with its own error; for several at a time, as the host has processors."""
    if len(names) == 1:
        act(names[0])
    elif names:
        several.each(names, len(names) if verb in ("stop", "kill") else os.cpu_count() or 1, verb, act)
    return 0


def _become(site: Site, name: str, state: str) -> None:
    for warning in lifecycle.set_state(site, name, state, {}).warnings:
        sys.stderr.write(f"vserver: warning: {warning}\n")


def _sweep(site: Site) -> None:
    """Clear up behind others; what is left there keeps no guest from being started."""
    try:
        throwaway.sweep(site)
    except VserverError as error:
        sys.stderr.write(f"vserver: warning: {error}\n")


def _start(site: Site, arguments: argparse.Namespace) -> int:
    _sweep(site)
    return _each(site, _names(site, arguments), "start", lambda name: _become(site, name, "started"))


def _stop(site: Site, arguments: argparse.Namespace) -> int:
    return _each(site, _names(site, arguments, running_ones=True), "stop", lambda name: _become(site, name, "stopped"))


def _restart(site: Site, arguments: argparse.Namespace) -> int:
    return _each(
        site, _names(site, arguments, running_ones=True), "restart", lambda name: _become(site, name, "restarted")
    )


def _freeze(site: Site, arguments: argparse.Namespace) -> int:
    def freeze(name: str) -> None:
        _require_running(site, name)
        _become(site, name, "frozen")

    return _each(site, _names(site, arguments, running_ones=True), "freeze", freeze)


def _thaw(site: Site, arguments: argparse.Namespace) -> int:
    def thaw(name: str) -> None:
        _require_running(site, name)
        _become(site, name, "started")

    return _each(site, _names(site, arguments, running_ones=True), "thaw", thaw)


def _require_running(site: Site, name: str) -> None:
    if not running.may_run(site, name):
        raise InvalidInput(f"guest {name} does not run", remedy=f"Start it: vserver start {name}.")


def _kill(site: Site, arguments: argparse.Namespace) -> int:
    number = arguments.signal
    if number is None:
        return _each(site, _names(site, arguments, running_ones=True), "kill", lambda name: lifecycle.kill(site, name))
    return _each(site, _names(site, arguments, running_ones=True), "signal", lambda name: _signal(site, name, number))


def _signal(site: Site, name: str, number: signal.Signals) -> None:
    """Send a signal to every process of a guest; each is known by a pidfd before it is looked whether it is one."""
    _require_running(site, name)
    inside = f"/{running.inner_cgroup(site, name)}"
    for pid in cgroup_processes.ids(running.group(site, name)):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            descriptor = process.descriptor(pid)
            try:
                if f"{cgroup_place.of_process(pid)}/".startswith(f"{inside}/"):
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def _autostart(site: Site, arguments: argparse.Namespace) -> int:
    _sweep(site)
    autostart.start(site, arguments.parallel)
    return 0


COMMANDS = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "kill": _kill,
    "freeze": _freeze,
    "thaw": _thaw,
    "autostart": _autostart,
}
