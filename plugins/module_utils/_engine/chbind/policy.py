# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an address binding allows: the typed policy the binding's programs are generated from. No effects."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Union

Interface = Union[IPv4Interface, IPv6Interface]

#: Of one family. Programs compare addresses one by one, and a jump reaches 32767 instructions.
ADDRESSES_MAX = 256

#: What 127.0.0.1 and ::1 are inside a binding: addresses of its own, the host's, or nothing.
LOOPBACKS = ("private", "host", "none")

#: fd, then "vserver" in ASCII: unique local addresses (RFC 4193), one per xid.
_LOOPBACK6 = "fd76:7365:7276:6572::"

_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class Source4:
    """Destinations in ``network`` are reached from ``address``, if the socket is not bound."""

    network: IPv4Network
    address: IPv4Address


@dataclass(frozen=True)
class Source6:
    """The same for IPv6."""

    network: IPv6Network
    address: IPv6Address


@dataclass(frozen=True)
class BindingPolicy:
    """The addresses a cgroup's sockets may use, and how.

    * xid: number of the context; 0 for the host's own services
    * ipv4, ipv6: own addresses; the first of each family is what a bind to "any" and an unbound connect get
    * loopback4: stands for 127.0.0.1; its whole /24 is the binding's (127.0.0.x is 127.hi.lo.x); None: no IPv4 loopback
    * loopback6: stands for ::1, and has to exist on the host's ``lo``; None: no IPv6 loopback
    * host_loopback: use the host's 127.0.0.0/8 and ::1 themselves; excludes loopback4 and loopback6
    * sources: own address per destination network, longest prefix first
    * ping: allow ICMP echo sockets
    * multicast: allow multicast and broadcast
    * mark: firewall mark given to every new socket, 0 for none
    """

    xid: int = 0
    ipv4: tuple[IPv4Address, ...] = ()
    ipv6: tuple[IPv6Address, ...] = ()
    loopback4: IPv4Address | None = None
    loopback6: IPv6Address | None = None
    host_loopback: bool = False
    sources4: tuple[Source4, ...] = ()
    sources6: tuple[Source6, ...] = ()
    ping: bool = False
    multicast: bool = False
    mark: int = 0

    def __post_init__(self) -> None:
        if self.host_loopback and (self.loopback4 or self.loopback6):
            raise ValueError("a binding has the host's loopback or a private one, not both")
        if max(len(self.ipv4), len(self.ipv6)) > ADDRESSES_MAX:
            raise ValueError(f"a binding has at most {ADDRESSES_MAX} addresses of one family")
        if self.loopback4 and not self.loopback4.is_loopback:
            raise ValueError(f"{self.loopback4} is no loopback address")
        own: tuple[IPv4Address | IPv6Address, ...] = (*self.ipv4, *self.ipv6)
        for address in own:
            if (
                address.is_unspecified
                or address.is_multicast
                or address == _BROADCAST
                or _is_mapped(address)
                or address == IPv6Address("::1")
            ):
                raise ValueError(f"{address} cannot be an address of a binding")
        if {source.address for source in self.sources4} - set(self.ipv4) or {
            source.address for source in self.sources6
        } - set(self.ipv6):
            raise ValueError("a source address has to be one of the binding's own")

    @property
    def owner(self) -> int:
        """Number of the context in what steers packets, where 0 is nobody; 1 is never a guest's and so the host's."""
        return self.xid or 1

    @property
    def primary4(self) -> IPv4Address | None:
        """What 0.0.0.0 means to bind(2)."""
        return self.ipv4[0] if self.ipv4 else self.loopback4

    @property
    def loopback_range(self) -> tuple[IPv4Address, ...]:
        """Own addresses in 127.0.0.0/8: local without an interface, and the host reaches them from 127.0.0.1."""
        return tuple(address for address in self.ipv4 if address.is_loopback)

    @property
    def default_source6(self) -> IPv6Address | None:
        """Where an unbound connect comes from; a link-local address never, it needs an interface beside it."""
        return next((address for address in self.ipv6 if not address.is_link_local), None)

    @property
    def primary6(self) -> IPv6Address | IPv4Address | None:
        """What :: means to bind(2): the first IPv6 address, else an IPv4 address (mapped), else the IPv6 loopback."""
        return self.default_source6 or (self.ipv4[0] if self.ipv4 else None) or self.loopback6 or self.loopback4

    @functools.cached_property
    def loopback4_network(self) -> IPv4Network | None:
        """What 127.0.0.0/24 means to the binding."""
        return IPv4Network((self.loopback4, 24), strict=False) if self.loopback4 else None

    @property
    def broadcasts(self) -> tuple[IPv4Address, ...]:
        """The limited broadcast address and those of the networks we know of; an own address is none."""
        known = {source.network.broadcast_address for source in self.sources4 if source.network.prefixlen <= 30}
        return (_BROADCAST, *sorted(known - {_BROADCAST, *self.ipv4}))

    @property
    def has_ipv4(self) -> bool:
        return bool(self.ipv4 or self.loopback4 or self.host_loopback)

    @property
    def has_ipv6(self) -> bool:
        return bool(self.ipv6 or self.loopback6 or self.host_loopback)


def _is_mapped(address: IPv4Address | IPv6Address) -> bool:
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


@functools.lru_cache(maxsize=4096)
def loopback_texts(xid: int) -> tuple[str, str]:
    """Return the private 127.0.0.1 and ::1 of a context, as ``ipaddress`` writes them.

    The first is 127.(xid >> 8).(xid & 255).1, as Linux-VServer computed it (kernel/vserver/network.c).
    """
    return f"127.{xid >> 8}.{xid & 255}.1", f"{_LOOPBACK6}{xid:x}"


def loopback_addresses(xid: int) -> tuple[IPv4Address, IPv6Address]:
    """Return what :func:`loopback_texts` does, to calculate with."""
    loopback4, loopback6 = loopback_texts(xid)
    return IPv4Address(loopback4), IPv6Address(loopback6)


def policy_of(
    xid: int,
    interfaces: Iterable[Interface],
    *,
    loopback: str = "private",
    ping: bool = False,
    multicast: bool = False,
    mark: int = 0,
) -> BindingPolicy:
    """Return the policy of a context that owns ``interfaces`` (address/prefix).

    ``loopback`` is one of :data:`LOOPBACKS`. A destination inside an own network is reached from the own address there,
    the longest prefix first. Raises ValueError for addresses nobody can own.
    """
    own4: list[IPv4Interface] = []
    own6: list[IPv6Interface] = []
    for interface in interfaces:
        if isinstance(interface, IPv4Interface):
            own4.append(interface)
        else:
            own6.append(interface)
    loopback4, loopback6 = loopback_addresses(xid) if loopback == "private" else (None, None)
    sources4 = {own.network: Source4(own.network, own.ip) for own in reversed(own4) if own.network.prefixlen < 32}
    sources6 = {
        own.network: Source6(own.network, own.ip)
        for own in reversed(own6)
        if own.network.prefixlen < 128 and not own.is_link_local
    }
    return BindingPolicy(
        xid=xid,
        ipv4=tuple(dict.fromkeys(own.ip for own in own4)),
        ipv6=tuple(dict.fromkeys(own.ip for own in own6)),
        loopback4=loopback4,
        loopback6=loopback6,
        host_loopback=loopback == "host",
        sources4=tuple(sorted(sources4.values(), key=lambda source: -source.network.prefixlen)),
        sources6=tuple(sorted(sources6.values(), key=lambda source: -source.network.prefixlen)),
        ping=ping,
        multicast=multicast,
        mark=mark,
    )
