# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filters of a binding: what has no hook of its own is stopped here.

An echo socket's way to 127.0.0.1 or ::1 passes no hook that could turn it to the private loopback address. Where ping
is allowed it passes as it is: it goes from the host's loopback address to the very same, and no process hears it.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from ..kernel.bpf_assembler import Assembler, Code
from ..kernel.bpf_context import IPv4Header, IPv6Header, SkBuff
from .policy import BindingPolicy
from .receivers import check_loopback4, check_loopback6, ours_or_drop
from .traffic_counter import count
from .vocabulary import (
    ADDRESS,
    CTX,
    LOOPBACK4,
    LOOPBACK6,
    MULTICAST4,
    MULTICAST6,
    PACKET,
    SCRATCH,
    SOURCE,
    if_in4,
    if_in6,
    if_is4,
    if_is6,
    load6,
    need,
    number,
    start,
)

_LOCALHOST4 = IPv4Address("127.0.0.1")


def packets(policy: BindingPolicy, *, incoming: bool) -> Code:
    """Our side of every packet is an own address, and loopback addresses meet only own addresses of own sockets."""
    asm = start()
    asm.load(PACKET, CTX, SkBuff.DATA)
    need(asm, IPv4Header.LENGTH)
    asm.load(SCRATCH, PACKET, IPv4Header.VERSION_IHL)
    asm.shift_right(SCRATCH, 4)
    asm.jump_if(SCRATCH, "==", 6, "ipv6")
    asm.jump_if(SCRATCH, "!=", 4, "drop")
    _packets4(asm, policy, incoming=incoming)
    asm.label("ipv6")
    need(asm, IPv6Header.LENGTH)
    _packets6(asm, policy, incoming=incoming)
    ours_or_drop(asm)
    count(asm, incoming=incoming)
    asm.label("drop")
    asm.leave(0)
    return asm.assemble()


def _packets4(asm: Assembler, policy: BindingPolicy, *, incoming: bool) -> None:
    local, remote = ADDRESS, SOURCE
    asm.load(local, PACKET, IPv4Header.DESTINATION if incoming else IPv4Header.SOURCE)
    asm.load(remote, PACKET, IPv4Header.SOURCE if incoming else IPv4Header.DESTINATION)
    network = policy.loopback4_network
    if policy.ping and policy.loopback4:
        other = asm.unique("no echo")
        for end in (local, remote):
            asm.jump_if(end, "!=", number(_LOCALHOST4.packed), other)
        asm.load(SCRATCH, PACKET, IPv4Header.PROTOCOL)
        asm.jump_if(SCRATCH, "==", socket.IPPROTO_ICMP, "allow")
        asm.label(other)
    if policy.host_loopback:
        if_in4(asm, local, LOOPBACK4, "host loopback4")
    elif network:
        if_in4(asm, local, network, "loopback4")
        if_in4(asm, remote, network, "own4 to loopback")
    if_in4(asm, remote, LOOPBACK4, "own4" if policy.host_loopback else "loopback range")
    if not incoming and not policy.multicast:
        if_in4(asm, remote, MULTICAST4, "drop")
        for broadcast in policy.broadcasts:
            if_is4(asm, remote, broadcast, "drop")
    if incoming and policy.multicast:
        if_in4(asm, local, MULTICAST4, "allow")
        for broadcast in policy.broadcasts:
            if_is4(asm, local, broadcast, "allow")
    asm.label("own4")
    for own in policy.ipv4:
        if_is4(asm, local, own, "allow")
    asm.jump("drop")
    asm.label("own4 to loopback")
    for own in policy.ipv4:
        if_is4(asm, local, own, "private4")
    asm.jump("drop")
    asm.label("loopback range")
    for own in policy.loopback_range:
        if_is4(asm, local, own, "allow")
    asm.jump("drop")
    asm.label("host loopback4")
    if_in4(asm, remote, LOOPBACK4, "allow")
    asm.label("loopback4")
    if network:
        if_in4(asm, remote, network, "private4")
    for own in policy.ipv4:
        if_is4(asm, remote, own, "allow" if policy.host_loopback else "private4")
    asm.jump("drop")
    asm.label("private4")
    check_loopback4(asm, incoming=incoming)


def _packets6(asm: Assembler, policy: BindingPolicy, *, incoming: bool) -> None:
    local = IPv6Header.DESTINATION if incoming else IPv6Header.SOURCE
    remote = IPv6Header.SOURCE if incoming else IPv6Header.DESTINATION
    loopback = LOOPBACK6 if policy.host_loopback else policy.loopback6
    load6(asm, PACKET, local)
    if loopback:
        if_is6(asm, loopback, "loopback6")
    if policy.ping and policy.loopback6:
        if_is6(asm, LOOPBACK6, "echo6")
    if incoming and policy.multicast:
        if_in6(asm, MULTICAST6, "group6")
    for own in policy.ipv6:
        if_is6(asm, own, "own6")
    asm.jump("drop")
    if incoming and policy.multicast:
        asm.label("group6")
        load6(asm, PACKET, remote)
        for loopback6 in filter(None, (LOOPBACK6, policy.loopback6)):
            if_is6(asm, loopback6, "drop")
        asm.jump("allow")
    asm.label("own6")
    load6(asm, PACKET, remote)
    if policy.loopback6:
        if_is6(asm, policy.loopback6, "private6")
    if not policy.host_loopback:
        if_is6(asm, LOOPBACK6, "drop")
    if not incoming and not policy.multicast:
        if_in6(asm, MULTICAST6, "drop")
    asm.jump("allow")
    asm.label("loopback6")
    load6(asm, PACKET, remote)
    if loopback:
        if_is6(asm, loopback, "private6")
    for own in policy.ipv6:
        if_is6(asm, own, "private6")
    asm.jump("drop")
    if policy.ping and policy.loopback6:
        asm.label("echo6")
        load6(asm, PACKET, remote)
        asm.load(ADDRESS, PACKET, IPv6Header.NEXT_HEADER)
        asm.jump_if(ADDRESS, "!=", socket.IPPROTO_ICMPV6, "drop")
        if_is6(asm, LOOPBACK6, "allow")
        asm.jump("drop")
    asm.label("private6")
    if policy.host_loopback:
        asm.jump("allow")
    check_loopback6(asm, incoming=incoming)
