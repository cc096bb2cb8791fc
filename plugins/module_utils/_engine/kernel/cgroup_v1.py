# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hierarchies of version 1 that a host has beside the v2 tree: a group in all of them, and a view without them.

An OCI runtime is shown the v2 tree alone, and what is elsewhere is done here, so that every runtime does the same on
every host: by itself ``crun`` refuses one that has controllers in both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from . import mount
from .cgroup import Layout

#: Where a runtime looks for control groups, of the version that the file system there is of.
_PLACE = Path("/sys/fs/cgroup")
#: A new group of controller cpuset has nothing of either, and so takes no process (cpusets.rst).
_OF_CPUSET = ("cpuset.cpus", "cpuset.mems")


def create(where: Layout, group: str) -> None:
    """Make ``group`` in each hierarchy, with all processors and memory nodes of the groups above. Raises OSError."""
    for top in where.v1:
        while True:
            try:
                if where.controllers.get("cpuset") == top:
                    _descend(top, Path(group).parts)
                else:
                    os.makedirs(f"{top}/{group}", exist_ok=True)
                break
            except FileNotFoundError:
                # Somebody has just removed a group above because it was empty.
                if not top.is_dir():
                    raise


def _descend(path: Path, parts: Sequence[str]) -> None:
    for part in parts:
        above, path = path, path / part
        path.mkdir(exist_ok=True)
        for file in _OF_CPUSET:
            if not (path / file).read_text().strip():
                (path / file).write_text((above / file).read_text())


def groups(where: Layout, group: str) -> tuple[str, ...]:
    """Where ``group`` exists."""
    return tuple(f"{top}/{group}" for top in where.v1 if (top / group).is_dir())


def hide(where: Layout) -> None:
    """Have the v2 tree alone where a runtime looks, in the mount namespace of the caller. Raises OSError."""
    if where.tree != _PLACE:
        mount.bind(where.tree, _PLACE)
