# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One wildcard listener answers on every address of its binding: the programs that see to it. No effects.

The bind programs still put a socket that asks for "any" on one address, so a port stays free for everybody else. They
also note on the socket that it asked for any, and of which family. When it starts to listen, the listen program enters
it in a table of sockets. A packet that looks for a listener on an address of some binding is steered by one program per
network namespace: to what listens there explicitly, else to the binding's wildcard listener. Accepted sockets show the
address the client spoke to, and getsockname(2) on the listener shows "any", as programs that hand their sockets on to a
new process (nginx, HAProxy) expect.

A dual-stack socket (:: without IPV6_V6ONLY) is put on an IPv4 address, mapped, because only then does the kernel let it
serve both families; an IPv6-only one on an IPv6 address. So pairs of an IPv4 and an IPv6-only socket (nginx, sshd) work
as well as dual-stack servers (Go, Java, Node). That bind can tell them apart takes a look at setsockopt(IPV6_V6ONLY).

Only TCP listeners are steered, because there is no event in the life of a datagram socket at which a program could
enter it in the table: an unconnected datagram socket on "any" hears its one address. What its own guest sends to
127.0.0.1 or ::1 is diverted there, see ``receivers``.
"""

from __future__ import annotations

import functools
import socket
from ipaddress import IPv4Address, IPv6Address

from ..kernel.bpf_assembler import Assembler, Code, Helper, Register
from ..kernel.bpf_context import Field, SkLookup, Sock, SockAddr, SockOps, words
from .policy import BindingPolicy
from .vocabulary import (
    ADDRESS,
    ANY6,
    CTX,
    MAPPED,
    SCRATCH,
    SOURCE,
    allow,
    as_ipv6,
    quarters,
    start,
    store6,
)

#: Maps the programs use. What a socket asked for; (address, owner, port, family) → listener; address → owners.
ASKED, LISTENERS, ADDRESSES = "vs_asked", "vs_listeners", "vs_owners"

#: Bits in ASKED. ONLY6, NOT_ONLY6: asked with IPV6_V6ONLY; REUSE: with SO_REUSEADDR, for datagrams; _DIVERTED: sent to
#: localhost what a wildcard socket shall hear.
_WILDCARD4, _WILDCARD6, ONLY6, NOT_ONLY6, _DIVERTED, REUSE = 1, 2, 4, 8, 16, 32
#: In ASKED, a wildcard socket's owner.
_OWNER_SHIFT, _OWNER_MASK = 8, 0xFFFF00


class ListenerKey:
    """Key of LISTENERS. By address, or a wildcard one by the context that owns it, family and slot."""

    LENGTH = 24
    ADDRESS = words(0)
    OWNER = Field(16)
    PORT = Field(20, 2)
    FAMILY = Field(22, 1)
    SLOT = Field(23, 1)


#: Several sockets can listen on one port (SO_REUSEPORT); as long as one of this many is left, packets find it.
_SLOTS = 4
#: Contexts that can share one address.
OWNERS = 4
_KEY = -ListenerKey.LENGTH
_CREATE = 1
_NO_OVERWRITE = 1
_TCP_LISTEN = 11
#: enum in include/net/tcp_states.h; an unconnected datagram socket is "closed".
_STATE_CLOSE, _STATE_LISTEN = 7, 10


def note_wildcard4(asm: Assembler, policy: BindingPolicy) -> None:
    """In a bind program, after 0.0.0.0 was asked for; "refuse" when there is no memory."""
    _note(asm, _WILDCARD4 | policy.owner << _OWNER_SHIFT)


def bind_any6(asm: Assembler, policy: BindingPolicy, *, only6_by_default: bool) -> None:
    """In a bind program, after :: was asked for: choose the address and go to "allow" (or "refuse")."""
    only6 = policy.default_source6 or policy.loopback6
    dual: IPv4Address | IPv6Address | None = policy.ipv4[0] if policy.ipv4 else policy.loopback4
    asked(asm, create=True)
    asm.jump_if(SCRATCH, "==", 0, "refuse", wide=True)
    asm.load(SOURCE, SCRATCH, Field(0))
    asm.jump_if(SOURCE, "&", ONLY6, "only6")
    if only6_by_default:
        asm.jump_if(SOURCE, "&", NOT_ONLY6, "dual")
        asm.jump("only6")
    asm.label("dual")
    for label, address, flags in (("", dual or only6, _WILDCARD4 | _WILDCARD6), ("only6", only6, _WILDCARD6)):
        if label:
            asm.label(label)
        if address is None:
            asm.jump("refuse")
            continue
        asm.bit_or(SOURCE, flags | policy.owner << _OWNER_SHIFT)
        asm.store(SCRATCH, Field(0), SOURCE)
        store6(asm, CTX, SockAddr.USER_IP6, as_ipv6(address))
        asm.jump("allow")


def show_any4(asm: Assembler) -> None:
    """In a getsockname program, on an IPv4 socket: show 0.0.0.0 and go to "allow" if that is what it asked for."""
    done = asm.unique("not any")
    _unless_waiting(asm, done)
    asm.jump_if(SOURCE, "&", _WILDCARD4, "any")
    asm.jump(done)
    asm.label("any")
    asm.move(SCRATCH, 0)
    asm.store(CTX, SockAddr.USER_IP4, SCRATCH)
    asm.jump("allow")
    asm.label(done)


def show_any6(asm: Assembler) -> None:
    """The same on an IPv6 socket: ::, or mapped 0.0.0.0."""
    done = asm.unique("not any")
    _unless_waiting(asm, done)
    for flag, label, address in ((_WILDCARD6, "any", ANY6), (_WILDCARD4, "any mapped", MAPPED.network_address)):
        other = asm.unique("other")
        asm.jump_if(SOURCE, "&", flag, label)
        asm.jump(other)
        asm.label(label)
        store6(asm, CTX, SockAddr.USER_IP6, address)
        asm.jump("allow")
        asm.label(other)
    asm.label(done)


def _unless_waiting(asm: Assembler, target: str) -> None:
    """Put what the context's socket asked for in SOURCE; jump if that is nothing, or if it is connected."""
    asked(asm, create=False)
    asm.jump_if(SCRATCH, "==", 0, target, wide=True)
    asm.load(SOURCE, SCRATCH, Field(0))
    asm.load(Register.R1, CTX, SockAddr.SK)
    asm.load(SCRATCH, Register.R1, Sock.STATE)
    waiting = asm.unique("waiting")
    for state in (_STATE_CLOSE, _STATE_LISTEN):
        asm.jump_if(SCRATCH, "==", state, waiting)
    asm.jump(target)
    asm.label(waiting)


