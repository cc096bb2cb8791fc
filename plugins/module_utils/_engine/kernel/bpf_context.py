# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of the structures eBPF programs work on: offset and size in bytes.

From include/uapi/linux/bpf.h; which program may read and write which is in net/core/filter.c. Addresses and
``user_port`` are in network byte order; a local port (``src_port``, ``local_port``) is in the machine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Field:
    """``size`` is 1, 2, 4 or 8."""

    offset: int
    size: int = 4

    def __add__(self, offset: int) -> Field:
        """The field of the same size ``offset`` bytes further on."""
        return Field(self.offset + offset, self.size)


def words(offset: int) -> tuple[Field, Field, Field, Field]:
    """The four quarters of an IPv6 address."""
    return Field(offset), Field(offset + 4), Field(offset + 8), Field(offset + 12)


class SockAddr:
    """struct bpf_sock_addr: the address a call names, and the socket it is made on."""

    USER_FAMILY: Final = Field(0)
    USER_IP4: Final = Field(4)
    USER_IP6: Final = words(8)
    USER_PORT: Final = Field(24)
    FAMILY: Final = Field(28)
    TYPE: Final = Field(32)
    PROTOCOL: Final = Field(36)
    MSG_SRC_IP4: Final = Field(40)
    MSG_SRC_IP6: Final = words(44)
    SK: Final = Field(64, 8)


class Sock:
    """struct bpf_sock: a socket."""

    BOUND_DEV_IF: Final = Field(0)
    FAMILY: Final = Field(4)
    TYPE: Final = Field(8)
    PROTOCOL: Final = Field(12)
    MARK: Final = Field(16)
    SRC_IP4: Final = Field(24)
    SRC_IP6: Final = words(28)
    SRC_PORT: Final = Field(44)
    STATE: Final = Field(72)


class SkBuff:
    """struct __sk_buff: a packet. ``PROTOCOL``, an Ethernet type, is in network byte order."""

    LEN: Final = Field(0)
    PROTOCOL: Final = Field(16)
    IFINDEX: Final = Field(40)
    DATA: Final = Field(76)
    DATA_END: Final = Field(80)
    GSO_SEGS: Final = Field(164)


class IPv4Header:
    """struct iphdr."""

    LENGTH: Final = 20
    VERSION_IHL: Final = Field(0, 1)
    PROTOCOL: Final = Field(9, 1)
    SOURCE: Final = Field(12)
    DESTINATION: Final = Field(16)


class IPv6Header:
    """struct ipv6hdr."""

    LENGTH: Final = 40
    NEXT_HEADER: Final = Field(6, 1)
    SOURCE: Final = words(8)
    DESTINATION: Final = words(24)


class SockaddrIn:
    """struct sockaddr_in."""

    LENGTH: Final = 16
    FAMILY: Final = Field(0, 2)
    PORT: Final = Field(2, 2)
    ADDRESS: Final = Field(4)
    PADDING: Final = Field(8, 8)


class SockaddrIn6:
    """struct sockaddr_in6."""

    LENGTH: Final = 28
    FAMILY: Final = Field(0, 2)
    PORT: Final = Field(2, 2)
    FLOWINFO: Final = Field(4)
    ADDRESS: Final = words(8)
    SCOPE_ID: Final = Field(24)


class Tuple4:
    """struct bpf_sock_tuple, IPv4: what a socket is looked up by; ``PORTS`` is both ports as they are in a header."""

    LENGTH: Final = 12
    SOURCE: Final = Field(0)
    DESTINATION: Final = Field(4)
    PORTS: Final = Field(8)
    DESTINATION_PORT: Final = Field(10, 2)


class Tuple6:
    """struct bpf_sock_tuple, IPv6."""

    LENGTH: Final = 36
    SOURCE: Final = words(0)
    DESTINATION: Final = words(16)
    PORTS: Final = Field(32)
    DESTINATION_PORT: Final = Field(34, 2)


class Sockopt:
    """struct bpf_sockopt: a call of setsockopt(2) or getsockopt(2)."""

    SK: Final = Field(0, 8)
    VALUE: Final = Field(8, 8)
    VALUE_END: Final = Field(16, 8)
    LEVEL: Final = Field(24)
    NAME: Final = Field(28)
    LENGTH: Final = Field(32)


class SockOps:
    """struct bpf_sock_ops: something that happened to a TCP socket."""

    OP: Final = Field(0)
    FAMILY: Final = Field(20)
    LOCAL_IP4: Final = Field(28)
    LOCAL_IP6: Final = words(48)
    LOCAL_PORT: Final = Field(68)
    SK: Final = Field(184, 8)


class SkLookup:
    """struct bpf_sk_lookup: a packet that looks for its listener."""

    FAMILY: Final = Field(8)
    PROTOCOL: Final = Field(12)
    LOCAL_IP4: Final = Field(40)
    LOCAL_IP6: Final = words(44)
    LOCAL_PORT: Final = Field(60)
