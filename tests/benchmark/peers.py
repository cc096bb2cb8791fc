# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests are compared with: the same OCI runtime with nothing of ours around it, and cp(1)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine import files, oci
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import capabilities
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import (
    cgroup,
    cgroup_processes,
    mount,
    namespace,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import ID_COUNT, Context, Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

_XID = 200
_KILL_TIMEOUT = 10.0


def copy(source: Path, target: Path) -> None:
    """What one does without clones."""
    subprocess.run(["cp", "--archive", "--", str(source), str(target)], check=True)


@dataclass
class BareRuntime:
    """Containers from a finished directory: namespaces, mounts and user namespace as a guest has them.

    They have no overlay, address binding, system call filter, record or supervisor, and all share one tree.
    """

    site: Site
    path: str
    source: Path
    made: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @property
    def _place(self) -> Path:
        return self.site.run / ".peers"

    @property
    def _copy(self) -> Path:
        return self.site.state / ".peers"

    def _group(self, name: str) -> str:
        return f"{self.site.cgroup}/{name}/guest"

    def prepare(self) -> None:
        """Copy the tree, once, and shift its owners to those of the user namespace."""
        if self._place.exists():
            return
        copy(self.source, self._copy)
        for point in (self._place, self._place / "tree", self._place / "sys"):
            files.make_directory(point, 0o711)
        mapping = namespace.user_namespace(_XID << 16, ID_COUNT)
        mount.idmapped_bind(self._copy, self._place / "tree", mapping)
        os.close(mapping)
        mount.bind(Path("/sys"), self._place / "sys")

    def close(self) -> None:
        if self._place.exists():
            for point in ("tree", "sys"):
                subprocess.run(["umount", "--lazy", "--", str(self._place / point)], check=True)
            files.remove_tree(self._place)
            files.remove_tree(self._copy)

    def define(self, name: str, init: Sequence[str]) -> None:
        """Write the bundle of a container."""
        self.prepare()
        self.made.append(name)
        guest = Guest(name, context=Context(xid=_XID, init=tuple(init)))
        config = oci.config(
            guest,
            root=self._place / "tree",
            sys=self._place / "sys",
            cgroup=self._group(name),
            kept=capabilities.kept(guest.capabilities),
            seccomp=None,
        )
        files.make_directory(self._place / name)
        (self._place / name / "config.json").write_text(json.dumps(config))

    def call(self, *arguments: str) -> None:
        command = [self.path, "--root", str(self.site.run / ".peers-state"), *arguments]
        # A container inherits both, so a pipe would stay open for as long as it runs, and crun gives them to the
        # container's root, which must not be the host's null device.
        with tempfile.TemporaryFile() as nothing:
            subprocess.run(command, stdin=nothing, stdout=nothing, check=True)

    def run(self, name: str) -> None:
        self.call("run", "--detach", "--bundle", str(self._place / name), "--pid-file", str(self._pid_file(name)), name)

    def boot(self, name: str) -> None:
        """Like :meth:`run`, with the control group delegated, as systemd needs it."""
        bundle = str(self._place / name)
        self.call("create", "--bundle", bundle, "--pid-file", str(self._pid_file(name)), name)
        unified = cgroup.layout().unified
        assert unified is not None
        cgroup.delegate(unified / self._group(name), _XID << 16)
        self.call("start", name)

    def delete(self, name: str) -> None:
        self.call("delete", "--force", name)

    def pid(self, name: str) -> int:
        return int(self._pid_file(name).read_text())

    def _pid_file(self, name: str) -> Path:
        return self._place / name / "pid"

    @contextlib.contextmanager
    def running(self, names: Sequence[str]) -> Iterator[None]:
        for name in names:
            self.run(name)
        try:
            yield
        finally:
            for name in names:
                self.delete(name)

    def remove_all(self) -> None:
        layout = cgroup.layout()
        for name in self.made:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.delete(name)
            assert layout.unified is not None
            cgroup_processes.kill(layout.unified / self._group(name), _KILL_TIMEOUT)
            cgroup.remove(layout, f"{self.site.cgroup}/{name}")
        self.made.clear()
