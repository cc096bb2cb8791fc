# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on the address binding by root of a running guest, with two more guests and the host's services beside it.

Each attack of ``attacks.py`` is made from four places: the guest; a process in the guest's cgroup without the system
call filter, with system calls and through io_uring (with and without a thread of the kernel), so that the programs are
seen to hold alone; another one there that is the host's root with all capabilities; and a process that is not bound at
all, which has to succeed where the binding matters, or the watching would prove nothing.

After each attack the same is looked for, from outside: every packet that left, who has reached the services of the
host and of another guest, whether what the attack left open can be reached at an address that is not the guest's, and
whether the services still get what is sent to them.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import loopback_addresses
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import landlock
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .attacker import open_abstract_services
from .attacks import FAMILIES, TABLE, Attack
from .guests import Guests, become, eventually
from .packets import Sniffer
from .remote_attacker import ATTACKER, RemoteAttacker

HOST, HOST2, HOST6, HOST26 = "192.0.2.1", "198.51.100.1", "2001:db8:1::1", "2001:db8:2::1"
A, A2, A6, A26 = "192.0.2.10", "198.51.100.10", "2001:db8:1::10", "2001:db8:2::10"
B, B6, C, C6 = "192.0.2.20", "2001:db8:1::20", "192.0.2.30", "2001:db8:1::30"
GROUP, GROUP6, LINK = "224.0.0.251", "ff02::fb", "fe80::a1"
PORTS = {"WILD": 7001, "LOOP": 7002, "SHARED": 7003, "EPHEMERAL": 40100, "BWILD": 7005, "BLOOP": 7006}
NAMES = {
    **PORTS,
    **{"HOST": HOST, "HOST6": HOST6, "HOST2": HOST2, "HOST26": HOST26, "LINK": f"{LINK}%attack0"},
    **{"A": A, "A6": A6, "A2": A2, "A26": A26, "B": B, "B6": B6},
    **{
        "ANY": "0.0.0.0",
        "ANY6": "::",
        "LOCAL": "127.0.0.1",
        "LOCAL6": "::1",
        "GROUP": GROUP,
        "GROUP6": f"{GROUP6}%attack0",
    },
    **{"NOBODY": "203.0.113.7", "NOBODY6": "2001:db8:7::7", "NEAR": "192.0.2.99", "NEAR6": "2001:db8:1::99"},
}
TOKEN, PROBE = b"attack", b"probe"
#: How long something may be under way inside this machine, in seconds.
LATE = 2.0
TCP, UDP, V4, V6 = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.AF_INET, socket.AF_INET6


def family_of(address: str) -> socket.AddressFamily:
    return V6 if ":" in address else V4


def listening(kind: int, address: str, port: int) -> socket.socket:
    """A service that is as open to being robbed as services get."""
    made = socket.socket(family_of(address), kind)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    if address == "::":
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind((address, port))
    if kind == TCP:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        made.listen(64)
    made.setblocking(False)
    return made


@dataclass
class Services:
    """The host's services: they answer nothing, and tell who has come."""

    #: Where each listens, and where the host itself must be able to reach it.
    PLACES = (
        ("::", PORTS["WILD"], (HOST, HOST6, "127.0.0.1", "::1")),
        ("::", PORTS["EPHEMERAL"], (HOST, HOST6, "127.0.0.1", "::1")),
        ("127.0.0.1", PORTS["LOOP"], ("127.0.0.1",)),
        ("::1", PORTS["LOOP"], ("::1",)),
        (HOST, PORTS["SHARED"], (HOST,)),
        (HOST6, PORTS["SHARED"], (HOST6,)),
    )
    sockets: list[socket.socket] = field(default_factory=list)

    def open(self) -> None:
        for address, port, _ignored in self.PLACES:
            self.sockets += [listening(TCP, address, port), listening(UDP, address, port)]

    def visitors(self) -> list[tuple[str, str, str]]:
        """Content, service and sender of what has arrived since the last time."""
        found = []
        for service in self.sockets:
            place = "{} {}".format(*service.getsockname())
            with contextlib.suppress(BlockingIOError):
                while service.type == UDP:
                    data, peer = service.recvfrom(99)
                    found.append((data.decode(errors="replace"), place, peer[0].replace("::ffff:", "")))
                while True:
                    connection, peer = service.accept()
                    connection.close()
                    found.append(("connection", place, peer[0].replace("::ffff:", "")))
        return found

    def close(self) -> None:
        for service in self.sockets:
            service.close()


