# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of hosts when a playbook is only tried, and when power, disk or network fail in the middle of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .laboratory import Lab
from .plays import CREATE, HOST, PATIENCE, begin, inside, sleepers

#: The last part of the address of a host's first guest; a host left as it was may have its guests still.
FIRST = {"host1": 100, "host2": 110}

# Everything that the playbooks are there to change.
LOOK = """
find /etc /usr/sbin /usr/local /var/lib/vserver /run/vserver -xdev ! -name '*.pyc' -printf '%p %s %T@ %m\\n' 2>/dev/null
dpkg-query --show
systemctl list-units --all --plain --no-legend --type=service,slice vserver\\*
find /sys/fs/cgroup -type d -name '*vserver*'
sysctl fs.inotify kernel.keys
ip -oneline address show | grep -o 'inet.*scope [a-z]*'
"""


def test_check_mode_tells_what_will_happen_and_touches_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.reset(())
    before = {host: lab.remote.run(host, LOOK).splitlines() for host in lab.machines()}
    play = begin(lab, tmp_path / "check.log", [HOST, CREATE], "--check", "--diff", guests=sleepers(5, 100))
    for host, lines in before.items():
        assert play.changes(host) >= 4
        assert lab.remote.run(host, LOOK).splitlines() == lines
    addresses = [str(guest["addresses"][0]) for guest in sleepers(5, 100)]
    for promised in ("/var/lib/vserver/guests", "fs.inotify.max_user_instances = 65536", *addresses):
        assert promised in play.said


def began_second(lab: Lab, host: str) -> bool:
    """Whether a playbook that makes guest0 and more is at the second one."""
    return lab.remote.run(host, "ls -A /var/lib/vserver/guests").split() not in ([], ["guest0"])


def complete(lab: Lab, host: str, count: int, log: Path) -> int:
    """Runs the playbook again: afterwards all guests are there and run, and there is nothing beside them.

    Returns how many tasks changed something.
    """
    guests = sleepers(count, FIRST[host])
    changes = begin(lab, log, [CREATE], limit=host, guests=guests).changes(host)
    assert lab.remote.run(host, "ls -A /var/lib/vserver/guests").split() == [guest["name"] for guest in guests]
    for guest in guests:
        assert inside(lab, host, guest["name"], "hostname").strip() == guest["name"]
    processes = lab.remote.run(host, "ps -eo uid=,args= | awk '$1 >= 65536'").splitlines()
    assert len(processes) == count, processes
    addresses = lab.remote.run(host, "ip -oneline address show to 10.86.0.64/26").splitlines()
    assert len(addresses) == count, addresses
    groups = lab.remote.run(host, "find /sys/fs/cgroup -type d -path '*vserver*' -name guest").splitlines()
    assert len(groups) == count, groups
    return changes


def test_the_next_run_repairs_what_a_power_cut_left(prepared: Callable[..., Lab], tmp_path: Path) -> None:
    host = "host1"
    lab = prepared(host)
    begin(lab, tmp_path / "first.log", [CREATE], limit=host, guests=sleepers(1, FIRST[host])).changes(host)
    inside(lab, host, "guest0", "sh -c 'echo kept >/root/kept; sync /root/kept'")
    running = begin(lab, tmp_path / "cut.log", [CREATE], limit=host, guests=sleepers(2, FIRST[host]))
    deadline = time.monotonic() + PATIENCE
    while not began_second(lab, host):
        assert running.process.poll() is None and time.monotonic() < deadline, running.said
        time.sleep(0.2)
    lab.cut_power([host])
    assert running.ends() != 0
    lab.power_on([host])
    assert complete(lab, host, 2, tmp_path / "again.log") > 0
    assert inside(lab, host, "guest0", "cat /root/kept") == "kept\n"


def test_a_full_disk_is_named_and_the_next_run_completes(prepared: Callable[..., Lab], tmp_path: Path) -> None:
    host = "host2"
    lab = prepared(host)
    lab.fill_disk(host, "/var/lib/vserver")
    play = begin(lab, tmp_path / "full.log", [CREATE], limit=host, guests=sleepers(1, FIRST[host]))
    assert play.ends() != 0
    assert "No space left on device" in play.said and "Traceback" not in play.said, play.said
    lab.free_disk(host, "/var/lib/vserver")
    assert complete(lab, host, 1, tmp_path / "again.log") > 0


def test_a_host_that_was_cut_off_is_completed_by_the_next_run(prepared: Callable[..., Lab], tmp_path: Path) -> None:
    host = "host2"
    lab = prepared(host)
    running = begin(lab, tmp_path / "cut.log", [CREATE], limit=host, guests=sleepers(2, FIRST[host]))
    deadline = time.monotonic() + PATIENCE
    while not lab.remote.run(host, "ls -A /var/lib/vserver/guests").split():
        assert running.process.poll() is None and time.monotonic() < deadline, running.said
        time.sleep(0.2)
    lab.partition([host])
    assert running.ends() != 0
    assert "UNREACHABLE" in running.said, running.said
    lab.heal()
    # The host itself may have gone on to the end.
    complete(lab, host, 2, tmp_path / "again.log")
