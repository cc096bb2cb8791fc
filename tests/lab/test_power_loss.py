# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a power cut in the middle of a playbook leaves, and whether the next run repairs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .laboratory import Lab

HOST = "host1"
PATIENCE = 600.0
RUNTIME = "crun --root /run/vserver/.runtime/crun exec"
GUESTS = [
    {"name": name, "template": "debian", "addresses": [f"10.86.0.{number}"], "init": ["/bin/sleep", "infinity"]}
    for number, name in enumerate(("first", "second", "third"), 100)
]


def play(lab: Lab, playbook: str, guests: list[dict[str, Any]], log: Path) -> subprocess.Popen[bytes]:
    words = ["ansible-playbook", "-i", str(lab.remote.inventory), "--limit", HOST, playbook]
    words += ["--extra-vars", json.dumps({"vserver_guests": guests})]
    with log.open("wb") as output:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def played(lab: Lab, playbook: str, guests: list[dict[str, Any]], log: Path) -> int:
    """Runs a playbook, which has to succeed; the answer is the number of changes."""
    assert play(lab, playbook, guests, log).wait(PATIENCE) == 0, log.read_text()
    found = re.search(rf"^{HOST} .* changed=(\d+) ", log.read_text(), re.MULTILINE)
    assert found, log.read_text()
    return int(found[1])


@pytest.fixture
def ready(lab: Lab, tmp_path: Path) -> Lab:
    """The lab, with host1 ready for guests and a template there."""
    lab.reset([HOST])
    with open(os.environ["VSERVER_TEMPLATE_ARCHIVE"], "rb") as archive:
        subprocess.run(lab.remote.words(HOST, "cat >/root/debian.tar.zst"), stdin=archive, check=True)
    played(lab, "linux.vserver.host", [], tmp_path / "host.log")
    words = ["ansible", "-i", str(lab.remote.inventory), HOST, "-m", "linux.vserver.template"]
    subprocess.run([*words, "-a", "name=debian method=archive source=/root/debian.tar.zst"], check=True)
    return lab


def test_the_next_run_repairs_what_a_power_cut_left(ready: Lab, tmp_path: Path) -> None:
    lab = ready
    played(lab, "linux.vserver.create", GUESTS[:1], tmp_path / "first.log")
    lab.remote.run(HOST, f"{RUNTIME} first sh -c 'echo kept >/root/kept; sync /root/kept'")

    running = play(lab, "linux.vserver.create", GUESTS, tmp_path / "cut.log")
    deadline = time.monotonic() + PATIENCE
    while lab.remote.run(HOST, "ls -A /var/lib/vserver/guests").split() == ["first"]:
        assert running.poll() is None and time.monotonic() < deadline, (tmp_path / "cut.log").read_text()
        time.sleep(0.2)
    lab.cut_power([HOST])
    assert running.wait(PATIENCE) != 0

    lab.power_on([HOST])
    assert played(lab, "linux.vserver.create", GUESTS, tmp_path / "again.log") > 0
    assert played(lab, "linux.vserver.create", GUESTS, tmp_path / "idle.log") == 0
    assert lab.remote.run(HOST, f"{RUNTIME} first cat /root/kept") == "kept\n"
    names = [str(guest["name"]) for guest in GUESTS]
    entries = lab.remote.run(HOST, "ls -A /var/lib/vserver/guests").split()
    assert entries == names
    for name in names:
        assert lab.remote.run(HOST, f"{RUNTIME} {name} hostname").strip() == name
