# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses on the host's interfaces: read with psutil, changed over netlink with pyroute2.

pyroute2 takes 0.2 s to import, more than a guest takes to start. So both are imported where they are needed, and an
IPv6 loopback address, which every start needs, goes by ioctl.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Union

Address = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]


def addresses() -> dict[str, list[Address]]:
    """Interface name → its addresses with their prefixes."""
    import psutil

    found: dict[str, list[Address]] = {}
    for interface, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6) and entry.netmask:
                prefix = bin(int(ipaddress.ip_address(entry.netmask))).count("1")
                host = entry.address.partition("%")[0]
                found.setdefault(interface, []).append(ipaddress.ip_interface(f"{host}/{prefix}"))
    return found


def interfaces() -> list[str]:
    """The names of the host's interfaces."""
    return [name for _index, name in socket.if_nameindex()]


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
    """Put ``address`` on ``interface``; it may be there already. Raises OSError, also for an unknown interface."""
    _change("add", interface, address, harmless=errno.EEXIST)


def remove(interface: str, address: Address) -> None:
    """Take ``address`` off ``interface``; it and the interface may be gone already. Raises OSError."""
    if interface in interfaces():
        _change("del", interface, address, harmless=errno.EADDRNOTAVAIL)


def prepare() -> None:
    """Load what :func:`add` and :func:`remove` need for any address but one of ``lo``; takes 0.2 s, once a process."""
    import pyroute2  # noqa: F401


def _change(command: str, interface: str, address: Address, harmless: int) -> None:
    indices = {name: index for index, name in socket.if_nameindex()}
    try:
        if interface not in indices:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        index = indices[interface]
        if interface == "lo" and isinstance(address, ipaddress.IPv6Interface):
            _change_loopback6(command, index, address)
        else:
            _change_netlink(command, index, address)
    except OSError as error:
        if error.errno != harmless:
            way = "put {} on {}" if command == "add" else "take {} off {}"
            raise OSError(error.errno, f"{way.format(address, interface)}: {error.strerror}") from error


#: linux/if_addr.h: usable at once, without the second or two of duplicate address detection in which nobody can bind.
_IFA_F_NODAD = 0x02


def _change_netlink(command: str, index: int, address: Address) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as route:
            flags = {"flags": _IFA_F_NODAD} if command == "add" and address.version == 6 else {}
            route.addr(command, index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


# netdevice(7) and ipv6(7); struct in6_ifreq (include/uapi/linux/ipv6.h).
_SIOCSIFADDR, _SIOCDIFADDR = 0x8916, 0x8936


def _change_loopback6(command: str, index: int, address: ipaddress.IPv6Interface) -> None:
    request = _SIOCSIFADDR if command == "add" else _SIOCDIFADDR
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, request, struct.pack("=16sIi", address.packed, address.network.prefixlen, index))
