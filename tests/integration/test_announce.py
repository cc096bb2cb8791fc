# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's addresses on a real link: usable at once, announced to the neighbours, refused when one of them has it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import files, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import address, announce, process
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually
from .links import Link, heard, link

HOST, HOST6 = "203.0.113.1/24", "2001:db8:77::1/64"
OWN, OWN6 = "203.0.113.10", "2001:db8:77::10"

#: Binds to the address that is its argument as soon as it runs, and notes how that went.
BINDER = """
use Socket qw(:all);
socket(my $s, AF_INET6, SOCK_STREAM, 0) or die;
my $said = bind($s, pack_sockaddr_in6(8080, inet_pton(AF_INET6, $ARGV[0]))) ? "bound" : "$!";
open(my $f, ">", "/said"); print $f $said; close($f); sleep;
"""


@pytest.fixture
def wire() -> Iterator[Link]:
    with link("vs-wire", HOST, HOST6) as made:
        yield made


def claims(frames: list[bytes]) -> list[tuple[str, bytes, bytes]]:
    """Address, hardware address and destination of what frames announce."""
    found = [(announce.claim(frame), frame[:6]) for frame in frames]
    return [(str(said[0]), said[1], destination) for said, destination in found if said is not None]


def local(name: str) -> set[str]:
    return {str(held.ip) for held in address.addresses().get(name, [])}


def test_which_addresses_are_on_the_host(wire: Link) -> None:
    """Told of each by itself as in the list of all: also while an IPv6 address is not usable yet."""
    net = "198.51.100.7/24"
    subprocess.run(["ip", "address", "add", net, "dev", "lo"], check=True)
    subprocess.run(["ip", "address", "add", "2001:db8:77::5/64", "dev", wire.here], check=True)  # not "nodad"
    address.add(wire.here, ip_interface(f"{OWN}/24"))
    address.add(wire.here, ip_interface(f"{OWN6}/64"))
    address.add(wire.here, ip_interface(f"{OWN6}/64"))  # no harm
    there = {"127.0.0.1", "::1", "198.51.100.7", OWN, OWN6, "2001:db8:77::5"}
    others = {"198.51.100.8", "203.0.113.11", "2001:db8:77::11", "192.0.2.77", "2001:db8:66::1", "127.0.0.2"}
    assert {text for text in there | others if address.is_own(ip_address(text))} == there
    assert {str(held.ip) for entries in address.addresses().values() for held in entries} >= there
    assert ip_interface(net) in address.addresses()["lo"]
    for text in (f"{OWN}/24", f"{OWN6}/64", net):
        for name in ("lo", wire.here):
            address.remove(name, ip_interface(text))
    assert not any(address.is_own(ip_address(text)) for text in (OWN, OWN6, "198.51.100.7"))
    with pytest.raises(OSError, match=r"put 192.0.2.1/32 on nosuch: No such device"):
        address.add("nosuch", ip_interface("192.0.2.1/32"))


def test_addresses_are_announced_and_usable_at_once(guests: Guests, site: Site, wire: Link) -> None:
    hardware = announce.hardware_address(wire.here)
    assert hardware is not None
    init = ("/usr/bin/perl", "-e", BINDER, OWN6)
    with wire.ear() as ear:
        guests.start("moved", addresses=[OWN, OWN6], init=init)
        said = site.guest("moved") / "root/upper/said"
        eventually(lambda: said.exists() and said.read_text(), "the guest's service says nothing")
        assert said.read_text() == "bound", "an address is not usable when init starts"
        announced = claims(heard(ear, 0.3))
    broadcast, all_nodes = b"\xff" * 6, bytes.fromhex("333300000001")
    assert sorted(announced) == [(OWN6, hardware, all_nodes), (OWN, hardware, broadcast)]
    assert {OWN, OWN6} <= local(wire.here)
    with wire.ear() as ear:
        lifecycle.set_state(site, "moved", "stopped", {"timeout": 0})
        assert claims(heard(ear, 0.2)) == [], "something is announced when a guest stops"
    assert not {OWN, OWN6} & local(wire.here)


def test_neighbours_learn_where_a_guest_has_moved(guests: Guests, site: Site, wire: Link) -> None:
    """They have it in their memory with another machine's hardware address, as after a move from there."""
    wire.far("ip", "address", "add", "203.0.113.2/24", "dev", wire.there)
    wire.far("ip", "address", "add", "2001:db8:77::2/64", "dev", wire.there, "nodad")
    for text in (OWN, OWN6):
        wire.far("ip", "neighbour", "add", text, "lladdr", "02:00:00:00:00:99", "dev", wire.there, "nud", "stale")
    guests.start("moved", addresses=[OWN, OWN6], init=SLEEP)
    hardware = announce.hardware_address(wire.here)
    assert hardware is not None

    def known(text: str) -> str:
        return wire.far("ip", "neighbour", "show", text)

    for text in (OWN, OWN6):
        eventually(lambda text=text: hardware.hex(":") in known(text), f"{text} is still where it was: {known(text)}")


