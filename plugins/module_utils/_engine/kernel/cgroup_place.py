# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a process is in the control groups, and moving there: what whoever enters a guest has to read, and no more."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable

from . import contents


def event(group: str | os.PathLike[str], key: str) -> bool | None:
    """Whether a v2 group is ``populated`` or ``frozen``, as it tells itself; None of one that is gone."""
    try:
        lines = contents.read(f"{os.fspath(group)}/cgroup.events").splitlines()
    except OSError:
        return None
    return f"{key} 1".encode() in lines


def of_process(pid: int) -> str:
    """The v2 group a process is in, as an absolute path below the tree's top (cgroups(7), /proc/PID/cgroup).

    A group that has been removed ends in " (deleted)": that path does not exist, although its name may be in use again.
    """
    # A guest may call its groups anything but a line break.
    for line in contents.read(f"/proc/{pid}/cgroup").split(b"\n"):
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:])
    raise OSError(errno.ENOENT, f"process {pid} is in no cgroup of the v2 tree")


def join(tree: str, group: str, pid: int) -> None:
    """Move the calling process where ``pid`` is in the v2 tree, which is in ``group`` or below it.

    Below it because a v2 group that has handed controllers on to its children holds no processes itself (EBUSY), as
    under a systemd. Raises OSError when ``pid`` keeps moving, or is elsewhere.

    * tree: where the v2 tree is mounted, which ``group`` is a path in
    """
    for last in (False,) * 20 + (True,):
        current = of_process(pid)
        if not f"{tree}{current}/".startswith(f"{group}/"):
            raise OSError(errno.ESRCH, f"process {pid} is not in the cgroup {group}")
        if of_process(os.getpid()) == current:
            return
        try:
            return _write(f"{tree}{current}/cgroup.procs")
        except OSError as error:
            if last or error.errno not in (errno.EBUSY, errno.ENOENT, errno.ENODEV):
                raise
            time.sleep(0.001)


def enter_v1(groups: Iterable[str]) -> None:
    """Move the calling process, which has one thread, into groups of hierarchies of version 1. Raises OSError."""
    for group in groups:
        _write(f"{group}/tasks")  # the caller alone: cgroup.procs waits for all readers (RCU)


def _write(file: str) -> None:
    with open(file, "wb") as members:
        members.write(b"0")
