# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What socket, bind and the calls that show an address mean inside a binding, as BPF programs."""

from __future__ import annotations

import errno
import socket

from ..kernel.bpf_assembler import Assembler, Code
from ..kernel.bpf_context import Field, Sock, SockAddr
from .option_program import reuse_if_asked
from .policy import BindingPolicy
from .vocabulary import (
    ADDRESS,
    ANY4,
    ANY6,
    CTX,
    LOOPBACK4_SHOWN,
    LOOPBACK6,
    MAPPED,
    MULTICAST4,
    MULTICAST6,
    QUARTERS,
    SCRATCH,
    Dialect,
    allow,
    as_ipv6,
    exchange_network,
    if_in4,
    if_in6,
    if_is4,
    if_is6,
    load6,
    number,
    refuse,
    start,
    store6,
    translate_loopback4,
)
from .wildcards import bind_any6, note_wildcard4, show_any4, show_any6, unless_diverted


def bind4(policy: BindingPolicy, dialect: Dialect) -> Code:
    asm = start()
    asm.load(ADDRESS, CTX, SockAddr.USER_IP4)
    _bind_ipv4(asm, policy, dialect, SockAddr.USER_IP4)
    return _bind_ending(asm, dialect)


def bind6(policy: BindingPolicy, dialect: Dialect) -> Code:
    asm = start()
    load6(asm, CTX, SockAddr.USER_IP6)
    if_in6(asm, MAPPED, "mapped")
    if policy.host_loopback:
        if_is6(asm, LOOPBACK6, "allow")
    if policy.primary6:
        if_is6(asm, ANY6, "any")
    if policy.loopback6:
        # Only under this name: it is on an interface under its own as well, and servers bind to all they find there.
        if_is6(asm, LOOPBACK6, "loopback")
    for own in policy.ipv6:
        if_is6(asm, own, "allow")
    if policy.multicast:
        if_in6(asm, MULTICAST6, "allow")
    asm.jump("refuse")
    if policy.primary6:
        asm.label("any")
        if dialect.steering:
            bind_any6(asm, policy, only6_by_default=dialect.only6)
        else:
            store6(asm, CTX, SockAddr.USER_IP6, as_ipv6(policy.primary6))
            asm.jump("allow")
    if policy.loopback6:
        asm.label("loopback")
        store6(asm, CTX, SockAddr.USER_IP6, policy.loopback6)
        asm.jump("allow")
    asm.label("mapped")
    asm.move(ADDRESS, QUARTERS[3])
    _bind_ipv4(asm, policy, dialect, SockAddr.USER_IP6[3])
    return _bind_ending(asm, dialect)


def _bind_ipv4(asm: Assembler, policy: BindingPolicy, dialect: Dialect, field: Field) -> None:
    """Bind to the IPv4 address in ADDRESS, which is also in ``field`` of the context."""
    for own in policy.ipv4:
        if_is4(asm, ADDRESS, own, "allow")
    if policy.primary4:
        specific = asm.unique("specific")
        asm.jump_if(ADDRESS, "!=", number(ANY4.packed), specific)
        asm.move(ADDRESS, number(policy.primary4.packed))
        asm.store(CTX, field, ADDRESS)
        if dialect.steering:
            note_wildcard4(asm, policy)
        asm.jump("allow")
        asm.label(specific)
    translate_loopback4(asm, policy, field, private="allow", real="allow")
    if policy.multicast:
        if_in4(asm, ADDRESS, MULTICAST4, "allow")
        for broadcast in policy.broadcasts:
            if_is4(asm, ADDRESS, broadcast, "allow")
    asm.jump("refuse")


def _bind_ending(asm: Assembler, dialect: Dialect) -> Code:
    asm.label("allow")
    if dialect.steering:
        reuse_if_asked(asm)
    asm.leave(3 if dialect.low_ports else 1)
    refuse(asm, "refuse", errno.EADDRNOTAVAIL, dialect)
    return asm.assemble()


