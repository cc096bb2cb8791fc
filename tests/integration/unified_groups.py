# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups of version 2 with all controllers: what a guest's root may do there, and whether limits hold.

The hosts of the lab have them, and run this; the name keeps it away from where there may be none.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup_processes
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, become, eventually

#: How long an emulated processor may take to boot a guest, in seconds.
EMULATED = 240.0
INSIDE = "/sys/fs/cgroup"


def group_of(pid: int) -> Path:
    """The group of a process, wherever its guest's group lies."""
    (line,) = (line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path(f"/sys/fs/cgroup{line[3:]}")


def numbers(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in map(str.split, file.read_text().splitlines())}


def test_the_host_has_all_controllers() -> None:
    assert {"cpu", "memory", "pids", "io"} <= set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())


def test_root_of_a_guest_rules_below_its_own_group(guests: Guests) -> None:
    pid = guests.start("rules", init=SLEEP, limits={"memory": "200M"})["pid"]
    made = f"""
        set -e
        mkdir {INSIDE}/init {INSIDE}/below
        for process in $(cat {INSIDE}/cgroup.procs); do echo $process >{INSIDE}/init/cgroup.procs || true; done
        echo '+memory +pids' >{INSIDE}/cgroup.subtree_control
        echo 20M >{INSIDE}/below/memory.max
        cat {INSIDE}/below/memory.max
    """
    assert guests.run("rules", "sh", "-c", made) == str(20 << 20)
    assert group_of(pid).name == "init"
    assert (group_of(pid).parent / "below" / "memory.max").read_text().strip() == str(20 << 20)


def test_root_of_a_guest_cannot_change_its_own_group(guests: Guests) -> None:
    """The limits are set on a group whose files are the host's."""
    pid = guests.start("changes", init=SLEEP, limits={"memory": "200M", "processes": 50, "cpus": 0.5})["pid"]
    before = {name: (group_of(pid) / name).read_text() for name in ("memory.max", "pids.max", "cpu.max")}
    for file in ("memory.max", "memory.high", "pids.max", "cpu.max", "cgroup.freeze", "cgroup.kill"):
        result = guests.exec("changes", "sh", "-c", f"echo max >{INSIDE}/{file} || echo 1 >{INSIDE}/{file}")
        assert result.returncode != 0, file
    assert before == {name: (group_of(pid) / name).read_text() for name in before}
    assert before["memory.max"].strip() == str(200 << 20) and before["pids.max"].strip() == "50"


def test_root_of_a_guest_cannot_leave(guests: Guests) -> None:
    """Neither through its own mount, nor through a new one of the whole hierarchy."""
    pid = guests.start("leaves", init=SLEEP)["pid"]
    tries = f"""
        for place in {INSIDE}/.. {INSIDE}/../..; do echo $$ >$place/cgroup.procs; done
        unshare --mount --cgroup sh -c 'mount -t cgroup2 none /mnt; echo $$ >/mnt/cgroup.procs
            echo $$ >/mnt/../cgroup.procs; exec sleep 300' &
        sleep 1
    """
    guests.exec("leaves", "sh", "-c", tries)
    group = group_of(pid)
    assert [other for other in _of_the_guest(pid) if group not in (group_of(other), *group_of(other).parents)] == []