def load_wildcard(asm: Assembler, policy: BindingPolicy, family: int, found: Register) -> None:
    """Put 0 in ADDRESS if the socket ``found`` is a wildcard one of the policy's context and the family."""
    wanted = (_WILDCARD4 if family == socket.AF_INET else _WILDCARD6) | policy.owner << _OWNER_SHIFT
    nothing = asm.unique("nothing asked")
    asm.move(ADDRESS, 1)
    asm.move(SCRATCH, found)
    _asked_of_listener(asm)
    asm.jump_if(SCRATCH, "==", 0, nothing, wide=True)
    asm.load(SCRATCH, SCRATCH, Field(0))
    asm.bit_and(SCRATCH, wanted | _OWNER_MASK)
    asm.jump_if(SCRATCH, "!=", wanted, nothing)
    asm.move(ADDRESS, 0)
    asm.label(nothing)


def note_diverted(asm: Assembler) -> None:
    """In a connect or sendmsg program: remember that the context's socket speaks to localhost; SOURCE stays."""
    _note(asm, _DIVERTED, ADDRESS)


def unless_diverted(asm: Assembler, target: str) -> None:
    """Jump if :func:`note_diverted` was not called for the context's socket; ADDRESS stays."""
    asked(asm, create=False)
    asm.jump_if(SCRATCH, "==", 0, target, wide=True)
    asm.load(SCRATCH, SCRATCH, Field(0))
    asm.bit_and(SCRATCH, _DIVERTED)
    asm.jump_if(SCRATCH, "==", 0, target)


