# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address binding on the network between two hosts: what root of a guest does on one, the other one sees.

Each deed of ``across.py`` is done in a guest, and by root of its host, whom nothing binds: there what must not be has
to be seen, or the watching would prove nothing. What is looked for is the same after each: packets on the host's cable
that are not from the guest's addresses; whether the guest gets what is sent to others; whether those still get it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ..integration.packets import Sniffer
from ..integration.remote_attacker import ATTACKER, RemoteAttacker
from .across import DEEDS, Deed
from .laboratory import Lab
from .network import CONTROLLER, Network, address4, address6
from .plays import CREATE, begin

#: The ports of services: of hosts, and of guests.
SERVICE, GUESTS = 7001, 7005
#: The last parts of the addresses of each host, and of its two guests.
NUMBERS = {"host1": (11, 100, 101), "host2": (12, 120, 121)}
NOBODY = 250
KINDS = ("tcp4", "tcp6", "udp4", "udp6")
#: How long a packet may be under way, in seconds.
LATE = 20.0
SERVICES = (
    ("tcp6", "option SO_REUSEADDR 1; option SO_REUSEPORT 1; option IPV6_V6ONLY 0; bind ANY6 {port}; listen 64"),
    ("udp4", "option SO_REUSEADDR 1; option SO_REUSEPORT 1; bind ANY {port}"),
    ("udp6", "option SO_REUSEADDR 1; option SO_REUSEPORT 1; option IPV6_V6ONLY 1; bind ANY6 {port}"),
)


def port_of(network: Network, port: str) -> socket.socket:
    """A packet socket at a port of the lab's bridge."""
    make = (
        "import socket, sys\n"
        "made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
        "made.bind((sys.argv[1], 0))\n"
        "socket.send_fds(socket.socket(fileno=0), [b'x'], [made.fileno()])\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run([*network.inside, sys.executable, "-c", make, port], stdin=theirs, check=True)
        return socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])


@dataclass
class Host:
    """A host with two guests: each a process that does what it is told; ``itself`` and ``other`` have services."""

    name: str
    guest: RemoteAttacker
    other: RemoteAttacker
    itself: RemoteAttacker
    free: RemoteAttacker
    cable: Sniffer

    @property
    def own(self) -> set[str]:
        return {address4(NUMBERS[self.name][1]), address6(NUMBERS[self.name][1])}


def names(here: str, there: str) -> dict[str, Any]:
    """What the names in the steps stand for, on one host."""
    numbers = {
        **dict(zip(("HERE", "A", "NEXT"), NUMBERS[here])),
        **dict(zip(("THERE", "GUEST_THERE", "PEER"), NUMBERS[there])),
        "NOBODY": NOBODY,
    }
    return {
        **{name: address4(number) for name, number in numbers.items()},
        **{f"{name}6": address6(number) for name, number in numbers.items()},
        **{"SERVICE": SERVICE, "GUESTS": GUESTS, "ANY": "0.0.0.0", "ANY6": "::", "LOCAL": "127.0.0.1", "LOCAL6": "::1"},
    }


@pytest.fixture(scope="module")
def hosts(saved_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    saved_lab.restore(())
    plays = {}
    for name, numbers in NUMBERS.items():
        guests = [
            {
                "name": guest,
                "template": "debian",
                "addresses": [address4(number), address6(number)],
                "init": ["/bin/sleep", "infinity"],
            }
            for guest, number in zip(("guest", "other"), numbers[1:])
        ]
        plays[name] = begin(saved_lab, tmp_path_factory.mktemp(name) / "log", [CREATE], limit=name, guests=guests)
    for name, play in plays.items():
        play.changes(name)
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(host(saved_lab, name)) for name in NUMBERS}


@contextlib.contextmanager
def host(lab: Lab, name: str) -> Iterator[Host]:
    program = ATTACKER.read_bytes()
    with contextlib.ExitStack() as stack:
        made = []
        for inside in ("vserver exec guest -- ", "vserver exec other -- ", "", ""):
            copy = lab.remote.words(name, f"{inside}sh -c 'cat >/root/attacker.py'")
            subprocess.run(copy, input=program, check=True)
            made.append(RemoteAttacker(lab.remote.words(name, f"{inside}python3 /root/attacker.py here 0")))
            stack.callback(made[-1].end)
            made[-1]("names", names=names(name, *(set(NUMBERS) - {name})))
        (machine,) = lab.chosen([name])
        cable = Sniffer(port_of(lab.network, machine.port), arriving=True)
        stack.callback(cable.close)
        for service, port in zip(made[1:3], (GUESTS, SERVICE)):
            for kind, steps in SERVICES:
                assert service("run", kind=kind, steps=steps.format(port=port))["failed"] == []
        yield Host(name, *made, cable)