def _of_the_guest(pid: int) -> list[int]:
    """Every process in the guest's PID namespace, which only its own are in."""
    space, found = Path(f"/proc/{pid}/ns/pid").readlink(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += [int(entry.name)] if (entry / "ns/pid").readlink() == space else []
            except OSError:
                continue
    return found


def test_too_much_memory_ends_who_wanted_it_and_nobody_else(guests: Guests) -> None:
    pid = guests.start("eats", init=SLEEP, limits={"memory": "64M"})["pid"]
    other = guests.start("other", init=SLEEP)["pid"]
    before = numbers(group_of(pid) / "memory.events")["oom_kill"]
    result = guests.exec("eats", "python3", "-c", "x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096])")
    assert result.returncode in (-9, 137)
    assert numbers(group_of(pid) / "memory.events")["oom_kill"] > before
    assert numbers(group_of(other) / "memory.events")["oom_kill"] == 0
    assert numbers(Path("/proc/vmstat"))["oom_kill"] >= 1
    assert guests.run("eats", "hostname") == "eats" and guests.run("other", "hostname") == "other"


def test_too_many_processes_are_refused(guests: Guests) -> None:
    guests.start("forks", init=SLEEP, limits={"processes": 20})
    forks = "import os, time\ntry:\n for _ in range(100):\n  if os.fork() == 0: time.sleep(3); os._exit(0)\n"
    assert guests.run("forks", "python3", "-c", forks + "except BlockingIOError: print('refused')") == "refused"


def test_no_more_processor_than_it_was_given(guests: Guests) -> None:
    pid = guests.start("spins", init=SLEEP, limits={"cpus": 0.2})["pid"]
    stat = group_of(pid) / "cpu.stat"
    before, began = numbers(stat), time.monotonic()
    guests.exec("spins", "timeout", "3", "sh", "-c", "while :; do :; done")
    after, took = numbers(stat), time.monotonic() - began
    used = (after["usage_usec"] - before["usage_usec"]) / 1e6
    # One period's worth may be left over from before, and some is used at the end of the last.
    assert 0 < used <= 0.2 * took + 0.2
    assert after["nr_throttled"] > before["nr_throttled"]


def test_frozen_is_still_and_goes_on(guests: Guests, site: Site) -> None:
    guests.define("frozen", init=["/bin/sh", "-c", "while :; do echo . >>/ticks; sleep 0.1; done"])
    pid = become(site, "frozen")["pid"]
    ticks = site.guest("frozen") / "root/upper/ticks"
    eventually(lambda: ticks.exists() and ticks.stat().st_size > 1, "nothing ticks")
    lifecycle.set_state(site, "frozen", "frozen", {})
    assert numbers(group_of(pid) / "cgroup.events")["frozen"] == 1
    size = ticks.stat().st_size
    time.sleep(1)
    assert ticks.stat().st_size == size
    lifecycle.set_state(site, "frozen", "started", {})
    eventually(lambda: ticks.stat().st_size > size, "it does not go on")


@pytest.mark.parametrize("call", [True, False], ids=["cgroup.kill", "one by one"])
def test_all_of_a_context_is_killed(guests: Guests, site: Site, call: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without cgroup.kill, which older kernels lack, and what is frozen."""
    pid = guests.start("dies", init=SLEEP)["pid"]
    leave = "import os, time\nfor _ in range(30):\n if os.fork() == 0: os.setsid(); time.sleep(300)"
    guests.exec("dies", "python3", "-c", leave)
    group = group_of(pid)
    assert len(cgroup_processes.ids(group)) >= 30
    if not call:
        write = Path.write_text

        def older(self: Path, *words: str, **more: str) -> int:
            if self.name == "cgroup.kill":
                raise FileNotFoundError(self)
            return write(self, *words, **more)

        monkeypatch.setattr(Path, "write_text", older)
    lifecycle.set_state(site, "dies", "frozen", {})
    lifecycle.set_state(site, "dies", "stopped", {"timeout": 0})
    assert not group.exists() and not guests.traces("dies")


def test_systemd_runs_in_a_guest(guests: Guests) -> None:
    """With services in groups of their own below the guest's, with controllers."""
    pid = guests.start("boots")["pid"]
    guests.wait_booted("boots", EMULATED)
    group = group_of(pid)
    assert group.name == "init.scope"
    assert {"memory", "pids"} <= set((group.parent / "cgroup.subtree_control").read_text().split())
    assert guests.run("boots", "systemctl", "show", "--value", "--property=ControlGroup", "nginx") != ""
    assert list(group.parent.glob("system.slice/*.service"))
