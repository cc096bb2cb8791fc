# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that show their own limits by a real lxcfs, which is killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, proc_view
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import lxcfs
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import namespace
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually
from .test_self_view import clocks, host_uptime

MEMORY = 192 << 20


@dataclass
class Daemon:
    """An lxcfs on the place of ``site``, as role host's unit runs it."""

    site: Site
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        self.site.lxcfs.mkdir(mode=0o700, parents=True, exist_ok=True)
        pid_file = self.site.lxcfs.with_name("pid")
        words = ["lxcfs", "--enable-loadavg", "--enable-cfs", "--enable-pidfd", f"--pidfile={pid_file}"]
        self.process = subprocess.Popen([*words, str(self.site.lxcfs)], stderr=subprocess.DEVNULL)
        eventually(lambda: lxcfs.answering(self.site), "lxcfs does not answer")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.site.lxcfs)], check=True)

    def restart(self) -> None:
        """What systemd does after a death, by the unit's ExecStopPost and ExecStartPost."""
        self.unmount()
        proc_view.renew_all(self.site, 0)
        self.start()
        proc_view.renew_all(self.site, 10)


@pytest.fixture
def daemon(site: Site) -> Iterator[Daemon]:
    made = Daemon(site)
    made.start()
    yield made
    made.kill()
    while lxcfs.mounted(site):
        made.unmount()
    site.lxcfs.rmdir()
    site.lxcfs.with_name("pid").unlink(missing_ok=True)
    site.lxcfs.parent.rmdir()


def memory(guests: Guests, name: str) -> int:
    """What free(1) has for the memory there is, in bytes; 0 when it cannot tell."""
    told = guests.exec(name, "free", "--bytes")
    return int(told.stdout.splitlines()[1].split()[1]) if told.returncode == 0 else 0


def host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def files(guests: Guests, name: str) -> dict[str, str]:
    """Guest's file → the type of the file system it is on."""
    paths = [f"/{file}" for file in lxcfs.FILES]
    told = guests.run(name, "stat", "--file-system", "--format", "%n %T", *paths)
    return dict(line.split(" ") for line in told.splitlines())


def test_a_guest_shows_its_limits(daemon: Daemon, guests: Guests) -> None:
    limits = {"memory": str(MEMORY), "cpus": "1", "cpuset": "0"}
    told = guests.start("bounded", init=SLEEP, limits=limits)
    assert told["lxcfs"] is True and told["own_uptime"] is False
    assert memory(guests, "bounded") == MEMORY
    assert guests.run("bounded", "nproc") == guests.run("bounded", "getconf", "_NPROCESSORS_ONLN") == "1"
    assert guests.run("bounded", "cat", "/sys/devices/system/cpu/online") == "0"
    assert guests.run("bounded", "grep", "-c", "^processor", "/proc/cpuinfo") == "1"
    assert guests.run("bounded", "grep", "-c", "^cpu[0-9]", "/proc/stat") == "1"
    top = guests.run("bounded", "top", "-b", "-n", "1", "-E", "m").splitlines()
    assert f" {MEMORY >> 20}.0 total" in next(line for line in top if "Mem :" in line), top[:5]
    assert int(guests.run("bounded", "cat", "/proc/loadavg").split()[3].split("/")[1]) < 20
    assert all("fuse" in kind for kind in files(guests, "bounded").values())
    # Up since its own boot here too, and so are its processes; the clocks are the host's.
    _monotonic, boottime, uptime, boot, process, since = clocks(guests, "bounded")
    assert boottime == pytest.approx(host_uptime(), abs=2) and boot == pytest.approx(host_uptime(), abs=2)
    assert uptime < 30 and process < 30 and since < 30


def test_limits_change_what_a_running_guest_shows(daemon: Daemon, guests: Guests, site: Site) -> None:
    guests.start("bounded", init=SLEEP, limits={"memory": str(MEMORY)})
    lifecycle.configure(site, "bounded", "limits", {"memory": str(2 * MEMORY)})
    eventually(lambda: memory(guests, "bounded") == 2 * MEMORY, "the guest shows its old limit")


def test_systemd_boots_with_it(daemon: Daemon, guests: Guests) -> None:
    guests.start("bounded", limits={"memory": str(MEMORY)})
    guests.wait_booted("bounded")
    assert memory(guests, "bounded") == MEMORY


