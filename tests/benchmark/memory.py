# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory that guests cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup


class MemoryOf:
    """The memory of a control group: all that its processes made the kernel take, but for what it could drop at once.

    The machine's free memory would tell of everybody's doings.
    """

    def __init__(self, group: str) -> None:
        self._layout = cgroup.layout()
        self._name = f"{group}/callers"
        top = self._layout.controllers.get("memory")
        if top is None:
            raise RuntimeError("there is no memory controller")
        self._top, self._group = top, top / group

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Have what this process starts charged to the group as well."""
        v2 = self._top == self._layout.unified
        callers = cgroup.create(self._layout, self._name) if v2 else self._top / self._name
        callers.mkdir(parents=True, exist_ok=True)
        home = self._home()
        (callers / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (home / "cgroup.procs").write_text("0")

    def _home(self) -> Path:
        """Where this process is now."""
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _ignored, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(",") or (not controllers and self._top == self._layout.unified):
                return self._top / path.lstrip("/")
        raise RuntimeError("this process is in no group of the memory controller")

    def kibibytes(self) -> float:
        stat = dict(line.split() for line in (self._group / "memory.stat").read_text().splitlines())
        if self._top == self._layout.unified:
            used = int((self._group / "memory.current").read_text())
            droppable = int(stat["file"]) - int(stat["shmem"])
        else:
            used = int((self._group / "memory.usage_in_bytes").read_text())
            droppable = int(stat["total_cache"]) - int(stat["total_shmem"])
        return (used - droppable) / 1024
