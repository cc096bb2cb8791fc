# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people run, as they run it: two guests with the same servers on the same ports, asked by the usual clients.

Every server answers with one line: the name of its guest, the address it was asked at, the address it was asked from.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import Guests, eventually

#: The host's own, in the guests' networks; the package archive is at the first.
HOST = ("192.0.2.1", "198.51.100.1", "2001:db8:1::1", "2001:db8:2::1")
#: Of each guest. Who asks does so from the address of the same network.
ADDRESSES = {
    "left": ("192.0.2.11", "198.51.100.11", "2001:db8:1::11", "2001:db8:2::11"),
    "right": ("192.0.2.12", "198.51.100.12", "2001:db8:1::12", "2001:db8:2::12"),
}
PREFIXES = (24, 24, 64, 64)
LOCALHOST = ("127.0.0.1", "::1")

#: Listens on "::" for both families, as Node does by itself.
NODE = """
require('http').createServer((request, answer) => {
  const { localAddress, remoteAddress } = request.socket
  answer.end(`${require('os').hostname()} ${localAddress} ${remoteAddress}`)
}).listen(8001)
"""
#: The same in Go.
GO = """
package main

import ("fmt"; "net"; "net/http"; "os")

func host(address string) string {
    name, _, _ := net.SplitHostPort(address)
    return name
}

func main() {
    name, _ := os.Hostname()
    http.HandleFunc("/who", func(answer http.ResponseWriter, request *http.Request) {
        local := request.Context().Value(http.LocalAddrContextKey).(net.Addr)
        fmt.Fprint(answer, name, " ", host(local.String()), " ", host(request.RemoteAddr))
    })
    listener, failure := net.Listen("tcp", ":8002")
    if failure == nil {
        failure = http.Serve(listener, nil)
    }
    panic(failure)
}
"""
#: Runs commands side by side, and prints what each of them prints if it succeeds.
ASK = """
import concurrent.futures, json, subprocess, sys
def ask(argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else None
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(ask, json.loads(sys.argv[1])))))
"""


def _curl(port: int, address: str) -> list[str]:
    host = f"[{address}]" if ":" in address else address
    return ["curl", "--silent", "--fail", "--max-time", "3", f"http://{host}:{port}/who"]