def show4(policy: BindingPolicy, *, own_and_steered: bool = False, diverted: bool = False) -> Code:
    """The private loopback is shown as 127.0.0.1; with ``own_and_steered`` a wildcard socket's own name as 0.0.0.0.

    With ``diverted`` a peer that was spoken to as 127.0.0.1 is shown as that, wherever it is.
    """
    asm = start()
    if own_and_steered:
        show_any4(asm)
    asm.load(ADDRESS, CTX, SockAddr.USER_IP4)
    _show_loopback4(asm, policy, SockAddr.USER_IP4, diverted=diverted)
    allow(asm)
    return asm.assemble()


def show6(policy: BindingPolicy, *, own_and_steered: bool = False, diverted: bool = False) -> Code:
    """The private loopback is shown as ::1, and mapped as ::ffff:127.0.0.1; a wildcard socket's own name as ::."""
    asm = start()
    if own_and_steered:
        show_any6(asm)
    load6(asm, CTX, SockAddr.USER_IP6)
    if_in6(asm, MAPPED, "mapped")
    if policy.loopback6:
        if_is6(asm, policy.loopback6, "loopback")
        if diverted and policy.default_source6:
            if_is6(asm, policy.default_source6, "first")
    asm.jump("allow")
    asm.label("first")
    unless_diverted(asm, "allow")
    asm.label("loopback")
    store6(asm, CTX, SockAddr.USER_IP6, LOOPBACK6)
    asm.jump("allow")
    asm.label("mapped")
    asm.move(ADDRESS, QUARTERS[3])
    _show_loopback4(asm, policy, SockAddr.USER_IP6[3], diverted=diverted)
    allow(asm)
    return asm.assemble()


def _show_loopback4(asm: Assembler, policy: BindingPolicy, field: Field, *, diverted: bool) -> None:
    network = policy.loopback4_network
    if network and policy.loopback4:
        if_in4(asm, ADDRESS, network, "private")
        if diverted and policy.ipv4:
            asm.jump_if(ADDRESS, "!=", number(policy.ipv4[0].packed), "allow")
            unless_diverted(asm, "allow")
            asm.move(ADDRESS, number(policy.loopback4.packed))
            asm.jump("private")
    asm.jump("allow")
    asm.label("private")
    exchange_network(asm, ADDRESS, LOOPBACK4_SHOWN)
    asm.store(CTX, field, ADDRESS)


def create(policy: BindingPolicy, dialect: Dialect) -> Code:
    """TCP and UDP, and ping on request, of the families the binding has addresses of."""
    asm = start()
    family, kind, protocol = QUARTERS[:3]
    asm.load(family, CTX, Sock.FAMILY)
    asm.load(kind, CTX, Sock.TYPE)
    asm.load(protocol, CTX, Sock.PROTOCOL)
    if policy.has_ipv4:
        asm.jump_if(family, "==", socket.AF_INET, "ipv4")
    if policy.has_ipv6:
        asm.jump_if(family, "==", socket.AF_INET6, "ipv6")
    asm.jump("family")
    for label, icmp in (("ipv4", socket.IPPROTO_ICMP), ("ipv6", socket.IPPROTO_ICMPV6)):
        asm.label(label)
        if policy.ping:
            _if_protocol(asm, socket.SOCK_DGRAM, icmp, "allow")
        asm.jump("common")
    asm.label("common")
    _if_protocol(asm, socket.SOCK_STREAM, socket.IPPROTO_TCP, "allow")
    _if_protocol(asm, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "allow")
    asm.jump_if(kind, "==", socket.SOCK_RAW, "raw")
    refuse(asm, "protocol", errno.EPROTONOSUPPORT, dialect)
    refuse(asm, "family", errno.EAFNOSUPPORT, dialect)
    refuse(asm, "raw", errno.EPERM, dialect)
    asm.label("allow")
    if policy.mark:
        asm.move(SCRATCH, policy.mark)
        asm.store(CTX, Sock.MARK, SCRATCH)
    asm.leave(1)
    return asm.assemble()


def _if_protocol(asm: Assembler, kind: int, protocol: int, target: str) -> None:
    """Jump when the socket is of this type and protocol."""
    other = asm.unique("other")
    asm.jump_if(QUARTERS[1], "!=", kind, other)
    asm.jump_if(QUARTERS[2], "==", protocol, target)
    asm.label(other)
