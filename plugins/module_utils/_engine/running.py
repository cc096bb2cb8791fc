# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a guest is running now: process 1, and the settings it was started with.

The runtime's own state is not asked: one JSON file and two looks into /proc and the cgroup tree tell all, for any
number of guests.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files
from .kernel import cgroup, process
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


def state_file(site: Site, name: str) -> Path:
    return site.bundle(name) / "state.json"


def write(site: Site, running: Running) -> None:
    """Note that ``running`` runs, or that a setting of it changed live."""
    record: dict[str, Any] = dataclasses.asdict(running)
    record["guest"] = running.guest.to_record()
    files.write_json(state_file(site, running.guest.name), record)


def read(site: Site, name: str) -> Running | None:
    """The guest's run state, or None when its process 1 is gone."""
    noted = _noted(site, name)
    return noted if noted is not None and process.start_ticks(noted.pid) == noted.start else None


def last(site: Site, name: str) -> Guest | None:
    """The settings that the guest runs with, or ran with when nobody has cleaned up behind it yet."""
    noted = _noted(site, name)
    return None if noted is None else noted.guest


def _noted(site: Site, name: str) -> Running | None:
    try:
        record = files.read_json(state_file(site, name))
    except FileNotFoundError:
        return None
    return Running(**{**record, "guest": Guest.from_record(record["guest"])})


def clear(site: Site, name: str) -> None:
    """Forget the run state."""
    state_file(site, name).unlink(missing_ok=True)


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
    return in_unit if (layout.tree / in_unit).is_dir() else supervised


def outer_cgroup(site: Site, layout: cgroup.Layout, name: str) -> Path:
    """The v2 path of the guest's outer group."""
    return layout.tree / outer_group(site, layout, name)


def inner_cgroup(site: Site, name: str) -> str:
    """The group of the guest's own processes, relative to the top of a hierarchy; its limits are set there."""
    return f"{outer_group(site, cgroup.layout(), name)}/guest"


def group(site: Site, name: str) -> Path:
    """The v2 path of the group of the guest's own processes."""
    return cgroup.layout().tree / inner_cgroup(site, name)


def sharing_group(site: Site, name: str) -> tuple[str, str | None]:
    """The group that competes with those of other guests, relative to the top of a hierarchy, and its systemd unit."""
    supervised, _in_unit = outer_groups(site, name)
    outer = outer_group(site, cgroup.layout(), name)
    return (outer, None) if outer == supervised else (site.unit_cgroup(name), site.unit(name))
