# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of a private loopback connection are the binding's own sockets.

To the kernel a guest's 127.hi.lo.1 is a local address as any other. A host's daemon on 0.0.0.0 listens there too, and a
host's process can send from there.

Outwards: the binding's own sockets are never bound to "any", with two exceptions: listen(2) without bind(2), and a
datagram socket that the kernel bound because it sent something. So a connection to a wildcard listener is refused (also
to an own one of the first kind), and a datagram, or what opens a connection, goes to a wildcard socket only if that
one's cgroup is ours: the kernel sends a SYN again when nobody has answered, and by then somebody else may listen.

Inwards: what opens a connection, and every datagram, has to come from a socket whose cgroup is ours. Of a sender that
has closed its socket already nothing is known any more; its packet passes.

A datagram to 127.0.0.1 or ::1 for which there is no socket goes to the context's own wildcard socket instead, which is
on the first address of the family (see ``wildcards``). So `dig @127.0.0.1` finds a name server that listens on "any".
"""

from __future__ import annotations

import socket

from ..kernel.bpf_assembler import Assembler, Helper, Register
from ..kernel.bpf_context import Field, IPv4Header, IPv6Header, Sock, SockAddr, Tuple4, Tuple6
from .policy import BindingPolicy
from .vocabulary import ADDRESS, CTX, PACKET, SCRATCH, SOURCE, need, number, store6
from .wildcards import load_wildcard, note_diverted

#: The number every program with such a check needs when it is loaded: the id of the cgroup it is attached to.
CGROUP = "cgroup"

#: Below the frame pointer, clear of a socket address.
_STACK = -72
_CURRENT_NETNS = -1
#: How deep in the tree the cgroup may be; which level it is on is not worth knowing.
_LEVELS = 16
_UDP_HEADER, _TCP_HEADER = 8, 20
_TCP_SYN, _TCP_ACK = 0x02, 0x10
_NO_OPTIONS = 0x45
_FOUND = PACKET


def refuse_wildcard_listener4(asm: Assembler) -> None:
    """In a connect program: go to "refused" if a TCP connection to the IPv4 address in ADDRESS meets a wildcard."""
    done = asm.unique("no listener")
    asm.load(SCRATCH, CTX, SockAddr.PROTOCOL)
    asm.jump_if(SCRATCH, "!=", socket.IPPROTO_TCP, done)
    for field in (Tuple4.SOURCE, Tuple4.DESTINATION):
        asm.store(Register.R10, field + _STACK, ADDRESS)
    _set_ports(asm, Tuple4.PORTS, Tuple4.DESTINATION_PORT)
    _look_up(asm, Helper.SK_LOOKUP_TCP, Tuple4.LENGTH, done)
    _refuse_if_wildcard(asm, (Sock.SRC_IP4,))
    asm.label(done)


def refuse_wildcard_listener6(asm: Assembler) -> None:
    """The same for the IPv6 address in the context."""
    done = asm.unique("no listener")
    asm.load(SCRATCH, CTX, SockAddr.PROTOCOL)
    asm.jump_if(SCRATCH, "!=", socket.IPPROTO_TCP, done)
    _set_addresses6(asm)
    _set_ports(asm, Tuple6.PORTS, Tuple6.DESTINATION_PORT)
    _look_up(asm, Helper.SK_LOOKUP_TCP, Tuple6.LENGTH, done)
    _refuse_if_wildcard(asm, Sock.SRC_IP6)
    asm.label(done)


def divert_datagrams4(asm: Assembler, policy: BindingPolicy, field: Field) -> None:
    """In a connect or sendmsg program, for the private loopback address in ADDRESS and ``field``; ADDRESS is lost."""
    if not policy.ipv4 or not policy.loopback4:
        return
    done, vacant = asm.unique("heard"), asm.unique("vacant")
    first = number(policy.ipv4[0].packed)
    asm.jump_if(ADDRESS, "!=", number(policy.loopback4.packed), done)
    asm.load(SCRATCH, CTX, SockAddr.PROTOCOL)
    asm.jump_if(SCRATCH, "!=", socket.IPPROTO_UDP, done)
    for part in (Tuple4.SOURCE, Tuple4.DESTINATION):
        asm.store(Register.R10, part + _STACK, ADDRESS)
    _set_ports(asm, Tuple4.PORTS, Tuple4.DESTINATION_PORT)
    _look_up(asm, Helper.SK_LOOKUP_UDP, Tuple4.LENGTH, vacant)
    _unless_anywhere(asm, (Sock.SRC_IP4,), done)
    asm.label(vacant)
    asm.move(SCRATCH, first)
    asm.store(Register.R10, Tuple4.DESTINATION + _STACK, SCRATCH)
    _look_up(asm, Helper.SK_LOOKUP_UDP, Tuple4.LENGTH, done)
    _unless_wildcard(asm, policy, socket.AF_INET, done)
    note_diverted(asm)
    asm.move(SCRATCH, first)
    asm.store(CTX, field, SCRATCH)
    asm.label(done)


def divert_datagrams6(asm: Assembler, policy: BindingPolicy) -> None:
    """The same for the IPv6 loopback address in the context. A dual-stack socket is on no IPv6 address, see there."""
    first = policy.default_source6
    if first is None:
        return
    done, vacant = asm.unique("heard"), asm.unique("vacant")
    asm.load(SCRATCH, CTX, SockAddr.PROTOCOL)
    asm.jump_if(SCRATCH, "!=", socket.IPPROTO_UDP, done)
    _set_addresses6(asm)
    _set_ports(asm, Tuple6.PORTS, Tuple6.DESTINATION_PORT)
    _look_up(asm, Helper.SK_LOOKUP_UDP, Tuple6.LENGTH, vacant)
    _unless_anywhere(asm, Sock.SRC_IP6, done)
    asm.label(vacant)
    store6(asm, Register.R10, tuple(part + _STACK for part in Tuple6.DESTINATION), first)
    _look_up(asm, Helper.SK_LOOKUP_UDP, Tuple6.LENGTH, done)
    _unless_wildcard(asm, policy, socket.AF_INET6, done)
    note_diverted(asm)
    store6(asm, CTX, SockAddr.USER_IP6, first)
    asm.label(done)


def check_loopback4(asm: Assembler, *, incoming: bool) -> None:
    """In a packet filter, for an IPv4 packet on the private loopback: "drop" it if the other end is not ours."""
    asm.load(SCRATCH, PACKET, IPv4Header.VERSION_IHL)
    asm.jump_if(SCRATCH, "!=", _NO_OPTIONS, "drop")
    asm.load(SCRATCH, PACKET, IPv4Header.PROTOCOL)
    addresses = (IPv4Header.SOURCE,), (IPv4Header.DESTINATION,)
    _check_loopback(asm, IPv4Header.LENGTH, addresses, (Sock.SRC_IP4,), incoming=incoming)


def check_loopback6(asm: Assembler, *, incoming: bool) -> None:
    """The same for an IPv6 packet; one with extension headers is dropped."""
    asm.load(SCRATCH, PACKET, IPv6Header.NEXT_HEADER)
    addresses = IPv6Header.SOURCE, IPv6Header.DESTINATION
    _check_loopback(asm, IPv6Header.LENGTH, addresses, Sock.SRC_IP6, incoming=incoming)


def _check_loopback(
    asm: Assembler,
    header: int,
    addresses: tuple[tuple[Field, ...], tuple[Field, ...]],
    bound: tuple[Field, ...],
    *,
    incoming: bool,
) -> None:
    """The protocol is in SCRATCH; "allow" and "drop" are where it goes."""
    tcp, udp = asm.unique("tcp"), asm.unique("udp")
    asm.jump_if(SCRATCH, "==", socket.IPPROTO_UDP, udp)
    asm.jump_if(SCRATCH, "==", socket.IPPROTO_TCP, tcp)
    for protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
        asm.jump_if(SCRATCH, "==", protocol, "allow")
    asm.jump("drop")
    found = asm.unique("found")
    asm.label(tcp)
    need(asm, header + _TCP_HEADER)
    asm.load(SCRATCH, PACKET, Field(header + 13, 1))
    asm.bit_and(SCRATCH, _TCP_SYN | _TCP_ACK)
    asm.jump_if(SCRATCH, "!=", _TCP_SYN, "allow")
    _copy_tuple(asm, header, addresses, reverse=incoming)
    _look_up(asm, Helper.SK_LOOKUP_TCP, _length(addresses), "allow")
    asm.jump(found)
    asm.label(udp)
    need(asm, header + _UDP_HEADER)
    _copy_tuple(asm, header, addresses, reverse=incoming)
    _look_up(asm, Helper.SK_LOOKUP_UDP, _length(addresses), "allow")
    asm.label(found)
    if not incoming:
        anywhere = asm.unique("anywhere")
        _load_bound_address(asm, bound)
        asm.jump_if(ADDRESS, "==", 0, anywhere)
        _release(asm)
        asm.jump("allow")
        asm.label(anywhere)
    asm.jump("ours or drop")


def _length(addresses: tuple[tuple[Field, ...], tuple[Field, ...]]) -> int:
    return 4 * (len(addresses[0]) + len(addresses[1]) + 1)


def _copy_tuple(
    asm: Assembler, header: int, addresses: tuple[tuple[Field, ...], tuple[Field, ...]], *, reverse: bool
) -> None:
    """Put on the stack what the receiver is looked up by, or with ``reverse`` the sender, as if it got an answer."""
    ports = Field(header, 2), Field(header + 2, 2)
    sides = (1, 0) if reverse else (0, 1)
    position = 0
    for field in (*addresses[sides[0]], *addresses[sides[1]], ports[sides[0]], ports[sides[1]]):
        asm.load(SCRATCH, PACKET, field)
        asm.store(Register.R10, Field(position + _STACK, field.size), SCRATCH)
        position += field.size


def _set_addresses6(asm: Assembler) -> None:
    for origin, source, destination in zip(SockAddr.USER_IP6, Tuple6.SOURCE, Tuple6.DESTINATION):
        asm.load(SCRATCH, CTX, origin)
        asm.store(Register.R10, source + _STACK, SCRATCH)
        asm.store(Register.R10, destination + _STACK, SCRATCH)


def _set_ports(asm: Assembler, ports: Field, destination: Field) -> None:
    asm.move(SCRATCH, 0)
    asm.store(Register.R10, ports + _STACK, SCRATCH)
    asm.load(SCRATCH, CTX, SockAddr.USER_PORT)
    asm.store(Register.R10, destination + _STACK, SCRATCH)


def _look_up(asm: Assembler, helper: Helper, length: int, nobody: str) -> None:
    """Put the socket that the tuple on the stack leads to in _FOUND (it has to be released), or jump."""
    asm.move(Register.R1, CTX)
    asm.move(Register.R2, Register.R10)
    asm.add(Register.R2, _STACK)
    asm.move(Register.R3, length)
    asm.move(Register.R4, _CURRENT_NETNS)
    asm.move(Register.R5, 0)
    asm.call(helper)
    asm.jump_if(Register.R0, "==", 0, nobody, wide=True)
    asm.move(_FOUND, Register.R0)


def _load_bound_address(asm: Assembler, fields: tuple[Field, ...]) -> None:
    """Put something in ADDRESS that is zero if the socket in _FOUND is bound to "any"."""
    asm.move(ADDRESS, 0)
    for field in fields:
        asm.load(SCRATCH, _FOUND, field)
        asm.bit_or(ADDRESS, SCRATCH)


def _release(asm: Assembler) -> None:
    asm.move(Register.R1, _FOUND)
    asm.call(Helper.SK_RELEASE)


def _unless_anywhere(asm: Assembler, fields: tuple[Field, ...], target: str) -> None:
    """Release the socket in _FOUND, and jump if it has an address."""
    _load_bound_address(asm, fields)
    _release(asm)
    asm.jump_if(ADDRESS, "!=", 0, target)


def _unless_wildcard(asm: Assembler, policy: BindingPolicy, family: int, target: str) -> None:
    """Release the socket in _FOUND, and jump if it is not the context's own, asking for "any" of this family."""
    load_wildcard(asm, policy, family, _FOUND)
    _release(asm)
    asm.jump_if(ADDRESS, "!=", 0, target)


def _refuse_if_wildcard(asm: Assembler, fields: tuple[Field, ...]) -> None:
    _load_bound_address(asm, fields)
    _release(asm)
    asm.jump_if(ADDRESS, "==", 0, "refused")


def ours_or_drop(asm: Assembler) -> None:
    """In a packet filter: where the checks of both families go with the socket they have found."""
    level = ADDRESS
    asm.label("ours or drop")
    asm.load_number(SOURCE, CGROUP)
    asm.move(level, 1)
    asm.label("next level")
    asm.move(Register.R1, _FOUND)
    asm.move(Register.R2, level)
    asm.call(Helper.SK_ANCESTOR_CGROUP_ID)
    asm.jump_if(Register.R0, "==", SOURCE, "ours", wide=True)
    asm.add(level, 1)
    asm.jump_if(level, "<=", _LEVELS, "next level", wide=True)
    _release(asm)
    asm.jump("drop")
    asm.label("ours")
    _release(asm)
    asm.jump("allow")