def _ssh(address: str) -> list[str]:
    options = ("BatchMode=yes", "ConnectTimeout=3", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", "-i", "key", *words, f"root@{address}", "set -- $SSH_CONNECTION; echo $(hostname) $3 $1"]


def _psql(address: str) -> list[str]:
    name = "trim(pg_read_file('/proc/sys/kernel/hostname'), E'\\n')"
    query = f"select concat_ws(' ', {name}, host(inet_server_addr()), host(inet_client_addr()))"
    return ["psql", f"host={address} user=postgres connect_timeout=3", "-Atc", query]


def _dig(transport: str, address: str) -> list[str]:
    return ["dig", "+short", "+time=1", "+tries=2", transport, f"@{address}", "who.test", "TXT"]


SERVICES: dict[str, Callable[[str], list[str]]] = {
    "nginx": functools.partial(_curl, 80),
    "ssh": _ssh,
    "postgresql": _psql,
    "node": functools.partial(_curl, 8001),
    "go": functools.partial(_curl, 8002),
    "dnsmasq over TCP": functools.partial(_dig, "+tcp"),
    "dnsmasq": functools.partial(_dig, "+notcp"),
}
UNITS = ("nginx", "ssh", "postgresql", "dnsmasq")


@dataclass(frozen=True)
class World:
    """Two guests with the servers of SERVICES, and the host's files: its ssh key, the archive of packages."""

    guests: Guests
    files: Path

    def ask(self, client: str, questions: Sequence[Sequence[str]]) -> list[str | None]:
        """What each command prints in a guest or on the host; None where it fails."""
        words = ["-c", ASK, json.dumps(questions)]
        if client == "host":
            command = [sys.executable, *words]
            text = subprocess.run(command, cwd=self.files, capture_output=True, text=True, check=True).stdout
        else:
            text = self.guests.run(client, "python3", *words)
        return [answer and answer.replace('"', "").replace("::ffff:", "") for answer in json.loads(text)]

    def who(self, client: str, service: str, addresses: Sequence[str]) -> list[str | None]:
        return self.ask(client, [SERVICES[service](address) for address in addresses])

    def write(self, name: str, path: str, text: str) -> None:
        self.guests.run(name, "sh", "-c", 'mkdir -p "${1%/*}"; umask 077; printf %s "$2" > "$1"', "sh", path, text)


def expected(client: str, service: str, owner: str) -> list[str | None]:
    """What the owner's service says at each of its addresses."""
    if service == "dnsmasq":
        # A datagram socket on "any" hears the first address of its family.
        return [owner, None, owner, None]
    if service == "dnsmasq over TCP":
        # dig binds to ::, which is an IPv4 address to the kernel, before it connects.
        return [owner, owner, *([owner] * 2 if client == "host" else [None] * 2)]
    # A host's process asks a local IPv6 address from that very address.
    peers = (*HOST[:2], *ADDRESSES[owner][2:]) if client == "host" else ADDRESSES[client]
    return [f"{owner} {address} {peer}" for address, peer in zip(ADDRESSES[owner], peers)]


@pytest.fixture(scope="module")
def world(
    site: Site, programs_template: Path, template_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    files = tmp_path_factory.mktemp("programs")
    for address, length in zip(HOST, PREFIXES):
        subprocess.run(["ip", "address", "add", f"{address}/{length}", "dev", "lo"], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", files / "key"], check=True)
    with templates.provided(site, programs_template) as template, _archive(files / "archive", template_cache) as url:
        guests = Guests(site, template)
        made = World(guests, files)
        try:
            for name, addresses in ADDRESSES.items():
                guests.start(name, addresses=[f"{own}/{length}" for own, length in zip(addresses, PREFIXES)])
            for name in ADDRESSES:
                _prepare(made, name, url)
            yield made
        finally:
            guests.remove_all()
    for address, length in zip(HOST, PREFIXES):
        subprocess.run(["ip", "address", "del", f"{address}/{length}", "dev", "lo"], check=True)


@contextlib.contextmanager
def _archive(place: Path, cache: Path) -> Iterator[str]:
    """Packages for apt, on the host's own address: one, with the server in Go."""
    tree = place.with_name("tree")
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    place.mkdir()
    source = place.with_name("server.go")
    source.write_text(GO)
    go = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(cache / "go"), "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-ldflags=-s -w", "-o", tree / "usr/bin/vstest-go", source], env=go, check=True)
    control = "Package: vstest-go\nVersion: 1\nArchitecture: all\nMaintainer: tests\nDescription: says who was asked\n"
    (tree / "DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, place / "go.deb"], check=True)
    content = (place / "go.deb").read_bytes()
    about = f"Filename: ./go.deb\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (place / "Packages").write_text(control + about)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(place))
    with http.server.ThreadingHTTPServer((HOST[0], 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST[0]}:{server.server_port}"
        finally:
            server.shutdown()


def _prepare(world: World, name: str, archive: str) -> None:
    """Wait until a guest has booted, and bring it what its template has not."""
    guests = world.guests
    guests.wait_booted(name)
    world.write(name, "/etc/dnsmasq.d/who.conf", f"txt-record=who.test,{name}\nno-resolv\n")
    guests.run(name, "systemctl", "restart", "dnsmasq")
    world.write(name, "/root/.ssh/authorized_keys", (world.files / "key.pub").read_text())
    world.write(name, "/key", (world.files / "key").read_text())
    world.write(name, "/etc/apt/sources.list", f"deb [trusted=yes] {archive} ./\n")
    guests.run(name, "apt-get", "--quiet", "update")
    guests.run(name, "apt-get", "--quiet", "--yes", "install", "vstest-go")
    world.write(name, "/root/who.js", NODE)
    _run_own_servers(world, name)
    for service in SERVICES:
        eventually(lambda service=service: _answers(world, name, service), f"{service} does not answer")


def _run_own_servers(world: World, name: str) -> None:
    world.guests.run(name, "systemd-run", "--unit=go", "vstest-go")
    world.guests.run(name, "systemd-run", "--unit=node", "node", "/root/who.js")


def _answers(world: World, name: str, service: str) -> bool:
    return world.who(name, service, ADDRESSES[name]) == expected(name, service, name)


@pytest.mark.parametrize("client", ["host", *ADDRESSES])
@pytest.mark.parametrize("service", SERVICES)
def test_a_server_answers_on_every_address_of_its_guest(world: World, service: str, client: str) -> None:
    for owner, addresses in ADDRESSES.items():
        assert world.who(client, service, addresses) == expected(client, service, owner)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("service", SERVICES)
def test_localhost_is_the_guest_itself(world: World, service: str, name: str) -> None:
    # dig over TCP: see above.
    answers = {"dnsmasq": [name, name], "dnsmasq over TCP": [name, None]}
    assert world.who(name, service, LOCALHOST) == answers.get(service, [f"{name} {own} {own}" for own in LOCALHOST])


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_answers_at_the_hosts_addresses(world: World, service: str) -> None:
    for client, addresses in (("host", (*HOST, *LOCALHOST)), ("left", HOST)):
        assert not any(world.who(client, service, addresses)), client


def test_a_server_that_is_stopped_is_missed_in_its_own_guest_only(world: World) -> None:
    """The other guest's, on the same port, does not step in."""
    world.guests.run("left", "systemctl", "stop", *UNITS, "go", "node")
    for service in SERVICES:
        for client in ("host", "right"):
            assert not any(world.who(client, service, ADDRESSES["left"])), (service, client)
            assert world.who(client, service, ADDRESSES["right"]) == expected(client, service, "right")
    world.guests.run("left", "systemctl", "start", *UNITS)
    _run_own_servers(world, "left")
    for service in SERVICES:
        eventually(lambda service=service: _answers(world, "left", service), f"{service} does not answer again")


@pytest.mark.parametrize("order", ["reload", "restart"])
@pytest.mark.parametrize("service", ["nginx", "ssh", "postgresql"])
def test_reloading_and_restarting_keep_every_address(world: World, service: str, order: str) -> None:
    """A reloaded nginx hands its sockets on; a restarted server binds while old connections are being forgotten."""
    world.guests.run("right", "systemctl", order, service)
    eventually(lambda: _answers(world, "right", service), f"{service} does not answer after {order}", 10)


def test_a_name_server_on_each_address_by_itself_answers_on_all(world: World) -> None:
    """It tries to bind to every address of every interface; the host's and other guests' are refused."""
    world.write("right", "/etc/dnsmasq.d/dynamic.conf", "bind-dynamic\n")
    world.guests.run("right", "systemctl", "restart", "dnsmasq")
    for client in ("host", *ADDRESSES):
        assert world.who(client, "dnsmasq", ADDRESSES["right"]) == ["right"] * 4
    assert world.who("right", "dnsmasq", LOCALHOST) == ["right"] * 2
    assert world.who("left", "dnsmasq", ADDRESSES["left"]) == expected("left", "dnsmasq", "left")
    world.guests.run("right", "rm", "/etc/dnsmasq.d/dynamic.conf")
    world.guests.run("right", "systemctl", "restart", "dnsmasq")


def test_apt_installed_a_package_over_http(world: World) -> None:
    for name in ADDRESSES:
        assert world.guests.run(name, "dpkg-query", "-W", "-f", "${Version} ${Status}", "vstest-go").endswith(
            "installed"
        )


def test_a_program_sees_listeners(world: World) -> None:
    listed = world.guests.run("right", "ss", "--tcp", "--udp", "--listening", "--numeric")
    assert {"192.0.2.12:80", "[2001:db8:1::12]:80"} <= set(listed.split())
