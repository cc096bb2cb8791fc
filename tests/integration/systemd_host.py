# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host run by systemd, where the machine is not: the machine's own programs under a systemd of the tests.

It has a process tree, mounts and a cgroup tree of its own, sees the machine's files through an overlay, and shares the
tests' network. None of the machine's own units is wanted there; what tests enable is started at boot.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import (
    cgroup,
    cgroup_place,
    cgroup_processes,
    cgroup_v1,
)

from .guests import eventually

_Host = TypeVar("_Host", bound="SystemdHost")

_TARGET = "vserver-test.target"
_GROUP = "vserver-tests-systemd"
#: In new namespaces, with the place of the new root as $1, and the controllers of the machine's version 1 hierarchies
#: after that: become its process 1. systemd does not look at those; they make up for what the v2 tree lacks here.
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
place="$1"
shift
for controllers; do
    mkdir -p "run/cgroup/$controllers"
    mount -t cgroup -o "$controllers" cgroup "run/cgroup/$controllers"
done
mkdir -p var/lib/vserver .old
mount --bind "$place/state" var/lib/vserver
if [ ! -e etc/systemd/system/{_TARGET} ]; then
    rm -rf etc/systemd/system/*.wants usr/lib/systemd/system/*.wants
    : > etc/fstab
    printf '[Unit]\\nWants=multi-user.target\\n' > etc/systemd/system/{_TARGET}
fi
pivot_root . .old
umount -l .old
exec env -i PATH="$PATH" container=vserver-test /usr/lib/systemd/systemd --system --unit={_TARGET} \\
    --log-target=console --show-status=no
"""


class SystemdHost:
    """One such host. ``place`` is on a file system that can carry an overlay's upper layer."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._group = cgroup.layout().tree / _GROUP
        for name in ("upper/etc/systemd/system", "work", "root", "state"):
            (place / name).mkdir(parents=True)
        self._clear()  # what a run that was killed has left
        self.boot()

    @property
    def root(self) -> Path:
        """Its root directory, as seen from outside."""
        return Path(f"/proc/{self._pid}/root")

    @property
    def group(self) -> Path:
        """The top of its cgroup tree, as seen from outside."""
        return self._group

    def boot(self) -> None:
        """Boot it, until everything that is enabled has started."""
        layout = cgroup.layout()
        self._group.mkdir()
        cgroup_v1.create(layout, _GROUP)
        old: dict[Path, list[str]] = {}
        for name, top in layout.controllers.items():
            if top != layout.tree:
                old.setdefault(top, []).append(name)
        words = ["unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child", "--"]
        with (self._place / "console.log").open("wb") as log:
            self._child = subprocess.Popen(
                [*words, "sh", "-c", _BOOT, "sh", str(self._place), *map(",".join, old.values())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=self._enter,  # before the cgroup namespace is made
            )
        self._pid = self._first_process()
        eventually(
            lambda: self.exec("systemctl", "is-active", _TARGET).stdout == "active\n",
            "systemd does not boot",
            patience=60,
        )

    def _enter(self) -> None:
        cgroup_place.enter_v1(cgroup_v1.groups(cgroup.layout(), _GROUP))
        (self._group / "cgroup.procs").write_text("0")

    def _first_process(self) -> int:
        """The pid of the new process 1, once it runs systemd."""
        children = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")

        def ready() -> bool:
            found = children.read_text().split() if children.exists() else []
            return bool(found) and os.path.basename(os.readlink(f"/proc/{found[0]}/exe")) == "systemd"

        try:
            eventually(ready, "systemd was not executed", patience=10)
        except AssertionError as error:
            raise AssertionError((self._place / "console.log").read_text()) from error
        return int(children.read_text().split()[0])

    def reboot(self) -> None:
        """Shut it down in order, and boot it again."""
        self.run("systemctl", "--no-block", "poweroff")
        self._child.wait(timeout=60)
        self.end()
        self.boot()

    def end(self) -> None:
        """Take its power away."""
        self._child.kill()
        self._child.wait()
        self._clear()

    def _clear(self) -> None:
        cgroup_processes.kill(self._group, 10)
        cgroup.remove(cgroup.layout(), _GROUP)

    def command(self, *argv: str) -> list[str]:
        """The words that run a command there."""
        return ["nsenter", "--target", str(self._pid), "--all", "--", *argv]

    def exec(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return subprocess.run(
            self.command(*argv),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self, *argv: str) -> str:
        """Run a command there that has to succeed; returns its output."""
        said = self.exec(*argv)
        assert said.returncode == 0, said
        return said.stdout.strip()

    def play(self, *tasks: Mapping[str, object]) -> str:
        """Run tasks of Ansible there, which have to succeed; returns what it says."""
        playbook = self.root / "srv/play.yml"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]))
        program = Path(sys.executable).parent / "ansible-playbook"
        said = self.exec(str(program), "/srv/play.yml", ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="false")
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    def add_unit(self, name: str, sections: Mapping[str, Mapping[str, str]]) -> None:
        """Write a unit file, for a unit that pulls nothing else in."""
        sections = {**sections, "Unit": {"DefaultDependencies": "no", **sections.get("Unit", {})}}
        lines = []
        for section, settings in sections.items():
            lines += [f"[{section}]", *(f"{key}={value}" for key, value in settings.items())]
        (self.root / "etc/systemd/system" / name).write_text("\n".join(lines) + "\n")
        self.run("systemctl", "daemon-reload")


def tiny_guest(name: str, **options: object) -> dict[str, object]:
    """A task of Ansible that has a guest of the template ``tiny``, by options of module ``guest``.

    Without a limit of processes, for crun makes no groups in the hierarchies of version 1 that this host has as well.
    """
    given = {"name": name, "template": "tiny", "processes": "max", "state": "present", **options}
    return {"linux.vserver.guest": given}


@contextlib.contextmanager
def booted(place: Path, kind: type[_Host] = SystemdHost) -> Iterator[_Host]:
    """Have such a host for a ``with`` block."""
    host = kind(place)
    try:
        yield host
    finally:
        host.end()
        shutil.rmtree(place, ignore_errors=True)
