# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others test with, on real hosts: Lynis on the host, stress-ng at the limits of a guest."""

from __future__ import annotations

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .laboratory import Lab

#: Groups of Lynis' tests that role host has to do with.
GROUPS = ("boot_services", "kernel", "kernel_hardening", "networking", "ssh")
#: How long an audit may take, in seconds: Lynis looks at every program in PATH, with a few processes for each.
AUDIT = 1200.0
#: How long a host may take to answer beside a guest under load, and how long a load may take to begin, in seconds, on
#: an emulated processor.
ANSWER, PATIENCE = 30.0, 180.0


@dataclass(frozen=True)
class Audit:
    warnings: frozenset[str]
    suggestions: frozenset[str]
    index: int


def audit(lab: Lab, host: str) -> Audit:
    words = f"lynis audit system --quick --quiet --tests-from-group {','.join(GROUPS)} --report-file /root/report"
    # Its exit status tells whether there are warnings.
    report = lab.remote.run(host, f"PATH=/usr/bin:/usr/sbin {words}; cat /root/report; rm /root/report", AUDIT)

    def found(kind: str) -> frozenset[str]:
        return frozenset(re.findall(rf"^{kind}\[\]=(\w+-\d+)", report, re.MULTILINE))

    (index,) = re.findall(r"^hardening_index=(\d+)$", report, re.MULTILINE)
    return Audit(found("warning"), found("suggestion"), int(index))


def test_lynis_likes_a_host_no_less_for_role_host(saved_lab: Lab, lab: Lab) -> None:
    hosts = list(lab.machines())
    found = []
    for begin in (lab.reset, lab.restore):
        begin(())
        with ThreadPoolExecutor() as pool:
            found.append(list(pool.map(lambda host: audit(lab, host), hosts)))
    for before, after in zip(*found):
        assert before.index > 0
        assert after.warnings <= before.warnings and after.suggestions <= before.suggestions
        assert after.index >= before.index


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
def test_a_load_stays_within_its_guest(prepared: Lab, host: str) -> None:
    """The host's own stress-ng, in throw-away guests; the host answers all the while, and nothing is left."""
    for load in LOADS.values():
        words = f"vserver run {load.limits} -- stress-ng --quiet --temp-path /tmp --timeout 600 {load.words}"
        look = f"cat /sys/fs/cgroup/vserver.slice/vserver@run-*/bound/guest/{load.file} 2>/dev/null || true"
        with subprocess.Popen(prepared.remote.words(host, words), stdin=subprocess.DEVNULL) as hog:
            deadline = time.monotonic() + PATIENCE
            while not re.search(rf"^{load.count} [1-9]", prepared.remote.run(host, look), re.MULTILINE):
                assert hog.poll() is None and time.monotonic() < deadline, f"nothing holds {load.words}"
            asked = time.monotonic()
            prepared.remote.run(host, "cat /sys/fs/cgroup/vserver.slice/vserver@run-*/bound/guest/cgroup.procs")
            assert time.monotonic() - asked < ANSWER
            prepared.remote.run(host, "pkill -INT -f 'vserver run'")
            hog.wait(PATIENCE)
        assert prepared.remote.run(host, "ls -A /var/lib/vserver/guests; pgrep stress-ng || true") == ""
