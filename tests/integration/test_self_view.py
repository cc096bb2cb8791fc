# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest sees of itself: since when it is up."""

from __future__ import annotations

import errno
import functools
import os
import time

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, supervise
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import namespace
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually

#: What a guest's clocks show as it begins: ten ticks (kernel/namespace.py), in seconds.
BEGIN = 0.1
#: The clocks, the kernel's files, and what ps(1) and uptime(1) make of them, a line each; times in seconds.
CLOCKS = """
import pathlib, subprocess, time
print(time.clock_gettime(time.CLOCK_MONOTONIC))
print(time.clock_gettime(time.CLOCK_BOOTTIME))
print(pathlib.Path("/proc/uptime").read_text().split()[0])
boot = int(next(l for l in pathlib.Path("/proc/stat").read_text().splitlines() if l.startswith("btime")).split()[1])
print(time.time() - boot)
for argv in (["ps", "-o", "lstart=", "-p", "1"], ["uptime", "-s"]):
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    pattern = "%c" if argv[0] == "ps" else "%Y-%m-%d %H:%M:%S"
    print(time.time() - time.mktime(time.strptime(told, pattern)))
"""


def clocks(guests: Guests, name: str) -> list[float]:
    return [float(line) for line in guests.run(name, "python3", "-c", CLOCKS).splitlines()]


def exists(guests: Guests, path: str) -> bool:
    return guests.exec("young", "test", "-e", path).returncode == 0


def host_uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.skipif(not namespace.has_time(), reason="time namespaces came with Linux 5.6")
def test_a_guest_is_up_since_its_own_boot(guests: Guests, site: Site) -> None:
    before = host_uptime()
    told = guests.start("young", init=SLEEP)
    assert told["own_uptime"] is True
    time.sleep(1.5)
    for clock in clocks(guests, "young"):
        # Some are told in whole seconds, and all begin at ten ticks.
        assert 0.4 <= clock <= host_uptime() - before + 1 + BEGIN
    own = os.readlink(f"/proc/{told['pid']}/ns/time")
    assert guests.run("young", "readlink", "/proc/self/ns/time") == own != os.readlink("/proc/self/ns/time")
    before = host_uptime()
    lifecycle.set_state(site, "young", "restarted", {})
    assert clocks(guests, "young")[1] <= host_uptime() - before + BEGIN
    lifecycle.set_state(site, "young", "stopped", {"timeout": 0})
    assert info.guest(site, "young")["own_uptime"] is None


@pytest.mark.skipif(not namespace.has_time(), reason="time namespaces came with Linux 5.6")
def test_the_clocks_of_a_guest_are_not_its_roots_to_set(guests: Guests) -> None:
    guests.start("hostile", init=SLEEP)
    attempt = "open('/proc/self/timens_offsets', 'w', buffering=1).write('boottime 86400 0\\n')"
    assert "PermissionError" in guests.exec("hostile", "python3", "-c", attempt).stderr
    assert clocks(guests, "hostile")[1] < 60


@pytest.mark.skipif(not namespace.has_time(), reason="time namespaces came with Linux 5.6")
def test_systemd_counts_from_the_guests_own_boot(guests: Guests) -> None:
    guests.start("young")
    guests.wait_booted("young")
    ready = guests.run("young", "systemctl", "show", "--value", "-p", "UserspaceTimestampMonotonic")
    assert 0 < int(ready) / 1e6 < 60
    assert "Startup finished in" in guests.run("young", "systemd-analyze", "time")
    for when in ("boot", "active"):
        words = (f"--unit=timed-{when}", f"--on-{when}=1", "--timer-property=AccuracySec=1ms")
        guests.run("young", "systemd-run", *words, "touch", f"/{when}")
        eventually(functools.partial(exists, guests, f"/{when}"), f"there is no timer that counts from {when}")


def test_a_kernel_without_keeps_no_guest_from_starting(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(namespace, "begin_time", refuse)
    # One that was begun earlier would not know of it.
    monkeypatch.setattr(supervise, "_begun", functools.cache(supervise._begun.__wrapped__))
    assert guests.start("older", init=SLEEP)["own_uptime"] is False
    assert clocks(guests, "older")[1] == pytest.approx(host_uptime(), abs=5)
