# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program on setsockopt(2), run in the interpreter."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from socket import (
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    SO_BROADCAST,
    SO_REUSEADDR,
    SOL_SOCKET,
)
from socket import SOCK_DGRAM as UDP
from socket import SOCK_STREAM as TCP

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.option_program import options
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import BindingPolicy
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.wildcards import (
    ASKED,
    NOT_ONLY6,
    ONLY6,
    REUSE,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import Helper

from .bpf_machine import CONTEXT, PACKET, SOCKET, Machine

STORED = 0x60000000
ON, OFF = b"\1\0\0\0", b"\0\0\0\0"
UNCHANGED, DONE = 0, -1


def call(multicast: bool, kind: int, level: int, name: int, value: bytes, before: int = 0) -> tuple[int, int, int]:
    """Run the program; return its verdict, the length it leaves, and what is noted for the socket."""
    context, sock, stored = bytearray(40), bytearray(80), bytearray(struct.pack("=I", before))
    struct.pack_into("=QQQIII", context, 0, SOCKET, PACKET, PACKET + len(value), level, name, len(value))
    struct.pack_into("=I", sock, 8, kind)
    regions = {CONTEXT: context, SOCKET: sock, STORED: stored, PACKET: bytearray(value)}
    machine = Machine(regions, {Helper.SK_STORAGE_GET: lambda _ignored, arguments: STORED})
    policy = BindingPolicy(xid=514, ipv4=(IPv4Address("192.0.2.10"),), multicast=multicast)
    verdict = machine.run(options(policy).linked({ASKED: 1}))
    assert bytes(regions[PACKET]) == value
    return verdict, struct.unpack_from("=i", context, 32)[0], struct.unpack("=I", stored)[0]


@pytest.mark.parametrize(
    ("kind", "level", "name", "value", "before", "length", "after"),
    [
        (TCP, IPPROTO_IPV6, IPV6_V6ONLY, ON, 0, UNCHANGED, ONLY6),
        (UDP, IPPROTO_IPV6, IPV6_V6ONLY, OFF, 0, UNCHANGED, NOT_ONLY6),
        (TCP, IPPROTO_IPV6, IPV6_V6ONLY, OFF, ONLY6 | REUSE, UNCHANGED, NOT_ONLY6 | REUSE),
        (TCP, IPPROTO_IPV6, IPV6_V6ONLY, b"\0\1\0\0" + bytes(99), NOT_ONLY6, UNCHANGED, ONLY6),
        (TCP, IPPROTO_IPV6, IPV6_V6ONLY, ON[:3], 0, UNCHANGED, 0),
        (TCP, IPPROTO_IPV6, IPV6_V6ONLY, b"", 0, UNCHANGED, 0),
        (TCP, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ON, 0, UNCHANGED, 0),
        (TCP, SOL_SOCKET, IPV6_V6ONLY, ON, 0, UNCHANGED, 0),
        (TCP, IPPROTO_TCP, 1, ON, 0, UNCHANGED, 0),
        (UDP, SOL_SOCKET, SO_REUSEADDR, ON, 0, DONE, REUSE),
        (UDP, SOL_SOCKET, SO_REUSEADDR, OFF, REUSE | ONLY6, DONE, ONLY6),
        (UDP, SOL_SOCKET, SO_REUSEADDR, ON[:2], 0, UNCHANGED, 0),
        (TCP, SOL_SOCKET, SO_REUSEADDR, ON, 0, UNCHANGED, 0),
    ],
)
@pytest.mark.parametrize("multicast", [False, True])
def test_noted(
    multicast: bool, kind: int, level: int, name: int, value: bytes, before: int, length: int, after: int
) -> None:
    assert call(multicast, kind, level, name, value, before) == (1, length, after)


@pytest.mark.parametrize(
    ("level", "name"),
    [(IPPROTO_IP, 35), (IPPROTO_IP, 39), (IPPROTO_IP, 42), (IPPROTO_IP, 46)]
    + [(IPPROTO_IPV6, 20), (IPPROTO_IPV6, 42), (IPPROTO_IPV6, 46)],
)
def test_groups_are_joined_on_request_only(level: int, name: int) -> None:
    assert call(False, UDP, level, name, bytes(8))[0] == 0
    assert call(True, UDP, level, name, bytes(8)) == (1, UNCHANGED, 0)
    assert call(False, UDP, SOL_SOCKET, name, bytes(8)) == (1, UNCHANGED, 0)


def test_broadcast_has_an_effect_on_request_only() -> None:
    assert call(False, UDP, SOL_SOCKET, SO_BROADCAST, ON) == (1, DONE, 0)
    assert call(True, UDP, SOL_SOCKET, SO_BROADCAST, ON) == (1, UNCHANGED, 0)
