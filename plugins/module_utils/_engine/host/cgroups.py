# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host's control groups can do, tried out on a temporary group."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..kernel import cgroup, cgroup_processes
from ..site import Site
from .facts import parse_hierarchies, parse_release, sockets_lose_their_cgroup
from .trial import PREFIX, end_with_parent


def _unified() -> Path:
    top = cgroup.layout().unified
    if top is None:
        raise OSError(errno.ENOENT, "no cgroup2 file system is mounted")
    return top


@contextlib.contextmanager
def _populated_group() -> Iterator[Path]:
    """A temporary group of the v2 tree with one process in it."""
    path = _unified() / f"{PREFIX.lstrip('.')}{secrets.token_hex(4)}"
    path.mkdir()
    try:
        child = _sleeper()
        try:
            (path / "cgroup.procs").write_text(str(child))
            yield path
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove the group; its process is gone, but the kernel may take a moment to see the group as empty."""
    deadline = time.monotonic() + 2
    while cgroup_processes.populated(path) and time.monotonic() < deadline:
        time.sleep(0.001)
    path.rmdir()


def _sleeper() -> int:
    """Fork a process that waits to be killed; return its id."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            end_with_parent(parent)
            while True:
                signal.pause()
        finally:
            os._exit(0)
    return child


def tree(site: Site) -> str:
    with _populated_group() as path:
        return str(path.parent)


def freeze(site: Site) -> str:
    with _populated_group() as path:
        if not cgroup_processes.freeze(path, True, timeout=2):
            raise OSError("a process did not freeze within 2 seconds")
        cgroup_processes.freeze(path, False, timeout=2)
    return ""


def kill(site: Site) -> str:
    with _populated_group() as path:
        (path / "cgroup.kill").write_text("1")
    return ""


def controller(*names: str) -> Callable[[Site], str]:
    """A probe for a controller, under its v2 or its v1 name, in whatever hierarchy it is."""

    def act(site: Site) -> str:
        controllers = cgroup.layout().controllers
        for name in names:
            if name in controllers:
                return str(controllers[name])
        raise OSError(errno.ENOENT, "in no mounted hierarchy")

    return act


def sockets(site: Site) -> str:
    trap = sockets_lose_their_cgroup(_hierarchies(), parse_release(os.uname().release))
    if trap:
        raise OSError(trap)
    return ""


def _hierarchies() -> dict[str, int]:
    try:
        return parse_hierarchies(Path("/proc/cgroups").read_text())
    except FileNotFoundError:  # built without v1
        return {}