def _note(asm: Assembler, flags: int, register: Register = SOURCE) -> None:
    asked(asm, create=True)
    asm.jump_if(SCRATCH, "==", 0, "refuse", wide=True)
    asm.load(register, SCRATCH, Field(0))
    asm.bit_or(register, flags)
    asm.store(SCRATCH, Field(0), register)


def asked(asm: Assembler, *, create: bool, sk: Field = SockAddr.SK) -> None:
    """Let SCRATCH point to the bits of the context's socket, or be 0."""
    asm.load(Register.R2, CTX, sk)
    asm.load_map(Register.R1, ASKED)
    asm.move(Register.R3, 0)
    asm.move(Register.R4, _CREATE if create else 0)
    asm.call(Helper.SK_STORAGE_GET)


def enter_listener(policy: BindingPolicy) -> Code:
    """On listen(2): enter a socket under its address, and a wildcard one under the context as well."""
    asm = start()
    asm.load(SCRATCH, CTX, SockOps.OP)
    asm.jump_if(SCRATCH, "!=", _TCP_LISTEN, "allow")
    _clear_key(asm)
    asm.load(SCRATCH, CTX, SockOps.LOCAL_PORT)
    asm.store(Register.R10, ListenerKey.PORT + _KEY, SCRATCH)
    asm.load(SCRATCH, CTX, SockOps.FAMILY)
    asm.jump_if(SCRATCH, "==", socket.AF_INET, "ipv4")
    asm.move(SOURCE, 0)
    for field, origin in zip(ListenerKey.ADDRESS, SockOps.LOCAL_IP6):
        asm.load(SCRATCH, CTX, origin)
        asm.store(Register.R10, field + _KEY, SCRATCH)
        asm.bit_or(SOURCE, SCRATCH)
    asm.jump_if(SOURCE, "==", 0, "allow")
    asm.jump("enter")
    asm.label("ipv4")
    asm.move(SCRATCH, quarters(MAPPED.network_address)[2])
    asm.store(Register.R10, ListenerKey.ADDRESS[2] + _KEY, SCRATCH)
    asm.load(SCRATCH, CTX, SockOps.LOCAL_IP4)
    asm.jump_if(SCRATCH, "==", 0, "allow")  # listen(2) without bind(2)
    asm.store(Register.R10, ListenerKey.ADDRESS[3] + _KEY, SCRATCH)
    asm.label("enter")
    _enter(asm, overwrite=True)
    asm.load(SCRATCH, CTX, SockOps.SK)
    asm.jump_if(SCRATCH, "==", 0, "allow", wide=True)
    _asked_of_listener(asm)
    asm.jump_if(SCRATCH, "==", 0, "allow", wide=True)
    asm.load(ADDRESS, SCRATCH, Field(0))
    asm.jump_if(ADDRESS, "&", _WILDCARD4 | _WILDCARD6, "wildcard")
    asm.jump("allow")
    asm.label("wildcard")
    store6(asm, Register.R10, tuple(field + _KEY for field in ListenerKey.ADDRESS), ANY6)
    asm.move(SCRATCH, policy.owner)
    asm.store(Register.R10, ListenerKey.OWNER + _KEY, SCRATCH)
    for flag, family in ((_WILDCARD4, socket.AF_INET), (_WILDCARD6, socket.AF_INET6)):
        wanted, done = asm.unique("wanted"), asm.unique("done")
        asm.jump_if(ADDRESS, "&", flag, wanted)
        asm.jump(done)
        asm.label(wanted)
        _set_byte(asm, ListenerKey.FAMILY, family)
        for slot in range(_SLOTS):
            last = slot == _SLOTS - 1
            _set_byte(asm, ListenerKey.SLOT, slot)
            _enter(asm, overwrite=last)
            if not last:
                asm.jump_if(Register.R0, "==", 0, done, wide=True)
        asm.label(done)
    allow(asm)
    return asm.assemble()


def _asked_of_listener(asm: Assembler) -> None:
    asm.move(Register.R2, SCRATCH)
    asm.load_map(Register.R1, ASKED)
    asm.move(Register.R3, 0)
    asm.move(Register.R4, 0)
    asm.call(Helper.SK_STORAGE_GET)


