# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets as the kernel lists them (sock_diag(7)), first of all those that wait for whoever comes.

/proc/net/tcp tells the same, but reading it walks through the table of all connections: 5 ms even when there are none.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Union

from . import netlink

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
#: TCP_LISTEN; of UDP, TCP_CLOSE: without a peer (include/net/tcp_states.h).
_WAITING = {"tcp": 1 << 10, "udp": 1 << 7}
#: All but what is no process's yet or any more, and so in no group: SYN_RECV, TIME_WAIT, NEW_SYN_RECV.
_OWNED = {"tcp": ((1 << 32) - 1) & ~(1 << 3 | 1 << 6 | 1 << 12), "udp": (1 << 32) - 1}

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_INET_DIAG_SKV6ONLY, _INET_DIAG_CGROUP_ID = 11, 21
_REQUEST = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2
_PORT = struct.Struct("!H")
#: struct inet_diag_msg: family; source port and address; uid, inode. What is left out is padding.
_MESSAGE = struct.Struct("=B3x2s2x16s16x12x12xII")


@dataclass(frozen=True)
class Socket:
    """A TCP or UDP socket, in :func:`waiting` a listener or one without a peer.

    * address: what it is bound to, 0.0.0.0 or :: for every address; a mapped IPv4 address is the IPv4 one
    * only6: on :: and without IPv4
    * uid: its creator's; inode: names it in /proc/PID/fd
    * cgroup: id of the v2 group its creator was in; 0 where the kernel does not tell (< 5.8)
    """

    protocol: str
    address: IP
    port: int
    only6: bool
    uid: int
    inode: int
    cgroup: int


def waiting() -> list[Socket]:
    """The waiting sockets of the calling process's network namespace. Raises OSError where the kernel cannot tell."""
    return _all(_WAITING)


def everything() -> list[Socket]:
    """All TCP and UDP sockets that processes have, of the calling process's network namespace. Raises OSError."""
    return _all(_OWNED)


def _all(states: Mapping[str, int]) -> list[Socket]:
    return [
        found
        for protocol in PROTOCOLS
        for family in (socket.AF_INET, socket.AF_INET6)
        for found in _dump(protocol, family, states[protocol])
    ]


def _dump(protocol: str, family: int, states: int) -> Iterator[Socket]:
    request = _REQUEST.pack(family, PROTOCOLS[protocol], 0, states)
    try:
        for message in netlink.dump(_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, request):
            yield parse(protocol, message)
    except OSError as error:
        if error.errno != errno.ENOENT or family != socket.AF_INET6:  # IPv4 has been told of: the kernel has no IPv6
            raise OSError(error.errno, f"list {protocol} sockets: {error.strerror}") from error


def parse(protocol: str, message: bytes) -> Socket:
    """A struct inet_diag_msg and its attributes as a socket (pure)."""
    family, port, packed, uid, inode = _MESSAGE.unpack_from(message)
    address: IP = ipaddress.IPv4Address(packed[:4])
    if family == socket.AF_INET6:
        address = ipaddress.IPv6Address(packed)
        address = address.ipv4_mapped or address
    told = dict(netlink.attributes(message[_MESSAGE.size :]))
    only6 = any(told.get(_INET_DIAG_SKV6ONLY, b""))
    group = int.from_bytes(told.get(_INET_DIAG_CGROUP_ID, b""), sys.byteorder)
    return Socket(protocol, address, _PORT.unpack(port)[0], only6, uid, inode, group)