def test_an_address_that_was_there_stays_and_is_not_announced(guests: Guests, site: Site, wire: Link) -> None:
    subprocess.run(["ip", "address", "add", f"{OWN}/24", "dev", wire.here], check=True)
    with wire.ear() as ear:
        guests.start("settled", addresses=[OWN, OWN6], init=SLEEP)
        assert [text for text, _hardware, _to in claims(heard(ear, 0.2))] == [OWN6]
    lifecycle.set_state(site, "settled", "stopped", {"timeout": 0})
    assert OWN in local(wire.here) and OWN6 not in local(wire.here)


def test_the_host_does_not_take_a_guests_address_as_its_own(guests: Guests, site: Site, wire: Link) -> None:
    """For a destination that is more like it than the host's is; and what sees to that goes with the guest."""

    def said(*words: str) -> str:
        return subprocess.run(["ip", "-6", *words], capture_output=True, text=True, check=True).stdout

    own, neighbour = "2001:db8:77::10", "2001:db8:77::11"
    guests.start("lent", addresses=[own], init=SLEEP)
    assert f"src {HOST6.split('/', maxsplit=1)[0]} " in said("route", "get", neighbour)
    lifecycle.set_state(site, "lent", "stopped", {"timeout": 0})
    assert own not in said("addrlabel", "list")
    subprocess.run(["ip", "address", "add", f"{own}/64", "dev", wire.here, "nodad"], check=True)
    assert f"src {own} " in said("route", "get", neighbour), "the kernel would not have taken it anyway"


def test_a_live_change_announces_what_it_adds(guests: Guests, site: Site, wire: Link) -> None:
    guests.start("changed", addresses=[OWN], init=SLEEP)
    with wire.ear() as ear:
        lifecycle.configure(site, "changed", "binding", {"addresses": [OWN, OWN6, "203.0.113.11/24"]})
        assert sorted(text for text, *_rest in claims(heard(ear, 0.2))) == [OWN6, "203.0.113.11"]
        assert not lifecycle.configure(
            site, "changed", "binding", {"addresses": [OWN, OWN6, "203.0.113.11/24"]}
        ).changed
        assert claims(heard(ear, 0.1)) == []


@pytest.mark.parametrize("text", ["203.0.113.20/24", "2001:db8:77::20/64"])
def test_an_address_that_another_machine_has_is_refused(guests: Guests, site: Site, wire: Link, text: str) -> None:
    wire.far("ip", "address", "add", text, "dev", wire.there, *(["nodad"] if ":" in text else []))
    there = wire.far("ip", "link", "show", wire.there)
    with wire.ear() as ear:
        with pytest.raises(VserverError) as refusal:
            guests.start("second", addresses=[text], init=SLEEP)
        assert claims(heard(ear, 0.1)) == []
    plain = text.split("/")[0]
    assert f"put {plain} on {wire.here} for guest second" in str(refusal.value)
    hardware = str(refusal.value.why).split("hardware address ")[1].split()[0]
    assert f"link/ether {hardware}" in there
    assert plain not in local(wire.here)
    assert not guests.traces("second")
    note = site.bundle("second") / "addresses.json"
    assert not note.exists() or plain not in files.read_json(note)
    wire.far("ip", "address", "delete", text, "dev", wire.there)
    lifecycle.set_state(site, "second", "started", {})
    assert plain in local(wire.here)


def test_asking_takes_a_few_milliseconds_and_finds_exactly_what_is_there(wire: Link) -> None:
    wire.far("ip", "address", "add", "203.0.113.20/24", "dev", wire.there)
    wire.far("ip", "address", "add", "2001:db8:77::20/64", "dev", wire.there, "nodad")
    asked = [ip_address(f"203.0.113.{last}") for last in range(18, 22)]
    asked += [ip_address(f"2001:db8:77::{last}") for last in range(18, 22)]

    def ask() -> dict[str, str]:
        begun = time.monotonic()
        found = announce.holders(wire.here, asked, 0.05)
        assert time.monotonic() - begun >= 0.05, "whoever has not answered is waited for"
        return {str(held): hardware.hex() for held, hardware in found.items()}

    assert set(process.aside(ask)()) == {"203.0.113.20", "2001:db8:77::20"}


@pytest.mark.parametrize("change", [("down",), ("arp", "off")])
def test_where_nothing_can_be_announced_nothing_is(wire: Link, change: tuple[str, ...]) -> None:
    assert announce.hardware_address(wire.here) is not None
    subprocess.run(["ip", "link", "set", wire.here, *change], check=True)
    assert announce.hardware_address(wire.here) is None
    assert announce.hardware_address("lo") is None
    assert announce.hardware_address("vs-nowhere") is None
    with wire.ear() as ear:
        announce.announce(wire.here, [ip_address(OWN), ip_address(OWN6)])
        assert announce.holders(wire.here, [ip_address(OWN)], 0.0) == {}
        assert claims(heard(ear, 0.1)) == []


def test_a_process_aside_answers_and_is_not_waited_for() -> None:
    begun = time.monotonic()
    assert process.aside(lambda: [1, "two", None])() == [1, "two", None]
    assert time.monotonic() - begun < 5
    with pytest.raises(OSError, match="on purpose") as caught:

        def fail() -> None:
            raise OSError(19, "on purpose")

        process.aside(fail)()
    assert caught.value.errno == 19
