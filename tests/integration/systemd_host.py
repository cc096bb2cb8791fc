# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host run by systemd, where the machine is not: the machine's own programs under a systemd of the tests.

It has a process tree, mounts and a cgroup tree of its own, sees the machine's files through an overlay, and shares the
tests' network. Nothing of the machine's own units runs there: its target is empty, and tests add units without
default dependencies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup

from .guests import eventually

_TARGET = "vserver-test.target"
_GROUP = "vserver-tests-systemd"
#: In new namespaces, with the place of the new root as $1: become its process 1.
_BOOT = f"""
set -e
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
mkdir -p var/lib/vserver
mount --bind "$1/state" var/lib/vserver
: > etc/fstab
printf '[Unit]\\nDefaultDependencies=no\\n' > etc/systemd/system/{_TARGET}
mkdir -p .old
pivot_root . .old
umount -l .old
exec env -i PATH="$PATH" container=vserver-test /usr/lib/systemd/systemd --system --unit={_TARGET} \\
    --log-target=console --show-status=no
"""


class SystemdHost:
    """A running one; ``pid`` is its process 1."""

    def __init__(self, pid: int, root: Path) -> None:
        self.pid = pid
        self.root = root

    def exec(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        command = ["nsenter", "--target", str(self.pid), "--all", "--", *argv]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
        )

    def run(self, *argv: str) -> str:
        """Run a command there that has to succeed; returns its output."""
        said = self.exec(*argv)
        assert said.returncode == 0, said
        return said.stdout.strip()

    def add_unit(self, name: str, sections: Mapping[str, Mapping[str, str]]) -> None:
        """Write a unit file, for a unit that pulls nothing else in."""
        sections = {**sections, "Unit": {"DefaultDependencies": "no", **sections.get("Unit", {})}}
        lines = []
        for section, settings in sections.items():
            lines += [f"[{section}]", *(f"{key}={value}" for key, value in settings.items())]
        (self.root / "etc/systemd/system" / name).write_text("\n".join(lines) + "\n")
        self.run("systemctl", "daemon-reload")


@contextlib.contextmanager
def booted(place: Path) -> Iterator[SystemdHost]:
    """Have such a host for a ``with`` block. ``place`` is on a file system that can carry an overlay's upper layer."""
    for name in ("upper/etc/systemd/system", "work", "root", "state"):
        (place / name).mkdir(parents=True)
    tree = cgroup.layout().tree
    group = tree / _GROUP
    group.mkdir()
    words = ["unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child", "--"]
    with (place / "console.log").open("wb") as log:
        child = subprocess.Popen(
            [*words, "sh", "-c", _BOOT, "sh", str(place)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: (group / "cgroup.procs").write_text("0"),  # before the cgroup namespace is made
        )
    try:
        init = _first_process(child.pid, place)
        host = SystemdHost(init, Path(f"/proc/{init}/root"))
        eventually(lambda: host.exec("systemctl", "is-active", _TARGET).stdout == "active\n", "systemd does not boot")
        yield host
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        cgroup.kill(group, 10)
        cgroup.remove(cgroup.layout(), _GROUP)
        shutil.rmtree(place, ignore_errors=True)


def _first_process(parent: int, place: Path) -> int:
    """The host's pid of the new process 1, once it runs systemd."""
    children = Path(f"/proc/{parent}/task/{parent}/children")

    def ready() -> bool:
        found = children.read_text().split() if children.exists() else []
        return bool(found) and os.path.basename(os.readlink(f"/proc/{found[0]}/exe")) == "systemd"

    try:
        eventually(ready, "systemd was not executed", patience=10)
    except AssertionError as error:
        raise AssertionError((place / "console.log").read_text()) from error
    return int(children.read_text().split()[0])
