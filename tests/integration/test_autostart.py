# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that start and stop with a host that systemd runs, made ready by role host."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import templates
from .guests import eventually
from .systemd_host import SystemdHost, booted, tiny_guest

#: A process 1 that says goodbye.
INIT = ["/bin/sh", "-c", "trap 'echo bye > /bye; exit 0' TERM; while :; do sleep 0.1; done"]


@pytest.fixture
def host(template_cache: Path) -> Iterator[SystemdHost]:
    place = template_cache.parent / f"autostart-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    with booted(place) as made:
        yield made


def running(host: SystemdHost) -> set[str]:
    """The guests that run, by the cgroups with processes of theirs."""
    groups = (host.group / "vserver.slice").glob("vserver@*.service/bound/guest")
    living = (group for group in groups if "populated 1" in (group / "cgroup.events").read_text())
    return {group.parents[1].name.removeprefix("vserver@").removesuffix(".service") for group in living}


def goodbyes(host: SystemdHost) -> set[str]:
    """The guests that were stopped in order, by what they wrote then; forgotten once asked for."""
    found = list((host.root / "var/lib/vserver/guests").glob("*/root/upper/bye"))
    for path in found:
        path.unlink()
    return {path.parents[2].name for path in found}


def test_guests_start_and_stop_with_the_host(host: SystemdHost) -> None:
    role = {
        "ansible.builtin.include_role": {"name": "linux.vserver.host"},
        "vars": {"vserver_host_sysctls": {}, "vserver_host_autostart_parallel": 2},
    }
    host.play(role)
    assert "changed=0 " in host.play(role)
    unit = "vserver-guests.service"
    assert (
        host.run("systemctl", "is-enabled", unit) == "enabled" and host.run("systemctl", "is-active", unit) == "active"
    )

    templates.tiny_tree(host.root / "srv/tree", ["sh", "sleep"])
    guests = {
        **{name: {"init": INIT, "autostart": True} for name in ("one", "two", "three")},
        "quiet": {"init": INIT, "autostart": False, "state": "started"},
        "broken": {"init": ["/bin/nosuch"], "autostart": True},
    }
    host.play(
        {"linux.vserver.template": {"name": "tiny", "method": "directory", "source": "/srv/tree"}},
        *(tiny_guest(name, timeout=10, **options) for name, options in guests.items()),
    )
    assert running(host) == {"quiet"}

    host.reboot()
    assert goodbyes(host) == {"quiet"}
    assert running(host) == {"one", "two", "three"}
    assert host.run("systemctl", "is-active", unit) == "active", "a guest that is broken keeps the others from stopping"
    host.reboot()
    assert goodbyes(host) == {"one", "two", "three"} == running(host)

    said = host.exec("vserver", "autostart")
    assert said.returncode == 1 and "broken" in said.stderr and "nosuch" in said.stderr
    host.end()
    host.boot()
    assert goodbyes(host) == set() and running(host) == {"one", "two", "three"}, "not back after a loss of power"
    host.run("vserver", "stop", "--all")
    assert running(host) == set() and goodbyes(host) == {"one", "two", "three"}


def shows_lxcfs(host: SystemdHost) -> bool:
    """What guest_info says of guest one, which has to have a /proc/meminfo that can be read."""
    told = json.loads(host.run("vserver", "status", "--json", "one"))
    host.run("vserver", "exec", "one", "--", "cat", "/proc/meminfo")
    return bool(told[0]["lxcfs"])


def test_lxcfs_dies_and_comes_back(host: SystemdHost) -> None:
    def role(lxcfs: bool) -> dict[str, object]:
        wanted = {"vserver_host_sysctls": {}, "vserver_host_lxcfs": lxcfs}
        return {"ansible.builtin.include_role": {"name": "linux.vserver.host"}, "vars": wanted}

    templates.tiny_tree(host.root / "srv/tree", ["sh", "sleep", "cat"])
    host.play(role(True))
    host.play(
        {"linux.vserver.template": {"name": "tiny", "method": "directory", "source": "/srv/tree"}},
        tiny_guest("one", init=INIT, autostart=True, state="started"),
    )
    assert "changed=0 " in host.play(role(True))
    unit = "vserver-lxcfs.service"
    assert shows_lxcfs(host)
    pid = host.run("systemctl", "show", "--value", "--property=MainPID", unit)
    host.run("systemctl", "kill", "--signal=KILL", unit)
    eventually(
        lambda: host.exec("systemctl", "show", "--value", "--property=MainPID", unit).stdout.strip() not in ("0", pid),
        "lxcfs is not started again",
    )
    eventually(lambda: host.exec("systemctl", "is-active", unit).stdout == "active\n", "it is not ready again")
    assert shows_lxcfs(host)
    host.run("systemctl", "reload", unit)
    assert shows_lxcfs(host)
    host.run("systemctl", "stop", unit)
    assert not shows_lxcfs(host)
    host.run("systemctl", "start", unit)
    assert shows_lxcfs(host)
    host.reboot()
    assert shows_lxcfs(host)
    host.play(role(False))
    assert not shows_lxcfs(host) and host.exec("systemctl", "cat", unit).returncode
