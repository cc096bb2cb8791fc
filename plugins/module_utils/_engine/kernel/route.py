# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes and routing rules, over netlink with pyroute2 (ip-route(8), ip-rule(8), rtnetlink(7))."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyroute2 import IPRoute

MAIN_TABLE = 254
_UNICAST = 1
#: Attributes that say where packets of a route go, of those in a routing message.
_WAY = ("gateway", "oif", "priority", "multipath", "metrics", "via")
_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}


@dataclass(frozen=True)
class Route:
    """A unicast route: where to (``address/prefix``), and by what way, as pyroute2 names and values it."""

    destination: str
    way: Mapping[str, Any]


@contextmanager
def opened() -> Iterator[IPRoute]:
    """A netlink socket for a ``with`` block. Raises OSError, also in place of pyroute2's own errors."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        raise OSError(error.code, str(error)) from error


def unicast(netlink: IPRoute, family: int) -> list[Route]:
    """The unicast routes of the main table."""
    found = []
    for message in netlink.get_routes(family=family, table=MAIN_TABLE):
        if message["type"] == _UNICAST:
            way = {name: message.get_attr(f"RTA_{name.upper()}") for name in _WAY}
            anywhere = "0.0.0.0" if family == socket.AF_INET else "::"
            destination = f"{message.get_attr('RTA_DST') or anywhere}/{message['dst_len']}"
            found.append(Route(destination, {name: value for name, value in way.items() if value is not None}))
    return found


def add(netlink: IPRoute, family: int, table: int, route: Route, source: str) -> None:
    """Put ``route`` into ``table``, with ``source`` as the address that unbound sockets get. Raises OSError."""
    netlink.route("replace", family=family, table=table, dst=route.destination, prefsrc=source, **route.way)


def flush(netlink: IPRoute, family: int, table: int) -> None:
    """Empty ``table``."""
    netlink.flush_routes(family=family, table=table)


def direct_icmp(netlink: IPRoute, family: int, first: int, last: int, table: int) -> None:
    """Have ICMP sockets of the uids ``first`` to ``last`` look into ``table`` before the main one. Linux 4.17."""
    _tolerating(errno.EEXIST, lambda: netlink.rule("add", **_rule(family, first, last, table)))


def undirect_icmp(netlink: IPRoute, family: int, first: int, last: int, table: int) -> None:
    """The reverse; fine when there is no such rule."""
    _tolerating(errno.ENOENT, lambda: netlink.rule("del", **_rule(family, first, last, table)))


def _rule(family: int, first: int, last: int, table: int) -> dict[str, Any]:
    protocol = _PROTOCOLS[socket.AddressFamily(family)]
    way = {"table": table, "priority": 32000, "action": "to_tbl", "ip_proto": protocol}
    return {"family": family, "uid_range": f"{first}:{last}", **way}


def _tolerating(number: int, call: Callable[[], object]) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        call()
    except NetlinkError as error:
        if error.code not in (number, errno.EAFNOSUPPORT):
            raise
