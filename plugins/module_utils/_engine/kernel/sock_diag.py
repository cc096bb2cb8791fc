# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that wait for whoever comes, as the kernel lists them (sock_diag(7)).

/proc/net/tcp tells the same, but reading it walks through the table of all connections: 5 ms even when there are none.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
#: TCP_LISTEN; of UDP, TCP_CLOSE: without a peer (include/net/tcp_states.h).
_WAITING = {"tcp": 1 << 10, "udp": 1 << 7}

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INET_DIAG_SKV6ONLY, _INET_DIAG_CGROUP_ID = 11, 21
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2
_PORT = struct.Struct("!H")
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
#: struct inet_diag_msg: family; source port and address; uid, inode. What is left out is padding.
_MESSAGE = struct.Struct("=B3x2s2x16s16x12x12xII")


@dataclass(frozen=True)
class Socket:
    """A TCP listener, or a UDP socket without a peer.

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
    return [
        found
        for protocol in PROTOCOLS
        for family in (socket.AF_INET, socket.AF_INET6)
        for found in _dump(protocol, family)
    ]


def _dump(protocol: str, family: int) -> Iterator[Socket]:
    request = _REQUEST.pack(family, PROTOCOLS[protocol], 0, _WAITING[protocol])
    kind, flags = _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | _NLM_F_DUMP
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as channel:
        channel.send(_HEADER.pack(_HEADER.size + len(request), kind, flags, 0, 0) + request)
        while True:
            for kind, message in messages(channel.recv(1 << 16)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    number = -int.from_bytes(message[:4], sys.byteorder, signed=True)
                    if number == errno.ENOENT and family == socket.AF_INET6:
                        return  # IPv4 has been told of, so the kernel has no IPv6
                    raise OSError(number, f"list {protocol} sockets: {os.strerror(number)}")
                yield parse(protocol, message)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each message in a datagram of netlink(7) (pure)."""
    while len(data) >= _HEADER.size:
        length, kind, *_rest = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[max(_aligned(length), _HEADER.size) :]


def parse(protocol: str, message: bytes) -> Socket:
    """A struct inet_diag_msg and its attributes as a socket (pure)."""
    family, port, packed, uid, inode = _MESSAGE.unpack_from(message)
    address: IP = ipaddress.IPv4Address(packed[:4])
    if family == socket.AF_INET6:
        address = ipaddress.IPv6Address(packed)
        address = address.ipv4_mapped or address
    told = dict(_attributes(message[_MESSAGE.size :]))
    only6 = any(told.get(_INET_DIAG_SKV6ONLY, b""))
    group = int.from_bytes(told.get(_INET_DIAG_CGROUP_ID, b""), sys.byteorder)
    return Socket(protocol, address, _PORT.unpack(port)[0], only6, uid, inode, group)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[max(_aligned(length), _ATTRIBUTE.size) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
