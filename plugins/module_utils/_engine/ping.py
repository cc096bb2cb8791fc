# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ping from a guest: the host's leave for its groups, and an own source address.

The binding's programs let ICMP echo sockets exist and drop what they send from foreign addresses. No hook is on such a
socket's way to choose its address, as there is for UDP (net/ipv4/ping.c, ping_v4_sendmsg). So routes choose it: a rule
for the guest's uids and ICMP alone leads to a copy of the main table in which each route prefers an own address.
Addresses of this host are found before any such rule, in the local table. But for the loopback address they answer only
sockets that are bound to an own address (``ping -I``).
"""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from .chbind.policy import BindingPolicy
from .errors import VserverError
from .kernel import route
from .kernel.route import Route
from .model import ID_COUNT, Guest

#: Lowest and highest group that may make echo sockets, IPv6's as well; lower > higher: none (icmp(7)).
_GROUP_RANGE = Path("/proc/sys/net/ipv4/ping_group_range")
#: Of a guest's routing table: "vs", then its xid.
_TABLE = 0x76730000
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 6}


def permitted(guest: Guest) -> bool:
    """Whether the host lets all groups of ``guest`` make echo sockets. Raises OSError."""
    low, high = _group_range()
    first, last = _ids(guest)
    return low <= first and last <= high


def up(guest: Guest, policy: BindingPolicy) -> None:
    """Let programs in ``guest`` ping from the policy's addresses, which are local already. Raises VserverError."""
    try:
        if not permitted(guest):
            low, high = _group_range()
            first, last = _ids(guest)
            widened = (min(low, first), max(high, last)) if low <= high else (first, last)
            _GROUP_RANGE.write_text("{} {}\n".format(*widened))
        if guest.context.user_namespace:
            _lay_routes(guest, policy)
    except OSError as error:
        raise VserverError(f"let guest {guest.name} ping", why=error.strerror or str(error)) from error


def down(guest: Guest) -> None:
    """Take the guest's routes away; the host's leave stays, which is worth nothing to others. Raises VserverError."""
    if not guest.context.user_namespace:
        return
    try:
        with route.opened() as netlink:
            for family in _FAMILIES:
                route.undirect_icmp(netlink, family, *_ids(guest), _TABLE | guest.xid)
                route.flush(netlink, family, _TABLE | guest.xid)
    except OSError as error:
        raise VserverError(f"take the routes of guest {guest.name} away", why=error.strerror or str(error)) from error


def _lay_routes(guest: Guest, policy: BindingPolicy) -> None:
    table = _TABLE | guest.xid
    with route.opened() as netlink:
        for family, version in _FAMILIES.items():
            chosen = [(way, source_for(way, policy, version)) for way in route.unicast(netlink, family)]
            route.flush(netlink, family, table)
            for way, source in sorted(chosen, key=lambda item: "gateway" in item[0].way):
                if source is not None:
                    route.add(netlink, family, table, way, source)
            route.direct_icmp(netlink, family, *_ids(guest), table)


def source_for(way: Route, policy: BindingPolicy, version: int) -> str | None:
    """The own address that packets on this route come from, or None when there is none for it (pure).

    The one in the network that the route, or its gateway, is in; else the first that is good beyond its link and host.
    """
    target = ipaddress.ip_address(way.way.get("gateway") or way.destination.split("/")[0])
    sources = policy.sources4 if version == 4 else policy.sources6
    for choice in sources:
        if target in choice.network:
            return str(choice.address)
    own = policy.ipv4 if version == 4 else policy.ipv6
    return next((str(address) for address in own if not (address.is_loopback or address.is_link_local)), None)


def _ids(guest: Guest) -> tuple[int, int]:
    """The first and the last uid, and gid, of the guest's processes as the host sees them."""
    first = guest.base_id if guest.context.user_namespace else 0
    return first, first + ID_COUNT - 1


def _group_range() -> tuple[int, int]:
    low, high = map(int, _GROUP_RANGE.read_text().split())
    return low, high
