# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: where the hierarchies are, and one group seen across all of them.

The v2 tree may hold every controller (unified), some or none (hybrid: the others are v1 hierarchies), or be missing
(legacy). Killing and freezing (``cgroup_processes``) and BPF need only the tree itself: hybrid hosts do as well.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import handle, mountinfo
from .mountinfo import Mount

#: What a delegated group hands to its new owner (cgroup-v2.rst, "Model of Delegation").
_DELEGATED = ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control")
#: What that may make below: no path longer than PATH_MAX, by names of 255 bytes, and no more than can be listed.
_BOUNDS = {"cgroup.max.depth": 15, "cgroup.max.descendants": 10_000}

#: How long a process that has been killed may take to leave its group, in seconds.
_LEAVING = 5.0


@dataclass(frozen=True)
class Layout:
    """The hierarchies of this host.

    * unified: mount point of the v2 tree, None on a legacy host
    * controllers: controller name → mount point of the hierarchy it is in (v2's or a v1 one)
    * named: mount points of v1 hierarchies without a controller ("name=systemd")
    """

    unified: Path | None
    controllers: Mapping[str, Path] = field(default_factory=dict)
    named: tuple[Path, ...] = ()

    @property
    def mode(self) -> str:
        """``unified``, ``hybrid`` or ``legacy``."""
        if self.unified is None:
            return "legacy"
        return "hybrid" if any(top != self.unified for top in self.controllers.values()) else "unified"

    @property
    def tree(self) -> Path:
        """The v2 tree's mount point. Raises OSError on a legacy host."""
        if self.unified is None:
            raise OSError(errno.ENOENT, "this host has no cgroup2 file system mounted")
        return self.unified

    @functools.cached_property
    def v1(self) -> tuple[Path, ...]:
        """Every hierarchy's mount point but the v2 tree's."""
        return tuple(top for top in self.tops if top != self.unified)

    @functools.cached_property
    def tops(self) -> tuple[Path, ...]:
        """Every hierarchy's mount point, once."""
        tops = dict.fromkeys(self.controllers.values())
        tops.update(dict.fromkeys(self.named))
        if self.unified is not None:
            tops[self.unified] = None
        return tuple(tops)


def layout_of(mounts: Iterable[Mount], read_controllers: Mapping[str, str]) -> Layout:
    """Derive the layout from what is mounted (pure).

    ``read_controllers`` maps a cgroup2 mount point to the text of its ``cgroup.controllers``.
    """
    unified: Path | None = None
    controllers: dict[str, Path] = {}
    named: list[Path] = []
    for mount in mounts:
        if mount.root != "/":
            continue
        if mount.type == "cgroup2" and unified is None:
            unified = Path(mount.point)
            controllers.update(dict.fromkeys(read_controllers.get(mount.point, "").split(), unified))
        elif mount.type == "cgroup":
            names = [name for name in mount.of_type if name not in ("rw", "ro", "xattr", "none", "clone_children")]
            if any(name.startswith("name=") for name in names):
                named.append(Path(mount.point))
            for name in names:
                if "=" not in name:
                    controllers[name] = Path(mount.point)
    return Layout(unified, controllers, tuple(named))


@functools.cache
def layout() -> Layout:
    """The layout of this host, read from the kernel once a process."""
    mounts = mountinfo.read()
    texts = {}
    for mount in mounts:
        if mount.type == "cgroup2":
            with contextlib.suppress(OSError):
                texts[mount.point] = Path(mount.point, "cgroup.controllers").read_text()
    return layout_of(mounts, texts)


def protects_below(mounts: Iterable[Mount] | None = None) -> bool:
    """Whether memory that is protected in a v2 group is protected in the groups below it (memory_recursiveprot, 5.7).

    * mounts: in place of those that this process sees
    """
    seen = mountinfo.read() if mounts is None else mounts
    return any(mount.type == "cgroup2" and "memory_recursiveprot" in mount.of_type for mount in seen)


def create(where: Layout, group: str, inside: str = "") -> Path:
    """Make ``group`` in the v2 tree, with every controller there is, and return its path.

    It is relative to ``inside``, a group that is there and whose ancestors are somebody else's. Raises OSError.
    """
    while True:
        try:
            return _descend(where.tree / inside, Path(group).parts)
        except FileNotFoundError:
            # Somebody has just removed a group above because it was empty.
            if not (where.tree / inside).is_dir():
                raise


def _descend(path: Path, parts: Sequence[str]) -> Path:
    for part in parts:
        # To enable one once more would have the kernel look through all groups below.
        enabled = (path / "cgroup.subtree_control").read_text().split()
        for controller in set((path / "cgroup.controllers").read_text().split()) - set(enabled):
            # A controller that cannot be enabled here (threads, real-time tasks) is missing below, which limits say.
            with contextlib.suppress(OSError):
                (path / "cgroup.subtree_control").write_text(f"+{controller}")
        path = path / part
        path.mkdir(exist_ok=True)
    return path


def leave(where: Layout) -> None:
    """Move the calling process to the top of the v2 tree."""
    (where.tree / "cgroup.procs").write_text("0")


def delegate(path: Path, uid: int) -> None:
    """Give a v2 group to ``uid``: it may make groups below and move its processes, not change the group's limits."""
    for name, most in _BOUNDS.items():
        (path / name).write_text(str(most))
    for name in _DELEGATED:
        os.chown(path / name, uid, uid)


def below(path: Path) -> list[Path]:
    """``path`` and every group below it, each after those below; groups that vanish meanwhile are left out.

    However deep a guest has laid them: by a call for each level, Python would give up.
    """
    found: list[Path] = []
    todo = [path]
    while todo:
        group = todo.pop()
        try:
            todo += [Path(entry.path) for entry in os.scandir(group) if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                continue
            raise
        found.append(group)
    return found[::-1]


_FILEID_KERNFS = 0xFE  # include/linux/exportfs.h: a handle is the id of the group, which is its inode number


def with_id(identity: int) -> Path | None:
    """The v2 group with this id; None when it is gone or this process may not ask."""
    top = os.open(layout().tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with handle.opened(top, handle.made(_FILEID_KERNFS, struct.pack("=Q", identity))) as group:
            return Path(os.readlink(f"/proc/self/fd/{group}"))
    except OSError:
        return None
    finally:
        os.close(top)


def remove(where: Layout, group: str) -> None:
    """Remove ``group`` and all groups below it from every hierarchy; it must be empty of processes. Raises OSError."""
    for top in where.tops:
        try:
            os.rmdir(f"{top}/{group}")  # mostly there is none, or none below it
        except FileNotFoundError:
            continue
        except OSError:
            for path in below(top / group):
                with contextlib.suppress(FileNotFoundError):
                    _remove_empty(path)


def _remove_empty(path: Path) -> None:
    """Remove a group, once those who have been killed in it are gone; that takes them a moment."""
    deadline = time.monotonic() + _LEAVING
    while True:
        try:
            return path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.002)


def remove_if_empty(tops: Iterable[Path], group: str) -> None:
    """Remove ``group`` from each of these hierarchies where nothing is left in it."""
    for top in tops:
        with contextlib.suppress(OSError):
            (top / group).rmdir()


def hierarchies(where: Layout, group: str) -> list[Path]:
    """Where ``group`` exists, over all hierarchies."""
    return [top / group for top in where.tops if (top / group).is_dir()]
