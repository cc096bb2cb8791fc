# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest as a unit of a real host's systemd, with every controller of version 2 and crun, and a newer engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from .laboratory import Lab
from .plays import CREATE, begin
from .suite import REPOSITORY

NAME = "web-1.a"
UNIT = f"vserver@{NAME}.service"
GROUP = f"/sys/fs/cgroup/vserver.slice/{UNIT}"
PATIENCE = 120.0


def show(lab: Lab, host: str, key: str) -> str:
    return lab.remote.run(host, f"systemctl show --value --property={key} {UNIT}").strip()


def wait_for(lab: Lab, host: str, key: str, value: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while show(lab, host, key) != value:
        assert time.monotonic() < deadline, lab.remote.run(host, f"systemctl status {UNIT} || true")
        time.sleep(1)


def failed(lab: Lab, host: str) -> set[str]:
    """The units of the guest that have failed when it has booted; sshd does where the host's has its port."""
    # Its systemd takes orders from a moment on which is not that of its start.
    lab.remote.run(host, f"until vserver exec {NAME} -- test -S /run/systemd/private; do sleep 0.5; done")
    lab.remote.run(host, f"vserver exec {NAME} -- systemctl is-system-running --wait || true")
    words = lab.remote.run(host, f"vserver exec {NAME} -- systemctl --failed --plain --no-legend").splitlines()
    return {line.split()[0] for line in words} - {"ssh.service"}


def upgrade(lab: Lab, host: str, place: Path) -> None:
    """Install the engine of a newer collection: this one, with one more line."""
    parts = ("plugins", "meta", "galaxy.yml")
    tree = place / "ansible_collections/linux/vserver"
    for part in parts:
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy
        tree.mkdir(parents=True, exist_ok=True)
        copy(REPOSITORY / part, tree / part)
    with (tree / "plugins/module_utils/_engine/site.py").open("a") as source:
        source.write("#: Newer.\n")
    words = ["ansible", "-i", str(lab.remote.inventory), host, "-m", "linux.vserver.engine"]
    subprocess.run(words, env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(place)}, check=True)


def remove(lab: Lab, host: str) -> None:
    words = ["ansible", "-i", str(lab.remote.inventory), host, "-m", "linux.vserver.guest"]
    subprocess.run([*words, "-a", f"name={NAME} state=absent keep_data=false"], check=True)


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_what_is_the_groups_above_a_guest_is_told_to_systemd(shared_lab: Lab, tmp_path: Path, host: str) -> None:
    """Its weight and its claim to memory have to be set in groups that are systemd's, and to survive its reload."""
    lab = shared_lab
    files = ("cpu.weight", "bound/guest/memory.high", "bound/guest/memory.low", "memory.low", "../memory.low")

    def told(**limits: object) -> list[str]:
        guest = {"name": NAME, "template": "debian", "init": ["/bin/sleep", "infinity"], **limits}
        begin(lab, tmp_path / "create.log", [CREATE], limit=host, guests=[guest]).changes(host)
        words = " ".join(f"{GROUP}/{file}" for file in files)
        return lab.remote.run(host, f"systemctl daemon-reload; cat {words}").split()

    high, low = str(48 << 20), [str(32 << 20)] * 3
    assert told(cpu_weight=300, memory_high="48M", memory_low="32M") == ["300", high, *low]
    lab.remote.run(host, f"vserver restart {NAME}")
    assert told() == ["300", high, *low]
    assert told(cpu_weight=50, memory_low="16M") == ["50", high, *[str(16 << 20)] * 3]
    lab.remote.run(host, f"vserver stop {NAME}")
    assert lab.remote.run(host, f"cat {GROUP}/../memory.low 2>/dev/null || echo 0").strip() == "0"
    assert told(cpu_weight=100, memory_high="max", memory_low="0") == ["100", "max", "0", "0", "0"]
    lab.remote.run(host, f"vserver stop {NAME}")
    remove(lab, host)
    assert lab.remote.run(host, f"ls -d /run/systemd/system.control/{UNIT}.d || true") == ""
    assert lab.remote.run(host, "ls -d /run/systemd/system.control/vserver.slice.d || true") == ""


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_systemd_has_the_guest_as_a_unit(shared_lab: Lab, tmp_path: Path, host: str) -> None:
    lab = shared_lab
    guests = [{"name": NAME, "template": "debian", "addresses": ["10.86.0.100"]}]
    begin(lab, tmp_path / "create.log", [CREATE], limit=host, guests=guests).changes(host)
    assert show(lab, host, "ActiveState") == "active" and not failed(lab, host)
    first = show(lab, host, "MainPID")
    assert lab.remote.run(host, f"cat /proc/{first}/comm").strip() == "systemd"
    assert lab.remote.run(host, f"cat {GROUP}/engine/cgroup.procs") == "", "something of ours stays"
    assert {"memory", "pids"} <= set(lab.remote.run(host, f"cat {GROUP}/bound/guest/cgroup.subtree_control").split())

    lab.remote.run(host, f"vserver exec {NAME} -- systemctl reboot")
    wait_for(lab, host, "NRestarts", "1")
    wait_for(lab, host, "ActiveState", "active")
    second = show(lab, host, "MainPID")
    assert second not in ("0", first) and not failed(lab, host)

    lab.remote.run(host, f"kill -9 {second}")
    wait_for(lab, host, "ActiveState", "failed")
    assert lab.remote.run(host, f"ls -d {GROUP} /run/vserver/{NAME}/state.json 2>/dev/null || true") == ""
    lab.remote.run(host, f"systemctl start {UNIT} && vserver stop {NAME}")
    assert show(lab, host, "ActiveState") == "inactive"

    lab.remote.run(host, f"vserver start {NAME}")
    running, old = show(lab, host, "MainPID"), lab.remote.run(host, "vserver --version")
    upgrade(lab, host, tmp_path / "newer")
    assert lab.remote.run(host, "vserver --version") != old
    assert show(lab, host, "MainPID") == running and not failed(lab, host)
    lab.remote.run(host, f"systemctl restart {UNIT}")
    assert show(lab, host, "ActiveState") == "active" and show(lab, host, "MainPID") != running
    assert not failed(lab, host)
    lab.remote.run(host, f"vserver exec {NAME} -- systemctl poweroff")
    wait_for(lab, host, "ActiveState", "inactive")
    remove(lab, host)
