# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a control group of version 2, with all groups below it: which they are, and all of them at once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from . import cgroup
from .cgroup_place import event


def ids(path: Path) -> list[int]:
    """The process ids in a group and all groups below it."""
    found: list[int] = []
    for group in cgroup.below(path):
        with contextlib.suppress(OSError):
            found.extend(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    return found


def populated(path: Path) -> bool:
    """Whether a v2 group or one below it has a living process."""
    return bool(event(path, "populated"))


def frozen(path: Path) -> bool:
    """Whether a v2 group is frozen, all of its processes included."""
    return bool(event(path, "frozen"))


def _wait(path: Path, key: str, value: bool, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while event(path, key) not in (value, None):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def freeze(path: Path, on: bool, timeout: float) -> bool:
    """Freeze or thaw a v2 group (≥ 5.2); False when not every process had stopped after ``timeout`` seconds."""
    (path / "cgroup.freeze").write_text("1" if on else "0")
    return _wait(path, "frozen", on, timeout)


def kill(path: Path, timeout: float) -> bool:
    """Kill every process of a v2 group and below it, at once; False when some are left after ``timeout`` seconds.

    cgroup.kill (≥ 5.14) beats any fork bomb; on older kernels the group is frozen while it is shot.
    """
    if not path.exists():
        return True
    try:
        (path / "cgroup.kill").write_text("1")
    except (FileNotFoundError, PermissionError):  # cgroupfs lets nobody make a file
        freeze(path, True, timeout)
        for pid in ids(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        freeze(path, False, timeout)
    return _wait(path, "populated", False, timeout)
