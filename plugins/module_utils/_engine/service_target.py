# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service of the host is meant, and that it is one."""

from __future__ import annotations

import os
from pathlib import Path

from . import systemd
from .errors import InvalidInput
from .kernel import cgroup
from .site import Site


def of_unit(name: str) -> tuple[str, str]:
    """The kind and the name of a service that is a unit. Raises :class:`InvalidInput`."""
    systemd.require("bind a unit to addresses", "Give the cgroup of its processes (cgroup) instead.")
    known = systemd.show(systemd.unit_name(name))
    return "unit", systemd.unit_name(name) if known is None else known.name


def of_cgroup(site: Site, text: str) -> tuple[str, str]:
    """The kind and the name of a service that is a cgroup, given absolute or relative to the v2 tree's top.

    Raises :class:`InvalidInput` when there is no such cgroup or it holds guests.
    """
    tree = cgroup.layout().tree
    path = Path(os.path.normpath(tree / text))
    inside = path.parts[: len(tree.parts)] == tree.parts and path != tree
    name = str(path.relative_to(tree)) if inside else ""
    if not inside or any(
        f"{name}/".startswith(f"{ours}/") or f"{ours}/".startswith(f"{name}/") for ours in (site.cgroup, site.slice)
    ):
        raise InvalidInput(
            f"cgroup {text!r} cannot be bound as a service of the host",
            why="it is not below the top of the v2 tree, or guests are in it",
            remedy=f"Give a path below {tree}; a guest is bound by its name.",
        )
    return "cgroup", name


def refuse_guest(site: Site, kind: str, name: str) -> None:
    """Raise :class:`InvalidInput` when a service is the unit of a guest."""
    guest = site.guest_of(name) if kind == "unit" else None
    if guest is not None:
        raise InvalidInput(
            f"unit {name} cannot be bound as a service of the host",
            why=f"it is guest {guest}",
            remedy=f"A guest is bound by its name ('name: {guest}').",
        )