def poke(kind: int, address: str, port: int) -> socket.socket:
    """Begin a connection, or send a datagram, as the host."""
    made = socket.socket(family_of(address), kind)
    made.setblocking(False)
    if address == GROUP and kind == UDP:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
    if address.endswith(".255"):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    target: Any = (address, port)
    if address in (LINK, GROUP6):
        target = (address, port, 0, socket.if_nametoindex("attack0"))
    with contextlib.suppress(OSError):
        made.connect(target)
        made.send(PROBE)
    return made


@dataclass
class World:
    site: Site
    guests: Guests
    a: RemoteAttacker
    b: RemoteAttacker
    c: RemoteAttacker
    bare: RemoteAttacker
    root: RemoteAttacker
    free: RemoteAttacker
    services: Services
    sniffer: Sniffer
    own: frozenset[str]
    private: tuple[Any, ...]
    names: dict[str, Any]

    def is_own(self, address: str) -> bool:
        plain = address.replace("::ffff:", "").partition("%")[0]
        return plain in self.own or self.is_private(plain)

    def is_private(self, address: str) -> bool:
        return any(ip_address(address) in network for network in self.private)

    # What is looked for after every attack.

    def sent(self) -> Iterator[str]:
        for packet in self.sniffer.sent():
            source, target = packet.source, packet.destination
            if packet.spoken_by_nobody(PORTS.values()):
                continue
            loopback = ip_address(target).is_loopback or self.is_private(target)
            if (
                not self.is_own(source)
                or (self.is_private(source) and not self.is_own(target))
                or (loopback and not self.is_own(target))
                or ip_address(target).is_multicast
                or target.endswith(".255")
            ):
                yield f"sent {packet.protocol} {source} > {target}"

    def reached(self) -> Iterator[str]:
        for content, place, peer in self.services.visitors():
            if not self.is_own(peer) or self.is_private(peer) or place.endswith(str(PORTS["LOOP"])):
                yield f"reached {place}: {content} from {peer}"
        for content, local, peer in self.b("heard"):
            if not self.is_own(peer) or self.is_private(peer) or ip_address(local or B).is_loopback:
                yield f"reached b {local}: {content} from {peer}"

    def heard(self, attacker: RemoteAttacker, via: str, ports: Iterable[tuple[str, int]]) -> Iterator[str]:
        """Try to reach what the attack left open, at every address that is not the guest's."""
        callers = []
        for kind, port in ports:
            type_ = TCP if kind.startswith("tcp") else UDP
            for address in (HOST, HOST2, B, "127.0.0.1", self.names["LOOPBACK_A"], GROUP, "192.0.2.255"):
                callers.append(poke(type_, address, port))
            for address in (HOST6, HOST26, B6, "::1", self.names["LOOPBACK_A6"], LINK, GROUP6):
                callers.append(poke(type_, address, port))
            for guest in (self.b, self.c):
                for family, places in (("4", ("HOST", "127.0.0.1", "B")), ("6", ("HOST6", "::1", "B6"))):
                    steps = "; ".join(f"poke {place} {port}" for place in places)
                    guest("run", kind=kind[:3] + family, steps=steps, who="caller")
        for content, local, peer in attacker("heard", via=via):
            if content == PROBE.decode() or content == "connection" and not (self.is_own(local) and self.is_own(peer)):
                yield f"heard {content} to {local} from {peer}"
        for caller in callers:
            caller.close()
        if callers:
            for guest in (self.b, self.c):
                guest("close", who="caller")
        self.services.visitors()
        self.b("heard")

    def robbed(self) -> Iterator[str]:
        """The services still get what is sent to them."""
        callers, wanted, b_wanted = [], [], []
        for type_ in (TCP, UDP):
            what = PROBE.decode() if type_ == UDP else "connection"
            for place, port, addresses in Services.PLACES:
                for address in addresses:
                    callers.append(poke(type_, address, port))
                    wanted.append((what, f"{place} {port}"))
            for address in (B, B6):
                callers.append(poke(type_, address, PORTS["BWILD"]))
                b_wanted.append(what)
        got: list[Any] = []
        b_got: list[Any] = []
        # The loopback of a busy kernel delivers in a thread, so what was sent may come a little later.
        deadline = time.monotonic() + LATE
        while (_less(wanted, got) or _less(b_wanted, b_got)) and time.monotonic() < deadline:
            got += [visitor[:2] for visitor in self.services.visitors()]
            b_got += [content for content, _ignored, _ignored in self.b("heard")]
        for caller in callers:
            caller.close()
        yield from (f"robbed {what} {place}" for what, place in _less(wanted, got))
        yield from (f"robbed b {what}" for what in _less(b_wanted, b_got))

    def attack(self, attacker: RemoteAttacker, attack: Attack, via: str = "plain") -> tuple[str, list[str]]:
        """Make an attack; return the steps that failed, and what it has done that must not be."""
        self.sniffer.sent()
        result = attacker("run", kind=attack.kinds, steps=attack.steps, via=via)
        try:
            foul = [*self.sent(), *self.reached(), *self.heard(attacker, via, result["ports"]), *self.robbed()]
        finally:
            attacker("close", via=via)
        return ", ".join(result["failed"]), foul


