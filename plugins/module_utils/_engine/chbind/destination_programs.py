# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where connect and sendmsg go inside a binding, and which address they come from, as BPF programs."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from ..kernel.bpf_assembler import Assembler, Code, Helper, Register
from ..kernel.bpf_context import Field, Sock, SockAddr, SockaddrIn, SockaddrIn6
from .policy import BindingPolicy
from .receivers import (
    divert_datagrams4,
    divert_datagrams6,
    refuse_wildcard_listener4,
    refuse_wildcard_listener6,
)
from .vocabulary import (
    ADDRESS,
    ANY4,
    ANY6,
    CTX,
    LOOPBACK6,
    MAPPED,
    MULTICAST4,
    MULTICAST6,
    QUARTERS,
    SCRATCH,
    SOURCE,
    Dialect,
    allow,
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

#: Below the frame pointer: a sockaddr_in6, or a sockaddr_in at the same place.
_STACK = -32


def connect4(policy: BindingPolicy, dialect: Dialect) -> Code:
    asm = start()
    asm.load(ADDRESS, CTX, SockAddr.USER_IP4)
    _destination4(asm, policy, dialect, SockAddr.USER_IP4, connecting=True)
    asm.label("source4")
    _unless_bound(asm, (Sock.SRC_IP4,), "allow")
    asm.move(SCRATCH, socket.AF_INET)
    asm.store(Register.R10, SockaddrIn.FAMILY + _STACK, SCRATCH)
    asm.store(Register.R10, SockaddrIn.ADDRESS + _STACK, SOURCE)
    asm.move(SCRATCH, 0)
    asm.store(Register.R10, SockaddrIn.PORT + _STACK, SCRATCH)
    asm.store(Register.R10, SockaddrIn.PADDING + _STACK, SCRATCH)
    _bind_source(asm, SockaddrIn.LENGTH)
    return _send_ending(asm, dialect)


def connect6(policy: BindingPolicy, dialect: Dialect) -> Code:
    asm = start()
    load6(asm, CTX, SockAddr.USER_IP6)
    _destination6(asm, policy, dialect, connecting=True)
    asm.label("mapped")
    asm.move(ADDRESS, QUARTERS[3])
    _destination4(asm, policy, dialect, SockAddr.USER_IP6[3], connecting=True)
    asm.label("source4")
    store6(asm, Register.R10, _stack6(), MAPPED.network_address)
    asm.store(Register.R10, _stack6()[3], SOURCE)
    asm.label("source6")
    _unless_bound(asm, Sock.SRC_IP6, "allow")
    asm.move(SCRATCH, socket.AF_INET6)
    asm.store(Register.R10, SockaddrIn6.FAMILY + _STACK, SCRATCH)
    asm.move(SCRATCH, 0)
    for field in (SockaddrIn6.PORT, SockaddrIn6.FLOWINFO, SockaddrIn6.SCOPE_ID):
        asm.store(Register.R10, field + _STACK, SCRATCH)
    _bind_source(asm, SockaddrIn6.LENGTH)
    return _send_ending(asm, dialect)


def sendmsg4(policy: BindingPolicy, dialect: Dialect) -> Code:
    asm = start()
    asm.load(ADDRESS, CTX, SockAddr.USER_IP4)
    _destination4(asm, policy, dialect, SockAddr.USER_IP4, connecting=False)
    asm.label("source4")
    asm.load(ADDRESS, CTX, SockAddr.MSG_SRC_IP4)
    asm.jump_if(ADDRESS, "!=", number(ANY4.packed), "explicit")
    asm.store(CTX, SockAddr.MSG_SRC_IP4, SOURCE)
    asm.jump("allow")
    asm.label("explicit")
    for own in policy.ipv4:
        if_is4(asm, ADDRESS, own, "allow")
    translate_loopback4(asm, policy, SockAddr.MSG_SRC_IP4, private="allow", real="allow")
    asm.jump("refuse")
    return _send_ending(asm, dialect)


def sendmsg6(policy: BindingPolicy, dialect: Dialect) -> Code:
    asm = start()
    load6(asm, CTX, SockAddr.USER_IP6)
    _destination6(asm, policy, dialect, connecting=False)
    asm.label("source6")
    load6(asm, CTX, SockAddr.MSG_SRC_IP6)
    if_is6(asm, ANY6, "implicit")
    for own in policy.ipv6:
        if_is6(asm, own, "allow")
    if policy.host_loopback:
        if_is6(asm, LOOPBACK6, "allow")
    if policy.loopback6:
        if_is6(asm, policy.loopback6, "allow")
        if_is6(asm, LOOPBACK6, "loopback source")
    asm.jump("refuse")
    asm.label("implicit")
    for destination, origin in zip(SockAddr.MSG_SRC_IP6, _stack6()):
        asm.load(SCRATCH, Register.R10, origin)
        asm.store(CTX, destination, SCRATCH)
    asm.jump("allow")
    if policy.loopback6:
        asm.label("loopback source")
        store6(asm, CTX, SockAddr.MSG_SRC_IP6, policy.loopback6)
        asm.jump("allow")
    # The kernel hands a datagram to an IPv4-mapped address to the IPv4 program, so this is not for us.
    asm.label("mapped")
    asm.jump("refuse")
    return _send_ending(asm, dialect)


def _stack6() -> tuple[Field, ...]:
    return tuple(field + _STACK for field in SockaddrIn6.ADDRESS)


def _destination4(asm: Assembler, policy: BindingPolicy, dialect: Dialect, field: Field, *, connecting: bool) -> None:
    """Decide about the destination in ADDRESS (and ``field``), and choose SOURCE for it; ends at "source4".

    Goes to "allow" where the kernel shall choose the source.
    """
    loopback = policy.host_loopback or policy.loopback4
    anywhere = IPv4Address("127.0.0.1") if loopback else policy.primary4
    if anywhere:
        specific = asm.unique("specific")
        asm.jump_if(ADDRESS, "!=", number(ANY4.packed), specific)
        asm.move(ADDRESS, number(anywhere.packed))
        asm.store(CTX, field, ADDRESS)
        asm.label(specific)
    for own in policy.loopback_range:
        asm.move(SOURCE, number(own.packed))
        if_is4(asm, ADDRESS, own, "source4")
    translate_loopback4(asm, policy, field, private="to loopback4", real="allow")
    if not policy.multicast:
        if_in4(asm, ADDRESS, MULTICAST4, "refuse")
        for broadcast in policy.broadcasts:
            if_is4(asm, ADDRESS, broadcast, "refuse")
    if policy.ipv4:
        asm.move(SOURCE, ADDRESS)
        for own in policy.ipv4:
            if_is4(asm, ADDRESS, own, "source4")
        for choice in policy.sources4:
            asm.move(SOURCE, number(choice.address.packed))
            if_in4(asm, ADDRESS, choice.network, "source4")
        asm.move(SOURCE, number(policy.ipv4[0].packed))
        asm.jump("source4")
    asm.jump("refuse")
    if policy.loopback4:
        asm.label("to loopback4")
        asm.move(SOURCE, number(policy.loopback4.packed))
        if connecting:
            refuse_wildcard_listener4(asm)
        if dialect.steering:
            divert_datagrams4(asm, policy, field)
        asm.jump("source4")


def _destination6(asm: Assembler, policy: BindingPolicy, dialect: Dialect, *, connecting: bool) -> None:
    """Decide about the destination in QUARTERS, and put the source for it on the stack; goes to "source6".

    Goes to "mapped" for IPv4 in disguise, to "allow" where the kernel shall choose the source.
    """
    default = policy.default_source6
    if_in6(asm, MAPPED, "mapped")
    if policy.host_loopback:
        if_is6(asm, ANY6, "allow")
        if_is6(asm, LOOPBACK6, "allow")
    elif policy.loopback6:
        for address in (ANY6, LOOPBACK6, policy.loopback6):
            if_is6(asm, address, "to loopback6")
    else:
        if_is6(asm, LOOPBACK6, "refuse")
        if_is6(asm, ANY6, "to default" if default else "refuse")
    if not policy.multicast:
        if_in6(asm, MULTICAST6, "refuse")
    for own in policy.ipv6:
        if not own.is_link_local:
            _from6(asm, own, IPv6Network(own))
    for choice in policy.sources6:
        _from6(asm, choice.address, choice.network)
    if default:
        store6(asm, Register.R10, _stack6(), default)
        asm.jump("source6")
    asm.jump("refuse")
    if policy.loopback6:
        asm.label("to loopback6")
        store6(asm, CTX, SockAddr.USER_IP6, policy.loopback6)
        store6(asm, Register.R10, _stack6(), policy.loopback6)
        if connecting:
            refuse_wildcard_listener6(asm)
        if dialect.steering:
            divert_datagrams6(asm, policy)
        asm.jump("source6")
    elif default:
        asm.label("to default")
        store6(asm, CTX, SockAddr.USER_IP6, default)
        store6(asm, Register.R10, _stack6(), default)
        asm.jump("source6")


def _from6(asm: Assembler, source: IPv6Address, network: IPv6Network) -> None:
    """Reach ``network`` from ``source``."""
    inside, outside = asm.unique("inside"), asm.unique("outside")
    if_in6(asm, network, inside)
    asm.jump(outside)
    asm.label(inside)
    store6(asm, Register.R10, _stack6(), source)
    asm.jump("source6")
    asm.label(outside)


def _unless_bound(asm: Assembler, source: tuple[Field, ...], target: str) -> None:
    """Jump when the socket has a source address, or a port (then it is too late to give it an address)."""
    asm.load(Register.R1, CTX, SockAddr.SK)
    for field in (*source, Sock.SRC_PORT):
        asm.load(SCRATCH, Register.R1, field)
        asm.jump_if(SCRATCH, "!=", 0, target)


def _bind_source(asm: Assembler, length: int) -> None:
    """Bind the socket to the address on the stack; the port stays open until the connection is made."""
    asm.move(Register.R1, CTX)
    asm.move(Register.R2, Register.R10)
    asm.add(Register.R2, _STACK)
    asm.move(Register.R3, length)
    asm.call(Helper.BIND)
    asm.jump_if(Register.R0, "!=", 0, "refuse")


def _send_ending(asm: Assembler, dialect: Dialect) -> Code:
    allow(asm)
    refuse(asm, "refuse", errno.EPERM, dialect)
    refuse(asm, "refused", errno.ECONNREFUSED, dialect)
    return asm.assemble()