def wait_for(listener: RemoteAttacker, wanted: list[str]) -> list[str]:
    """What is still missing of what a service was sent, when it had time to arrive."""
    missing = list(wanted)
    deadline = time.monotonic() + LATE
    while missing and time.monotonic() < deadline:
        for content, _local, _peer in listener("heard"):
            if content in missing:
                missing.remove(content)
    return missing


def sent(here: Host) -> Iterator[str]:
    for packet in here.cable.sent():
        to_controller = packet.destination in (address4(CONTROLLER), address6(CONTROLLER))
        if not to_controller and not packet.spoken_by_nobody([SERVICE, GUESTS]) and packet.source not in here.own:
            yield f"sent {packet.protocol} {packet.source} > {packet.destination}"


def reached(here: Host, there: Host, arrived: list[str]) -> Iterator[str]:
    for service in (there.itself, there.other):
        for content, _local, peer in service("heard"):
            plain = peer.removeprefix("::ffff:")
            if plain in here.own:
                arrived.append(content)
            else:
                yield f"reached {there.name} from {plain}"


def poke(caller: Host, kind: str, port: int, *where: str) -> None:
    """Begin connections, or send datagrams, from a host."""
    steps = "; ".join(f"poke {name} {port}" for name in where).replace("*", "6" if kind.endswith("6") else "")
    caller.free("run", kind=kind, steps=steps, who="caller")


def heard(doer: RemoteAttacker, here: Host, there: Host, ports: list[tuple[str, int]]) -> Iterator[str]:
    """What is sent from the other host to others than the guest, at the ports that it has left open."""
    for kind, port in ports:
        for family in ("4", "6"):
            poke(there, f"{kind[:3]}{family}", port, "THERE*", "PEER*")
    for kind in KINDS if ports else ():
        poke(there, kind, SERVICE, "THERE*")
        poke(there, kind, GUESTS, "PEER*")
    wanted = ["connection", "connection", "probe", "probe"] if ports else []
    for name, service in (("host", here.itself), ("other guest", here.other)):
        yield from (f"robbed {name} of a {what}" for what in wait_for(service, wanted))
    # What was sent before has arrived by now.
    yield from (f"heard a {content}" for content, _local, _peer in doer("heard"))
    there.free("close", who="caller")


def do(doer: RemoteAttacker, here: Host, there: Host, deed: Deed) -> tuple[list[str], list[str]]:
    """Do something; return what of it has arrived from the guest, and what has come of it that must not be."""
    list(reached(here, there, []))
    here.cable.sent()
    result = doer("run", kind=deed.kinds, steps=deed.steps)
    arrived: list[str] = []
    try:
        deadline = time.monotonic() + (LATE if deed.arrives else 0)
        foul = []
        while True:
            foul += [*sent(here), *reached(here, there, arrived)]
            if arrived or foul or time.monotonic() > deadline:
                break
        foul += heard(doer, here, there, result["ports"])
    finally:
        doer("close")
    return arrived, sorted(set(foul))


WAYS = [("host1", "host2"), ("host2", "host1")]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.name)
@pytest.mark.parametrize(("here", "there"), WAYS)
def test_a_guest_is_nobody_but_itself(hosts: dict[str, Host], here: str, there: str, deed: Deed) -> None:
    for test in deed.tests():
        arrived, foul = do(hosts[here].guest, hosts[here], hosts[there], test)
        assert (test.kinds, foul) == (test.kinds, [])
        assert not deed.arrives or arrived, f"{test.kinds}: nothing has arrived"


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_without_the_binding_it_would_be(hosts: dict[str, Host], here: str, there: str) -> None:
    """What is looked for is there to be found."""
    effective = {
        deed.name
        for deed in DEEDS
        if any(do(hosts[here].free, hosts[here], hosts[there], test)[1] for test in deed.tests())
    }
    assert {deed.name for deed in DEEDS if not deed.harmless} - effective == set()


#: Servers of a guest, on any address of theirs. A datagram socket hears one family.
SERVERS = (
    Deed("stream", "tcp4", "bind ANY 7301; listen"),
    Deed("stream of both families", "tcp6", "option IPV6_V6ONLY 0; bind ANY6 7302; listen"),
    Deed("datagrams", "udp4", "bind ANY 7303"),
    Deed("datagrams of IPv6", "udp6", "option IPV6_V6ONLY 1; bind ANY6 7304"),
)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
@pytest.mark.parametrize(("here", "there"), WAYS)
def test_a_guest_is_reached_at_its_own_address(hosts: dict[str, Host], here: str, there: str, server: Deed) -> None:
    guest = hosts[here].guest
    result = guest("run", kind=server.kinds, steps=server.steps)
    try:
        assert result["failed"] == []
        ((_kind, port),) = result["ports"]
        poke(hosts[there], server.kinds, port, "GUEST_THERE*")
        assert wait_for(guest, ["probe" if server.kinds.startswith("udp") else "connection"]) == []
    finally:
        guest("close")
        hosts[there].free("close", who="caller")