def test_a_running_guest_outlives_a_dead_one(daemon: Daemon, guests: Guests, site: Site) -> None:
    guests.start("bounded", init=SLEEP, limits={"memory": str(MEMORY)})
    daemon.kill()
    # This is what a dead one does, and all it does.
    assert "not connected" in guests.exec("bounded", "cat", "/proc/meminfo").stderr
    assert guests.run("bounded", "cat", "/proc/1/comm") == "sleep"
    assert info.guest(site, "bounded")["state"] == "running"
    daemon.unmount()
    proc_view.renew_all(site, 0)
    assert memory(guests, "bounded") == pytest.approx(host_memory(), rel=0.05)
    assert "fuse" not in "".join(files(guests, "bounded").values())
    assert info.guest(site, "bounded")["lxcfs"] is False
    daemon.start()
    proc_view.renew_all(site, 10)
    assert memory(guests, "bounded") == MEMORY
    assert info.guest(site, "bounded")["lxcfs"] is True
    daemon.kill()
    daemon.restart()
    assert memory(guests, "bounded") == MEMORY
    mounted = guests.run("bounded", "grep", "-c", "fuse.lxcfs", "/proc/1/mountinfo")
    assert int(mounted) == len(lxcfs.FILES), "mounts pile up"
    proc_view.renew_all(site, 0)
    assert guests.run("bounded", "grep", "-c", "fuse.lxcfs", "/proc/1/mountinfo") == mounted


@pytest.mark.parametrize("how", ["dead", "stopped"])
def test_a_guest_starts_without_one_that_is_dead(daemon: Daemon, guests: Guests, site: Site, how: str) -> None:
    guests.define("bounded", init=SLEEP, limits={"memory": str(MEMORY)})
    assert daemon.process is not None
    if how == "dead":
        daemon.kill()
    else:
        daemon.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    outcome = lifecycle.set_state(site, "bounded", "started", {})
    assert time.monotonic() - began < 20
    assert any("lxcfs does not answer" in warning for warning in outcome.warnings)
    told = info.guest(site, "bounded")
    assert told["state"] == "running" and told["lxcfs"] is False
    assert memory(guests, "bounded") == pytest.approx(host_memory(), rel=0.05)
    assert told["own_uptime"] is namespace.has_time()
    if how == "stopped":
        daemon.kill()
    daemon.restart()
    # Since it was started without, its time is its own, and lxcfs tells of another.
    shown = {file for file, kind in files(guests, "bounded").items() if "fuse" in kind}
    assert shown == {f"/{file}" for file in lxcfs.FILES} - (
        {"/proc/stat", "/proc/uptime"} if namespace.has_time() else set()
    )
    assert memory(guests, "bounded") == MEMORY and clocks(guests, "bounded")[2] < 60


def test_a_stopped_one_is_no_obstacle_to_who_asks(daemon: Daemon, guests: Guests, site: Site) -> None:
    guests.start("bounded", init=SLEEP)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    assert info.guest(site, "bounded")["state"] == "running"
    proc_view.renew_all(site, 0)  # it does not answer, so it is taken for dead
    assert memory(guests, "bounded") > 0
    daemon.process.send_signal(signal.SIGCONT)
    proc_view.renew_all(site, 5)
    assert info.guest(site, "bounded")["lxcfs"] is True


def test_what_a_hostile_root_lays_in_the_way(daemon: Daemon, guests: Guests, site: Site) -> None:
    """It may take the mounts off, and sees what the kernel tells then; nothing outside of it is touched."""
    guests.start("hostile", init=SLEEP, limits={"memory": str(MEMORY)})
    written = "mount -o remount,rw,bind /proc/meminfo; echo x > /proc/meminfo"
    assert guests.exec("hostile", "sh", "-c", written).returncode
    guests.run("hostile", "umount", "/proc/meminfo")
    assert memory(guests, "hostile") == pytest.approx(host_memory(), rel=0.05)
    proc_view.renew_all(site, 0)
    assert memory(guests, "hostile") == MEMORY
    planted = "mount -t tmpfs none /mnt && ln -s /etc/passwd /mnt/meminfo && mkdir /mnt/stat && mount --bind /mnt /proc"
    guests.run("hostile", "sh", "-c", planted)
    daemon.kill()
    daemon.unmount()
    with pytest.raises(VserverError, match="hostile"):
        proc_view.renew_all(site, 0)
    guests.start("neighbour", init=SLEEP)
    assert memory(guests, "neighbour") > 0
    lifecycle.set_state(site, "hostile", "stopped", {"timeout": 0})
    assert not guests.traces("hostile")