def _enter(asm: Assembler, *, overwrite: bool) -> None:
    asm.move(Register.R1, CTX)
    asm.load_map(Register.R2, LISTENERS)
    _point_at_key(asm, Register.R3)
    asm.move(Register.R4, 0 if overwrite else _NO_OVERWRITE)
    asm.call(Helper.SOCK_HASH_UPDATE)


@functools.cache
def steer() -> Code:
    """When a packet looks for a listener: choose it if the packet's address is some binding's."""
    asm = start()
    asm.load(SCRATCH, CTX, SkLookup.PROTOCOL)
    asm.jump_if(SCRATCH, "!=", socket.IPPROTO_TCP, "allow")
    _clear_key(asm)
    asm.load(SCRATCH, CTX, SkLookup.LOCAL_PORT)
    asm.store(Register.R10, ListenerKey.PORT + _KEY, SCRATCH)
    asm.load(ADDRESS, CTX, SkLookup.FAMILY)
    asm.jump_if(ADDRESS, "==", socket.AF_INET, "ipv4")
    for field, origin in zip(ListenerKey.ADDRESS, SkLookup.LOCAL_IP6):
        asm.load(SCRATCH, CTX, origin)
        asm.store(Register.R10, field + _KEY, SCRATCH)
    asm.jump("look up")
    asm.label("ipv4")
    asm.move(SCRATCH, quarters(MAPPED.network_address)[2])
    asm.store(Register.R10, ListenerKey.ADDRESS[2] + _KEY, SCRATCH)
    asm.load(SCRATCH, CTX, SkLookup.LOCAL_IP4)
    asm.store(Register.R10, ListenerKey.ADDRESS[3] + _KEY, SCRATCH)
    asm.label("look up")
    _find(asm, ADDRESSES)
    asm.jump_if(Register.R0, "==", 0, "allow", wide=True)
    owners = SOURCE
    asm.move(owners, Register.R0)
    _find(asm, LISTENERS)
    asm.jump_if(Register.R0, "!=", 0, "explicit", wide=True)
    store6(asm, Register.R10, tuple(field + _KEY for field in ListenerKey.ADDRESS), ANY6)
    asm.store(Register.R10, ListenerKey.FAMILY + _KEY, ADDRESS)
    for owner in range(OWNERS):
        asm.load(SCRATCH, owners, Field(4 * owner))
        asm.jump_if(SCRATCH, "==", 0, "allow")
        asm.store(Register.R10, ListenerKey.OWNER + _KEY, SCRATCH)
        for slot in range(_SLOTS):
            _set_byte(asm, ListenerKey.SLOT, slot)
            _find(asm, LISTENERS)
            asm.jump_if(Register.R0, "!=", 0, "wildcard", wide=True)
    asm.jump("allow")
    asm.label("wildcard")
    asm.move(ADDRESS, Register.R0)
    asm.move(Register.R1, CTX)
    asm.move(Register.R2, ADDRESS)
    asm.move(Register.R3, 0)
    asm.call(Helper.SK_ASSIGN)
    asm.move(Register.R0, ADDRESS)
    asm.label("explicit")
    asm.move(Register.R1, Register.R0)
    asm.call(Helper.SK_RELEASE)
    allow(asm)
    return asm.assemble()


def _find(asm: Assembler, name: str) -> None:
    asm.load_map(Register.R1, name)
    _point_at_key(asm, Register.R2)
    asm.call(Helper.MAP_LOOKUP)


def _clear_key(asm: Assembler) -> None:
    asm.move(SCRATCH, 0)
    for offset in range(0, ListenerKey.LENGTH, 8):
        asm.store(Register.R10, Field(offset + _KEY, 8), SCRATCH)


def _point_at_key(asm: Assembler, register: Register) -> None:
    asm.move(register, Register.R10)
    asm.add(register, _KEY)


def _set_byte(asm: Assembler, field: Field, value: int) -> None:
    asm.move(SCRATCH, value)
    asm.store(Register.R10, field + _KEY, SCRATCH)
