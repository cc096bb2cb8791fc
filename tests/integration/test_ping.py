# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's ping in a guest, on a link with another machine: on request, and from an own address always."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests
from .links import Link, heard, link

HOST, HOST6 = "203.0.113.1", "2001:db8:78::1"
OWN, OWN6, BESIDE = "203.0.113.10", "2001:db8:78::10", "198.51.100.10"
FAR, FAR6, BEYOND = "203.0.113.2", "2001:db8:78::2", "192.0.2.77"
GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD


@pytest.fixture
def wire() -> Iterator[Link]:
    with link("vs-ping", f"{HOST}/24", f"{HOST6}/64") as made:
        made.far("ip", "link", "set", "lo", "up")
        for text, device in ((f"{FAR}/24", made.there), (f"{FAR6}/64", made.there), (f"{BEYOND}/32", "lo")):
            made.far("ip", "address", "add", text, "dev", device, *(["nodad"] if ":" in text else []))
        made.far("ip", "route", "add", f"{BESIDE}/32", "dev", made.there)
        subprocess.run(["ip", "route", "add", "default", "via", FAR], check=True)
        yield made


def rules() -> str:
    listed = [["ip", version, "rule"] for version in ("-4", "-6")]
    return "".join(subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in listed)


def senders(frames: list[bytes]) -> set[str]:
    """The source addresses of the ICMP packets in ``frames``, but for what neighbours say to each other."""
    found = set()
    for frame in frames:
        kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
        if kind == ETH_P_IP and packet[9] == socket.IPPROTO_ICMP:
            found.add(str(ip_address(packet[12:16])))
        if kind == ETH_P_IPV6 and packet[6] == socket.IPPROTO_ICMPV6 and packet[40] in (128, 129):
            found.add(str(ip_address(packet[8:24])))
    return found


def test_ping_from_a_guest(guests: Guests, site: Site, wire: Link) -> None:
    def pings(*words: str) -> bool:
        return guests.exec("pinging", "ping", "-n", "-c", "1", "-W", "2", *words).returncode == 0

    def ask(**options: bool) -> None:
        changed = lifecycle.configure(site, "pinging", "binding", options)
        assert changed.changed and not changed.restart_required
        assert not lifecycle.configure(site, "pinging", "binding", options).changed

    GROUPS.write_text("1 0\n")
    quiet = rules()
    guests.start("pinging", init=SLEEP, addresses=[BESIDE, f"{OWN}/24", f"{OWN6}/64"])
    with wire.ear() as ear:
        assert not pings(FAR) and not pings(FAR6)
        assert senders(heard(ear, 0.1)) == set()
    ask(ping=True)
    for target, source in ((FAR, OWN), (FAR6, OWN6), (BEYOND, OWN)):
        with wire.ear() as ear:
            assert pings(target), f"{target} does not answer"
            assert senders(heard(ear, 0.1)) == {source}
    assert all(pings(target) for target in ("127.0.0.1", "::1", OWN6)) and pings("-I", BESIDE, FAR)
    assert not pings(HOST) and pings("-I", OWN, HOST), "of the host only bound sockets hear"
    with wire.ear() as ear:
        assert not pings("-I", HOST, FAR) and not pings("-I", HOST6, FAR6)
        assert senders(heard(ear, 0.1)) == set(), "an echo request left from the host's address"
    GROUPS.write_text("1 0\n")
    assert lifecycle.configure(site, "pinging", "binding", {}).before == {"ping": False}
    assert pings(FAR)
    ask(ping=False)
    assert not pings(FAR) and rules() == quiet
    ask(ping=True)
    lifecycle.set_state(site, "pinging", "restarted", {"timeout": 0})
    assert pings(FAR) and rules() != quiet
    lifecycle.set_state(site, "pinging", "stopped", {"timeout": 0})
    assert rules() == quiet
