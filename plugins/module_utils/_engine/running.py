# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a guest is running now: process 1, and the settings it was started with.

The runtime's own state is not asked: one JSON file and two looks into /proc and the cgroup tree tell all, for any
number of guests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files, record
from .entrance import STATE
from .errors import VserverError
from .kernel import cgroup, contents, controller, process
from .kernel.controller import Controller
from .model import Guest
from .site import Site


@dataclass(frozen=True)
class Running:
    """A running guest.

    * pid, start: its process 1 as the host sees it (see :func:`.kernel.process.start_ticks`)
    * runtime: path of the OCI runtime that started it
    * started_at: ISO 8601, UTC
    * guest: the record in force, which a newer record may differ from
    """

    pid: int
    start: int
    runtime: str
    started_at: str
    guest: Guest


def state_file(site: Site, name: str) -> str:
    return f"{site.run}/{name}/{STATE}"


def write(site: Site, running: Running) -> None:
    """Note that ``running`` runs, or that a setting of it changed live."""
    noted: dict[str, Any] = dataclasses.asdict(running)
    noted["guest"] = record.of_guest(running.guest)
    files.write_json(Path(state_file(site, running.guest.name)), noted)


def read(site: Site, name: str) -> Running | None:
    """The guest's run state, or None when its process 1 is gone.

    Raises :class:`VserverError` when this engine cannot tell all of the settings that the guest runs with.
    """
    noted = _noted(site, name)
    if noted is None or not _lives(noted.run):
        return None
    error = noted.error
    if error is not None:
        raise VserverError(
            f"read {state_file(site, name)}, the settings with which guest {name} runs",
            why=error.what if error.why is None else f"{error.what} ({error.why})",
            remedy=error.remedy or f"End the guest: vserver kill {name}.",
        ) from error
    return noted.run


def found(site: Site, name: str) -> Running | None:
    """Like :func:`read`, with those of its settings that this engine knows: enough to measure it, and to end it."""
    noted = _noted(site, name)
    return None if noted is None or not _lives(noted.run) else noted.run


def may_run(site: Site, name: str) -> bool:
    """Whether the guest runs, or that cannot be told because what is noted of it is damaged."""
    try:
        return found(site, name) is not None
    except VserverError:
        return True


def last(site: Site, name: str) -> Guest | None:
    """The settings, as far as this engine knows them, that the guest runs with, or ran with when nobody has cleaned up
    behind it yet. None as well when what was noted of them is damaged."""
    run = left(site, name)
    return run.guest if run is not None and run.guest.xid else None


def left(site: Site, name: str) -> Running | None:
    """The guest's run, or the one that is over when nobody has cleaned up behind it yet; None when that is damaged."""
    with contextlib.suppress(VserverError):
        noted = _noted(site, name)
        return None if noted is None else noted.run
    return None


def says(site: Site, name: str, record: bytes) -> bool:
    """Whether word for word this record is what the guest runs with, or ran with: most do, and nothing is parsed."""
    try:
        return record.strip() in contents.read(state_file(site, name))
    except OSError:  # mostly there is none
        return False


@dataclass(frozen=True)
class _Noted:
    """A run with those of its settings that this engine knows, and why these are not all of them."""

    run: Running
    error: VserverError | None


def _noted(site: Site, name: str) -> _Noted | None:
    path = state_file(site, name)
    try:
        return _parsed(contents.read(path), path, name)
    except FileNotFoundError:
        return None
    except record.DAMAGE as error:
        raise VserverError(
            f"read {path}", f"it is damaged ({type(error).__name__}: {error})", f"End the guest: vserver kill {name}."
        ) from error


@functools.lru_cache(maxsize=4096)
def _parsed(data: bytes, path: str, name: str) -> _Noted:
    """The file once it is read, which is more often than it changes. Raises one of :data:`.record.DAMAGE`.

    Of the keys of another version those that mean something here: what must not be overlooked is in ``guest``.
    """
    noted = files.parse_json(data, path)
    run = (int(noted["pid"]), int(noted["start"]), str(noted["runtime"]), str(noted["started_at"]))
    try:
        return _Noted(Running(*run, record.guest(noted["guest"])), None)
    except VserverError as error:
        return _Noted(Running(*run, record.known(name, noted["guest"])), error)


def _lives(run: Running) -> bool:
    return process.start_ticks(run.pid) == run.start


def clear(site: Site, name: str) -> None:
    """Forget the run state."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(state_file(site, name))


def owe(site: Site, name: str, state: str) -> None:
    """Note that the guest, about to be stopped for a while, is to be ``state`` again, "running" or "frozen"."""
    files.write_json(_debt(site, name), {"state": state})


def owed(site: Site, name: str) -> str | None:
    """What a guest is to be again, which whoever stopped it did not live to see; None for most guests."""
    with contextlib.suppress(FileNotFoundError):
        state = files.read_json(_debt(site, name))["state"]
        return state if state in ("running", "frozen") else None
    return None


def settle(site: Site, name: str) -> None:
    """Owe the guest nothing: it is what it was, or somebody has said what it is to be."""
    _debt(site, name).unlink(missing_ok=True)


def _debt(site: Site, name: str) -> Path:
    return site.bundle(name) / "owed.json"


def update_section(site: Site, guest: Guest, facet: str) -> None:
    """Note that the running guest now has ``guest``'s section of ``facet``."""
    running = read(site, guest.name)
    if running is not None:
        in_force = running.guest.with_section(facet, guest.section(facet))
        write(site, dataclasses.replace(running, guest=in_force))


def outer_groups(site: Site, name: str) -> tuple[str, str]:
    """Where the guest's outer group may be, relative to the top of a hierarchy: with a supervisor, and in its unit."""
    return site.guest_cgroup(name), f"{site.unit_cgroup(name)}/bound"


def outer_group(site: Site, layout: cgroup.Layout, name: str) -> str:
    """The guest's outer group, relative to the top of a hierarchy; the binding's programs are attached to it."""
    supervised, in_unit = outer_groups(site, name)
    return in_unit if os.path.isdir(f"{layout.tree}/{in_unit}") else supervised


def outer_cgroup(site: Site, layout: cgroup.Layout, name: str) -> Path:
    """The v2 path of the guest's outer group."""
    return layout.tree / outer_group(site, layout, name)


def inner_cgroup(site: Site, name: str) -> str:
    """The group of the guest's own processes, relative to the top of the v2 tree. Other hierarchies have the outer one
    only, since nothing of theirs is delegated."""
    return f"{outer_group(site, cgroup.layout(), name)}/guest"


def group(site: Site, name: str) -> Path:
    """The v2 path of the group of the guest's own processes."""
    return cgroup.layout().tree / inner_cgroup(site, name)


def controllers(site: Site, name: str) -> Mapping[str, Controller]:
    """v2's name → the files of the group in which the guest's processes are and its limits are set; those there are."""
    layout = cgroup.layout()
    outer = outer_group(site, layout, name)
    return controller.controllers(layout, f"{outer}/guest", outer)


def own_groups(site: Site, name: str) -> tuple[str, str, str | None]:
    """What :func:`outer_group` and :func:`sharing_group` say, found out together."""
    supervised, _in_unit = outer_groups(site, name)
    outer = outer_group(site, cgroup.layout(), name)
    return (outer, outer, None) if outer == supervised else (outer, site.unit_cgroup(name), site.unit(name))


def sharing_group(site: Site, name: str) -> tuple[str, str | None]:
    """The group that competes with those of other guests, relative to the top of a hierarchy, and its systemd unit."""
    return own_groups(site, name)[1:]
