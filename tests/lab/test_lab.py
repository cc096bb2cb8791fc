# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the lab's hosts are what they are said to be, and what happens to them really happens."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from .failure import LabError
from .laboratory import Lab

HOSTS = ("host1", "host2")
PATIENCE = 120.0


def eventually(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)


def reaches(lab: Lab, host: str, address: str) -> bool:
    """Whether one packet goes to and fro."""
    return lab.remote.run(host, f"ping -c 1 -W 2 {address} >/dev/null && echo yes || echo no").strip() == "yes"


@pytest.mark.parametrize(("host", "kernel"), [("host1", "6.1."), ("host2", "6.12.")])
def test_hosts_are_stock_debians(lab: Lab, host: str, kernel: str) -> None:
    assert lab.remote.run(host, "uname -r").startswith(kernel)
    assert lab.remote.run(host, "systemctl is-system-running --wait").strip() == "running"
    controllers = lab.remote.run(host, "cat /sys/fs/cgroup/cgroup.controllers").split()
    assert {"cpu", "io", "memory", "pids"} <= set(controllers)


def test_nothing_leaves_the_lab(lab: Lab) -> None:
    for host in HOSTS:
        assert lab.remote.run(host, "ip route show default; ip -6 route show default") == ""


def test_a_partition_cuts_hosts_off_from_each_other(lab: Lab) -> None:
    assert reaches(lab, "host1", "10.86.0.12") and reaches(lab, "host1", "fd86:86::12")
    lab.partition(())
    assert not reaches(lab, "host1", "10.86.0.12") and not reaches(lab, "host2", "fd86:86::11")
    lab.heal()
    for host, address in (("host1", "10.86.0.12"), ("host2", "fd86:86::11")):
        eventually(lambda host=host, address=address: reaches(lab, host, address), f"{host} is still cut off")  # type: ignore[misc]


def test_an_unplugged_host_reaches_nobody(lab: Lab) -> None:
    lab.partition(["host2"])
    assert not reaches(lab, "host1", "10.86.0.12")
    lab.heal()
    eventually(lambda: reaches(lab, "host1", "10.86.0.12"), "host2 is still cut off")


def test_a_full_disk_takes_nothing_more(lab: Lab) -> None:
    write = "head -c 100000 /dev/zero >/var/tmp/more"
    lab.fill_disk("host1", "/var/tmp")
    with pytest.raises(LabError, match="No space left"):
        lab.remote.run("host1", write)
    lab.free_disk("host1", "/var/tmp")
    lab.remote.run("host1", write)


def test_a_power_cut_keeps_what_was_flushed_and_nothing_else(lab: Lab) -> None:
    before = lab.remote.run("host2", "cat /proc/sys/kernel/random/boot_id")
    lab.remote.run("host2", "echo kept >/root/kept; sync /root/kept; echo lost >/root/lost")
    lab.cut_power(["host2"])
    assert [host["on"] for host in lab.status()] == [True, False]
    lab.power_on(["host2"])
    assert lab.remote.run("host2", "cat /proc/sys/kernel/random/boot_id") != before
    assert lab.remote.run("host2", "cat /root/kept") == "kept\n"
    assert lab.remote.run("host2", "cat /root/lost 2>/dev/null || true") == ""


def test_a_reset_forgets_what_happened(lab: Lab) -> None:
    lab.remote.run("host1", "echo here >/root/trace; sync")
    lab.reset(["host1"])
    assert lab.remote.run("host1", "ls /root") == ""
    here, there = time.time(), float(lab.remote.run("host1", "date +%s"))
    assert abs(here - there) < PATIENCE