def _less(wanted: list[Any], got: list[Any]) -> list[Any]:
    rest = list(got)
    missing = []
    for item in wanted:
        if item in rest:
            rest.remove(item)
        else:
            missing.append(item)
    return missing


NETWORK = f"""
link add attack0 type veth peer name attack1
link set attack0 addrgenmode none
link set attack1 addrgenmode none
link set attack0 arp off
link set attack0 up
link set attack1 up
address add {HOST}/24 brd + dev attack0
address add {HOST2}/24 brd + dev attack0
address add 203.0.113.1/24 brd + dev attack0
address add {HOST6}/64 dev attack0 nodad
address add {HOST26}/64 dev attack0 nodad
address add {LINK}/64 dev attack0 nodad
route add default dev attack0 src {HOST}
route add ::/0 dev attack0 src {HOST6}
"""


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    for setting in ("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv4.tcp_fastopen=3"):
        subprocess.run(["sysctl", "-qw", setting], check=True)
    subprocess.run(["ip", "-batch", "-"], input=NETWORK, text=True, check=True)
    yield
    subprocess.run(["ip", "link", "delete", "attack0"], check=True)


@pytest.fixture(scope="module")
def world(site: Site, network: None) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        guests = Guests(site, templates.NAME)
        stack.callback(guests.remove_all)
        services = Services()
        stack.callback(services.close)
        services.open()
        sniffer = Sniffer()
        stack.callback(sniffer.close)
        for made in open_abstract_services("host"):
            stack.enter_context(made)
        names = dict(NAMES)
        remotes: list[RemoteAttacker] = []
        uid = 0
        for name, addresses in (
            ("a", [f"{A}/24", f"{A2}/24", f"{A6}/64", f"{A26}/64"]),
            ("b", [f"{B}/24", f"{B6}/64"]),
            ("c", [f"{C}/24", f"{C6}/64"]),
        ):
            place = "/run/attacker"
            guests.define(name, addresses=addresses, init=["/usr/bin/python3", "/attacker.py", "init", place, name])
            (site.guest(name) / "root/upper/attacker.py").write_text(ATTACKER.read_text())
            subject = become(site, name)
            loopback4, loopback6 = map(str, loopback_addresses(subject["xid"]))
            names.update({f"LOOPBACK_{name.upper()}": loopback4, f"LOOPBACK_{name.upper()}6": loopback6})
            eventually(lambda: guests.exec(name, "test", "-S", place).returncode == 0, f"{name} does not start")  # noqa: B023
            remotes.append(RemoteAttacker(guests.command(name, "python3", "/attacker.py", "relay", place)))
            stack.callback(remotes[-1].end)
            uid = uid or int(guests.host_status(subject["pid"])["Uid"].split()[0])
        for user, bound in ((uid, True), (0, True), (uid, False)):
            made = RemoteAttacker([sys.executable, str(ATTACKER), "here", str(user)])
            stack.callback(made.end)
            if bound:
                (guests.group("a") / "cgroup.procs").write_text(str(made.process.pid))
            remotes.append(made)
        for remote in remotes:
            remote("names", names=names)
        a, b, c, bare, root, free = remotes
        for kind, steps in (
            ("tcp6", "option SO_REUSEPORT 1; option IPV6_V6ONLY 0; bind ANY6 BWILD; listen 64"),
            ("udp4", "option SO_REUSEADDR 1; bind ANY BWILD"),
            ("udp6", "option SO_REUSEADDR 1; option IPV6_V6ONLY 1; bind ANY6 BWILD"),
            ("tcp4", "bind LOCAL BLOOP; listen"),
            ("tcp6", "bind LOCAL6 BLOOP; listen"),
            ("udp4", "bind LOCAL BLOOP"),
            ("udp6", "bind LOCAL6 BLOOP"),
        ):
            assert b("run", kind=kind, steps=steps)["failed"] == []
        private = (ip_network(f"{names['LOOPBACK_A']}/24", strict=False), ip_network(names["LOOPBACK_A6"]))
        own = frozenset((A, A2, A6, A26, "127.0.0.1", "::1"))
        yield World(site, guests, a, b, c, bare, root, free, services, sniffer, own, private, names)


#: Who attacks that is bound, and how.
PLACES = (("a", "plain"), ("bare", "plain"), ("bare", "uring"), ("bare", "sqpoll"), ("root", "plain"))


