# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds on each host of the fleet, and inside its guests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.backend import base
from testinfra.host import Host

PATIENCE = 600.0
ENTER = "vserver exec %s -- /bin/sh -c %s"


class InGuest(base.BaseBackend):
    """Runs testinfra's commands inside a guest, by way of its host."""

    NAME = "guest"

    def __init__(self, host: Host, name: str) -> None:
        self._outside = host
        super().__init__(name)

    def run(self, command: str, *args: str, **kwargs: Any) -> base.CommandResult:
        return self._outside.run(ENTER, self.hostname, self.get_command(command, *args))


def guest(host: Host, name: str) -> Host:
    return Host(InGuest(host, name))


def eventually(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(1)


@pytest.fixture
def address(host: Host) -> int:
    """The last part of the first address that this host has for guests."""
    return {"host1": 100, "host2": 120}[host.backend.hostname]


@pytest.fixture
def other(address: int) -> int:
    """The same of the other host."""
    return 220 - address


def test_the_host_has_what_guests_need(host: Host) -> None:
    assert host.file("/var/lib/vserver").mode == 0o700
    controllers = host.file("/sys/fs/cgroup/cgroup.controllers").content_string.split()
    assert {"cpu", "io", "memory", "pids"} <= set(controllers)
    assert host.sysctl("fs.inotify.max_user_instances") == 65536


def test_the_web_guest_has_booted(host: Host) -> None:
    web = guest(host, "web")
    eventually(
        lambda: web.run("systemctl is-system-running").stdout.strip() == "running", "the guest's systemd is not running"
    )
    assert web.run("hostname").stdout.strip() == "web"
    assert web.service("nginx").is_running
    assert web.process.get(pid="1").user == "root"


def group(host: Host, name: str) -> str:
    (found,) = host.check_output("find /sys/fs/cgroup -type d -path %s -name guest", f"*{name}*").split()
    return str(found)


@pytest.mark.parametrize(
    ("name", "file", "value"),
    [
        ("web", "memory.max", str(256 << 20)),
        ("web", "pids.max", "200"),
        ("worker", "cpu.max", "50000 100000"),
        ("classic", "pids.max", "50"),
    ],
)
def test_guests_are_within_their_limits(host: Host, name: str, file: str, value: str) -> None:
    assert host.file(f"{group(host, name)}/{file}").content_string.strip() == value


def test_a_guest_without_limits_has_a_share_of_the_hosts_processes(host: Host) -> None:
    most = min(host.sysctl("kernel.threads-max"), host.sysctl("kernel.pid_max"))
    allowed = int(host.file(f"{group(host, 'bare')}/pids.max").content_string)
    assert allowed == pytest.approx(0.15 * most, rel=0.01)


def status(host: Host, name: str) -> dict[str, str]:
    """/proc/PID/status of process 1 of a guest, as the host sees it."""
    pids = host.check_output("find %s -name cgroup.procs -exec cat {} +", group(host, name)).split()
    for pid in pids:
        text = host.file(f"/proc/{pid}/status").content_string
        lines = dict(line.split(":", 1) for line in text.splitlines())
        if lines["NSpid"].split()[-1] == "1":
            return {key: value.strip() for key, value in lines.items()}
    raise AssertionError(f"{name} has no process 1 among {pids}")


def test_guests_have_the_capabilities_that_are_recorded(host: Host) -> None:
    bounding = {name: int(status(host, name)["CapBnd"], 16) for name in ("web", "worker", "classic", "bare")}
    net_bind_service, sys_module = 1 << 10, 1 << 16
    assert bounding["web"] & net_bind_service and not bounding["web"] & sys_module
    assert bounding["worker"] == bounding["web"] & ~net_bind_service
    assert bounding["classic"] not in (0, bounding["web"])
    assert bounding["bare"] == 0
    assert int(status(host, "bare")["CapEff"], 16) == 0
    limits = host.file(f"/proc/{status(host, 'bare')['Pid']}/limits").content_string
    assert "Max open files            512                  512" in limits


def test_sshd_of_the_host_leaves_port_22_to_guests(host: Host, address: int) -> None:
    banner = "import socket; print(socket.create_connection(('10.86.0.%s', 22), 10).recv(99).decode())"
    key = "ssh-keyscan -T 20 -t ed25519 10.86.0.%s 2>/dev/null | grep -v '^#' | cut -d' ' -f2-"
    eventually(lambda: host.run("python3 -c %s", banner % address).succeeded, "no sshd in the guest")
    own = host.check_output("cut -d' ' -f1-2 /etc/ssh/ssh_host_ed25519_key.pub")
    assert host.check_output(key % (10 + int(host.backend.hostname[-1]))) == own
    assert host.check_output(key % address) == guest(host, "web").check_output(
        "cut -d' ' -f1-2 /etc/ssh/ssh_host_ed25519_key.pub"
    )
    assert host.run("python3 -c %s", banner % (address + 1)).failed


def test_guests_are_at_home_on_their_own_addresses(host: Host, address: int) -> None:
    worker = guest(host, "worker")
    taken = "import socket; socket.create_server(('10.86.0.%s', 8080))"
    assert worker.run("python3 -c %s", taken % (address + 1)).succeeded
    assert worker.run("python3 -c %s", taken % address).failed


@pytest.mark.parametrize("family", ["10.86.0.{}", "[fd86:86::{}]"])
def test_the_other_hosts_guest_answers(host: Host, other: int, family: str) -> None:
    page = f"http://{family.format(other)}/"
    eventually(lambda: host.run("curl -gsf -m 5 %s", page).succeeded, f"{page} does not answer")
    inside = f"import urllib.request; urllib.request.urlopen('{page}', timeout=10)"
    assert guest(host, "web").run("python3 -c %s", inside).succeeded


def test_only_guests_that_shall_run_do(host: Host) -> None:
    assert host.run(ENTER, "worker", "true").succeeded
    assert host.run(ENTER, "resting", "true").failed
    assert host.file("/var/lib/vserver/guests/resting").is_directory
