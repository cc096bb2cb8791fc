# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the host in a guest's way are named before it starts, with real programs on real ports."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import listeners
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_processes, sock_diag
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.modules import host_info

from .guests import SLEEP, Guests, eventually

ADDRESS = "127.0.93.2"
UNIT = "vserver-tests-daemon.service"

#: Arguments: tcp or udp, address, port, each three of them a socket; a child has them too.
DAEMON = """
import os, socket, sys, time
sys.stdin.readline()
held = []
for kind, address, port in zip(*[iter(sys.argv[1:])] * 3):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, int(port)))
    if kind == "tcp":
        made.listen()
    held.append(made)
print("ready", flush=True)
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.05)
else:
    time.sleep(1000)
"""


@contextlib.contextmanager
def daemon(*sockets: str, group: Path | None = None) -> Iterator[int]:
    """A program of the host with these sockets; its process id."""
    command = [sys.executable, "-c", DAEMON, *(word for each in sockets for word in each.split())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            if group is not None:
                (group / "cgroup.procs").write_text(str(program.pid))
            assert program.stdin is not None and program.stdout is not None
            program.stdin.write("go\n")
            program.stdin.flush()
            assert program.stdout.readline() == "ready\n"
            yield program.pid
        finally:
            program.kill()


@pytest.fixture
def unit() -> Iterator[Path]:
    """A cgroup as systemd makes it for a service."""
    path = cgroup.layout().tree / UNIT
    path.mkdir()
    yield path
    eventually(lambda: not cgroup_processes.populated(path), "the daemon stays")
    path.rmdir()


def test_a_daemon_on_every_address_is_named_when_a_guest_starts(guests: Guests, site: Site, unit: Path) -> None:
    guests.define("blocked", addresses=[ADDRESS], init=SLEEP)
    held = ("tcp 0.0.0.0 8093", "tcp :: 8094", "udp 0.0.0.0 5393", "tcp 127.0.0.1 8095", "udp 0.0.0.0 45393")
    with daemon(*held, group=unit) as pid:

        def warnings(state: str, check: bool = False) -> tuple[str, ...]:
            return lifecycle.set_state(site, "blocked", state, {"timeout": 0}, check=check).warnings

        (text,) = warnings("started", check=True)
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        assert text.startswith(f"{name} (pid {pid}, {UNIT}) listens on every address of the host")
        ports = re.findall(r"(tcp|udp) port (\d+)", text)
        assert ports == [("udp", "5393"), ("tcp", "8093"), ("tcp", "8094")]
        assert f"guest blocked cannot listen there, and {name} answers on the guest's addresses" in text
        assert f"unit: {UNIT}" in text
        assert warnings("started") == (text,)
        # It is true.
        bind = (
            "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); "
            "bind($s, pack_sockaddr_in($ARGV[0], INADDR_ANY)) or die $!"
        )
        for port in ("8093", "8094"):
            assert "Address already in use" in guests.exec("blocked", "perl", "-e", bind, port).stderr
        assert guests.exec("blocked", "perl", "-e", bind, "8095").returncode == 0

        assert warnings("started") == ()
        assert warnings("present") == ()
        assert warnings("restarted", check=True) == (text,)
        assert warnings("restarted") == (text,)
        assert warnings("frozen") == ()
        assert warnings("stopped") == ()
        assert warnings("frozen") == (text,)
        options = {"drop": ["sys_ptrace"]}
        outcome = lifecycle.configure(site, "blocked", "capabilities", options, restart=True)
        assert outcome.warnings == (text,) and not outcome.restart_required
        lifecycle.configure(site, "blocked", "binding", {"network": "host"})
        assert warnings("restarted") == (), "a guest with the host's network shares the host's ports"
        lifecycle.configure(site, "blocked", "binding", {"network": "bound"})
    eventually(lambda: not warnings("restarted", check=True), "a daemon that has ended is warned of")
    assert warnings("restarted") == ()


def test_a_daemon_on_a_guests_own_address_is_named(guests: Guests, site: Site) -> None:
    guests.define("own", addresses=[ADDRESS, "127.0.93.3"], init=SLEEP)
    with daemon(f"tcp {ADDRESS} 8093", "tcp 127.0.93.4 8093"):
        (text,) = lifecycle.set_state(site, "own", "started", {}).warnings
    assert f"listens on {ADDRESS} of guest own, tcp port 8093:" in text


def test_a_guests_own_listeners_are_in_nobodys_way(guests: Guests, site: Site) -> None:
    """Neither those of the guest itself, nor one with the host's network, with host's ids or without."""
    serve = (
        "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, pack_sockaddr_in($ARGV[0], INADDR_ANY)) or die; "
        "listen($s, 5); open(my $f, '>', '/listens'); close($f); sleep"
    )
    for number, (name, network, shifted) in enumerate(
        [("bound", "bound", True), ("shared", "host", True), ("trusted", "host", False)]
    ):
        init = ("/usr/bin/perl", "-e", serve, str(8193 + number))
        guests.define(name, addresses=[f"127.0.93.{10 + number}"], init=init, user_namespace=shifted)
        lifecycle.configure(site, name, "binding", {"network": network})
        lifecycle.set_state(site, name, "started", {})
        noted = site.guest(name) / "root/upper/listens"
        eventually(noted.exists, f"guest {name} does not listen")
    assert [each for each in listeners.listeners(site) if 8193 <= each.port <= 8195] == []
    assert lifecycle.set_state(site, "bound", "restarted", {"timeout": 0}).warnings == ()


def test_host_info_lists_them(site: Site, unit: Path) -> None:
    with daemon("tcp 0.0.0.0 8093", "tcp :: 8094", "udp :: 5393", group=unit) as pid:
        assert cgroup.with_id(unit.stat().st_ino) == unit
        assert {each.cgroup for each in sock_diag.waiting()} == {unit.stat().st_ino}
        found = host_info.read(site, {})["wildcard_listeners"]
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    common = {"process": name, "pid": pid, "unit": UNIT}
    both = ["0.0.0.0", "::"]
    assert found == [
        {"protocol": "udp", "port": 5393, "addresses": both, **common},
        {"protocol": "tcp", "port": 8093, "addresses": ["0.0.0.0"], **common},
        {"protocol": "tcp", "port": 8094, "addresses": both, **common},
    ]
