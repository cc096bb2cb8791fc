# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses on the host's interfaces, read and changed over rtnetlink(7)."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Union

from . import netlink

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Address = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]


#: linux/rtnetlink.h and linux/if_addr.h.
_NEW, _DELETE, _GET, _GET_ROUTE = 20, 21, 22, 26
_CREATE_ONLY = 0x600  # NLM_F_CREATE, NLM_F_EXCL
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8
#: Usable at once, without the second or two of duplicate address detection in which nobody can bind.
_NO_DETECTION = struct.pack("=I", 0x02)
_ROUTE = struct.Struct("=BB5xBI")  # struct rtmsg: family, prefix length, type, flags
_LOCAL_ROUTE, _MATCHED_ENTRY = 2, 0x2000  # RTN_LOCAL, RTM_F_FIB_MATCH
#: No such address, and no route to it at all.
_NOT_THERE = (errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
#: linux/if_addrlabel.h; struct ifaddrlblmsg: family, prefix length, index of an interface.
_NEW_LABEL, _DELETE_LABEL = 72, 73
_LABEL_ADDRESS, _LABEL = 1, 2
_LABEL_MESSAGE = struct.Struct("=BxBxI4x")
#: "vs". The kernel's own labels, and those that operators give, are small numbers.
_OURS = struct.pack("=I", 0x7673)
_MESSAGE = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index


def addresses() -> dict[str, list[Address]]:
    """Interface name → its addresses with their prefixes."""
    names = dict(socket.if_nameindex())
    found: dict[str, list[Address]] = {}
    for message in netlink.dump(socket.NETLINK_ROUTE, _GET, _MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, prefix, _flags, _scope, index = _MESSAGE.unpack_from(message)
        told = dict(netlink.attributes(message[_MESSAGE.size :]))
        packed = told.get(_LOCAL) or told.get(_ADDRESS)  # of a tunnel, _ADDRESS is the other end
        if family in (socket.AF_INET, socket.AF_INET6) and packed is not None and index in names:
            found.setdefault(names[index], []).append(ipaddress.ip_interface((packed, prefix)))
    return found


def is_own(address: IP) -> bool:
    """Whether an interface has ``address``, in constant time, however many there are.

    IPv4 has no such question, so the routing tables are asked; before Linux 4.13 a neighbour on a network of the
    loopback interface passes for one as well. Raises OSError.
    """
    wanted = netlink.attribute(_ADDRESS, address.packed)
    try:
        if address.version == 6:
            return bool(netlink.route(_GET, _MESSAGE.pack(socket.AF_INET6, 0, 0, 0, 0) + wanted))
        (answer,) = netlink.route(_GET_ROUTE, _ROUTE.pack(socket.AF_INET, 32, 0, _MATCHED_ENTRY) + wanted)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise
    _family, matched, kind, _flags = _ROUTE.unpack_from(answer)
    return bool(kind == _LOCAL_ROUTE and matched == 32)


def interfaces() -> list[str]:
    """The names of the host's interfaces."""
    return [name for _index, name in socket.if_nameindex()]


def is_interface(name: str) -> bool:
    """Whether the host has an interface of this name."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False


def interface_for(address: Address, present: Mapping[str, list[Address]]) -> str:
    """The interface whose network holds ``address``, else the loopback interface (pure)."""
    for interface, own in present.items():
        for other in own:
            if other.version == address.version and address.ip in other.network and other.network.num_addresses > 1:
                return interface
    return "lo"


def has_ipv6() -> bool:
    """Whether the loopback interface can have IPv6 addresses here."""
    try:
        return Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False


def add(interface: str, address: Address) -> None:
    """Put ``address`` on ``interface``; it may be there already. Raises OSError, also for an unknown interface.

    Nobody gets it as a source who has not asked for it: of several IPv6 addresses on an interface the kernel would take
    the one that is most like the destination.
    """
    _set_apart(_NEW_LABEL, interface, address, harmless=errno.EEXIST)
    _change("add", interface, address, harmless=errno.EEXIST)


def remove(interface: str, address: Address) -> None:
    """Take ``address`` off ``interface``; it and the interface may be gone already. Raises OSError."""
    if interface in interfaces():
        _change("del", interface, address, harmless=errno.EADDRNOTAVAIL)
    _set_apart(_DELETE_LABEL, interface, address, harmless=errno.ESRCH)


def _set_apart(kind: int, interface: str, address: Address, harmless: int) -> None:
    """Give an address a label that no destination has, or take it away (RFC 6724, rule 6; ip-addrlabel(8)).

    On the loopback interface rule 5, which prefers addresses of the outgoing interface, does the same.
    """
    if address.version == 4 or interface == "lo":
        return
    request = _LABEL_MESSAGE.pack(socket.AF_INET6, address.max_prefixlen, 0)
    request += netlink.attribute(_LABEL_ADDRESS, address.packed) + netlink.attribute(_LABEL, _OURS)
    try:
        netlink.route(kind, request, _CREATE_ONLY if kind == _NEW_LABEL else 0)
    except OSError as error:
        if error.errno != harmless:
            raise OSError(error.errno, f"label {address.ip}: {error.strerror}") from error


def _change(command: str, interface: str, address: Address, harmless: int) -> None:
    indices = {name: index for index, name in socket.if_nameindex()}
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        if interface not in indices:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        request = _MESSAGE.pack(family, address.network.prefixlen, 0, 0, indices[interface])
        request += netlink.attribute(_LOCAL, address.packed) + netlink.attribute(_ADDRESS, address.packed)
        if command == "del":
            netlink.route(_DELETE, request)
        else:
            detection = netlink.attribute(_FLAGS, _NO_DETECTION) if address.version == 6 else b""
            netlink.route(_NEW, request + detection, _CREATE_ONLY)
    except OSError as error:
        if error.errno != harmless:
            way = "put {} on {}" if command == "add" else "take {} off {}"
            raise OSError(error.errno, f"{way.format(address, interface)}: {error.strerror}") from error
