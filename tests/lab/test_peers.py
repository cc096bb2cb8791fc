# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others test with, on real hosts: stress-ng at the limits of a guest."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

import pytest

from .laboratory import Lab

#: How long a host may take to answer beside a guest under load, and how long a load may take to begin, in seconds, on
#: an emulated processor.
ANSWER, PATIENCE = 30.0, 180.0


@dataclass(frozen=True)
class Load:
    """A command of stress-ng that goes for more than its guest may have, and where the kernel counts that."""

    words: str
    limits: str
    file: str
    count: str


LOADS = {
    "memory": Load(
        "--vm 2 --vm-bytes 256M --vm-keep --oomable", "--memory 64M --processes 30 --cpus 0.5", "memory.events", "max"
    ),
    "processes": Load("--fork 1 --fork-max 64 --pthread 1", "--memory 256M --processes 20", "pids.events", "max"),
    "processors": Load("--cpu 2 --cpu-method int64", "--memory 256M --cpus 0.1", "cpu.stat", "nr_throttled"),
}


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_a_load_stays_within_its_guest(shared_lab: Lab, host: str) -> None:
    """The host's own stress-ng, in throw-away guests; the host answers all the while, and nothing is left."""
    for load in LOADS.values():
        words = f"vserver run {load.limits} -- stress-ng --quiet --temp-path /tmp --timeout 600 {load.words}"
        look = f"cat /sys/fs/cgroup/vserver.slice/vserver@run-*/bound/guest/{load.file} 2>/dev/null || true"
        with subprocess.Popen(shared_lab.remote.words(host, words), stdin=subprocess.DEVNULL) as hog:
            deadline = time.monotonic() + PATIENCE
            while not re.search(rf"^{load.count} [1-9]", shared_lab.remote.run(host, look), re.MULTILINE):
                assert hog.poll() is None and time.monotonic() < deadline, f"nothing holds {load.words}"
            asked = time.monotonic()
            shared_lab.remote.run(host, "cat /sys/fs/cgroup/vserver.slice/vserver@run-*/bound/guest/cgroup.procs")
            assert time.monotonic() - asked < ANSWER
            shared_lab.remote.run(host, "pkill -INT -f 'vserver run'")
            hog.wait(PATIENCE)
        assert shared_lab.remote.run(host, "ls -A /var/lib/vserver/guests; pgrep stress-ng || true") == ""