def told_by(who: str, via: str, kind: str, answer: str) -> str:
    """As much of what is seen from inside as is the same everywhere."""
    if who == "root":
        return ""  # with the host's capabilities options succeed; what counts is what comes of it
    if who == "bare" and answer.startswith("socket"):
        return "socket"  # the filter is not there, and the kernel or the binding says it in another way
    if via != "plain" and kind.startswith("tcp"):
        # A ring waits for a connection in its own way.
        return ", ".join(step for step in answer.split(", ") if step.startswith(("socket", "bind", "listen")))
    return answer


#: Ids end with who attacks and how, to choose by.
ATTACKS = [
    pytest.param(attack, who, via, id=f"{attack.name}-{who}-{via}")
    for attack in TABLE
    for who, via in (PLACES if attack.as_root else PLACES[:-1])
]


@pytest.mark.parametrize(("attack", "who", "via"), ATTACKS)
def test_an_attack(world: World, attack: Attack, who: str, via: str) -> None:
    wanted, found = {}, {}
    for test in attack.tests():
        answer, foul = world.attack(getattr(world, who), test, via)
        wanted[test.kinds] = (told_by(who, via, test.kinds, test.sees), [])
        found[test.kinds] = (told_by(who, via, test.kinds, answer), sorted(set(foul)))
    assert found == wanted


def test_without_the_binding_attacks_do_what_they_must_not(world: World) -> None:
    """What is looked for after an attack is there to be found."""
    effective = {
        attack.name for attack in TABLE if any(world.attack(world.free, test)[1] for test in list(attack.tests()))
    }
    assert {attack.name for attack in TABLE if not attack.harmless} - effective == set()
    assert len(effective) > len(TABLE) / 2


@pytest.mark.parametrize(("kind", "error"), FAMILIES.items())
def test_a_family_beside_the_binding(world: World, kind: str, error: str) -> None:
    assert world.a("run", kind=kind, steps="")["failed"] == [f"socket {error}"]
    world.a("close")


TAKEN = ["bind EADDRNOTAVAIL", "bind EADDRNOTAVAIL", "bind EADDRNOTAVAIL", "from EPERM", "connect ECONNREFUSED"]


@pytest.mark.parametrize(
    ("trick", "seen"),
    [
        ("in_a_network_of_its_own", ["bind EADDRNOTAVAIL", "EPERM", "EPERM"]),
        ("into_a_network", ["EPERM", "EPERM"]),
        ("add_an_address", ["EPERM", "EPERM"]),
        ("configure_by_ioctl", ["EPERM", "EPERM", "EPERM"]),
        ("in_a_group_of_its_own", TAKEN),
        ("born_in_a_group", TAKEN),
        ("out_of_its_group", ["EROFS", "done", *TAKEN]),
        ("made_elsewhere", ["EADDRNOTAVAIL", "ECONNREFUSED"]),
        ("as_somebody_else", TAKEN),
        ("as_a_new_root", ["option EPERM", "option EPERM", "option EPERM", *TAKEN]),
        ("io_uring", ["ENOSYS", "ENOSYS", "ENOSYS"]),
        pytest.param(
            "abstract",
            ["EPERM", "EPERM", "EPERM", "EPERM"],
            marks=pytest.mark.skipif(landlock.abi() < 6, reason="scopes of Landlock came with Linux 6.12"),
        ),
    ],
)
def test_a_trick(world: World, trick: str, seen: list[str]) -> None:
    world.sniffer.sent()
    assert world.a("trick", name=trick) == seen
    assert [*world.sent(), *world.reached(), *world.robbed()] == []


def test_without_the_filter_io_uring_is_there(world: World) -> None:
    """What goes through it from the guest's cgroup does go through it."""
    assert world.bare("trick", name="io_uring")[0] == "done"


@pytest.mark.parametrize("who", ["a", "bare"])
def test_a_late_packet_reaches_no_stranger(world: World, who: str) -> None:
    """A connection to the own loopback that begins anew after the listener has gone, and a service of the host come."""
    attacker: RemoteAttacker = getattr(world, who)
    for kind, local, oldest in (("tcp4", "LOCAL", 0), ("tcp6", "LOCAL6", 3)):
        connects = "; ".join([f"socket; connect {local} 7200"] * 3)
        steps = f"option SO_REUSEADDR 1; bind {local} 7200; listen 0; {connects}; close {oldest}"
        failed = attacker("run", kind=kind, steps=steps)["failed"]
        assert failed == ["connect ETIMEDOUT"] * len(failed) != [], "the queue is not full"
    try:
        with listening(TCP, "::", 7200) as service:
            came = select.select([service], [], [], 1.5)[0]
            assert not came, service.accept()[1]
    finally:
        attacker("close")
