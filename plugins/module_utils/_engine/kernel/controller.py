# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cgroup controller's files in one group, in the v2 tree or in a v1 hierarchy."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import contents
from .cgroup import Layout

#: Controller → a file of v2 that every group has which the controller is enabled in (cgroup-v2.rst).
_SURE = {"cpu": "cpu.max", "cpuset": "cpuset.cpus", "io": "io.max", "memory": "memory.max", "pids": "pids.max"}
#: What v2 calls io, v1 calls blkio.
_V1_NAMES = {"io": "blkio"}


@dataclass(frozen=True)
class Controller:
    """One controller in one group.

    * path: the group, in the hierarchy the controller is in
    * unified: whether that is the v2 tree; the files of v1 have other names
    """

    path: str
    unified: bool

    def read(self, file: str) -> str | None:
        """What is in a file, None when the group has none of this name."""
        try:
            return contents.read(f"{self.path}/{file}").decode().strip()
        except FileNotFoundError:
            return None

    def write(self, file: str, value: object) -> None:
        """Raises OSError, with the file and what was refused."""
        path = f"{self.path}/{file}"
        try:
            Path(path).write_text(str(value))
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} for {value}", path) from error

    def has(self, file: str) -> bool:
        return os.path.exists(f"{self.path}/{file}")


def name_in(layout: Layout, controller: str) -> str | None:
    """What this host calls a controller of v2, None when it lacks it."""
    for name in (controller, _V1_NAMES.get(controller, controller)):
        if name in layout.controllers:
            return name
    return None


def controllers(layout: Layout, group: str, v1: str) -> Mapping[str, Controller]:
    """v2's name → the controller's files in a group, as :func:`controller` has them; those this host has."""
    found = {name: controller(layout, name, group, v1) for name in _SURE}
    return {name: files for name, files in found.items() if files is not None}


def controller(layout: Layout, name: str, group: str, v1: str) -> Controller | None:
    """The files of the one that v2 calls ``name``; None when this host lacks it.

    * group: a path below the top of the v2 tree; v1: the one below the top of another hierarchy
    """
    here = name_in(layout, name)
    top = None if here is None else layout.controllers[here]
    if top is None:
        return None
    return Controller(f"{top}/{group}", True) if top == layout.unified else Controller(f"{top}/{v1}", False)


def offers(layout: Layout, controller: str, file: str, v1_file: str | None) -> bool:
    """Whether this host's kernel has ``file`` in v2, or ``v1_file`` in v1; None: v1 has no such thing.

    v2's top has no limits, so a group below it is asked; when there is none with this controller, the answer is yes.
    """
    name = name_in(layout, controller)
    if name is None:
        return False
    top = layout.controllers[name]
    return _below(top, controller, file) if top == layout.unified else v1_file is not None and (top / v1_file).exists()


@functools.cache
def _below(top: Path, controller: str, file: str) -> bool:
    with contextlib.suppress(OSError):
        for group in top.iterdir():
            if (group / _SURE[controller]).exists():
                return (group / file).exists()
    return True
