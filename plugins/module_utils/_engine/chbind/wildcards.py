# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One wildcard listener answers on every address of its binding: what sockets ask for, and are shown. No effects.

The bind programs still put a socket that asks for "any" on one address, so a port stays free for everybody else. They
also note on the socket that it asked for any, and of which family. When it starts to listen, the listen program enters
it in a table of sockets (``listener_table``). A packet that looks for a listener on an address of some binding is
steered by one program per network namespace: to what listens there explicitly, else to the binding's wildcard listener.
Accepted sockets show the address the client spoke to, and getsockname(2) on the listener shows "any", as programs that
hand their sockets on to a new process (nginx, HAProxy) expect.

A dual-stack socket (:: without IPV6_V6ONLY) is put on an IPv4 address, mapped, because only then does the kernel let it
serve both families; an IPv6-only one on an IPv6 address. So pairs of an IPv4 and an IPv6-only socket (nginx, sshd) work
as well as dual-stack servers (Go, Java, Node). That bind can tell them apart takes a look at setsockopt(IPV6_V6ONLY).

Only TCP listeners are steered, because there is no event in the life of a datagram socket at which a program could
enter it in the table: an unconnected datagram socket on "any" hears its one address. What its own guest sends to
127.0.0.1 or ::1 is diverted there, see ``receivers``.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

from ..kernel.bpf_assembler import Assembler, Helper, Register
from ..kernel.bpf_context import Field, Sock, SockAddr
from .policy import BindingPolicy
from .vocabulary import (
    ADDRESS,
    ANY6,
    CTX,
    MAPPED,
    SCRATCH,
    SOURCE,
    as_ipv6,
    store6,
)

#: Map: socket → what it asked for.
ASKED = "vs_asked"

#: Bits in ASKED. ONLY6, NOT_ONLY6: asked with IPV6_V6ONLY; REUSE: with SO_REUSEADDR, for datagrams; _DIVERTED: sent to
#: localhost what a wildcard socket shall hear.
WILDCARD4, WILDCARD6, ONLY6, NOT_ONLY6, _DIVERTED, REUSE = 1, 2, 4, 8, 16, 32
#: In ASKED, a wildcard socket's owner.
_OWNER_SHIFT, _OWNER_MASK = 8, 0xFFFF00


_CREATE = 1
#: enum in include/net/tcp_states.h; an unconnected datagram socket is "closed".
_STATE_CLOSE, _STATE_LISTEN = 7, 10


def note_wildcard4(asm: Assembler, policy: BindingPolicy) -> None:
    """In a bind program, after 0.0.0.0 was asked for; "refuse" when there is no memory."""
    _note(asm, WILDCARD4 | policy.owner << _OWNER_SHIFT)


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
    for label, address, flags in (("", dual or only6, WILDCARD4 | WILDCARD6), ("only6", only6, WILDCARD6)):
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
    asm.jump_if(SOURCE, "&", WILDCARD4, "any")
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
    for flag, label, address in ((WILDCARD6, "any", ANY6), (WILDCARD4, "any mapped", MAPPED.network_address)):
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
    wanted = (WILDCARD4 if family == socket.AF_INET else WILDCARD6) | policy.owner << _OWNER_SHIFT
    nothing = asm.unique("nothing asked")
    asm.move(ADDRESS, 1)
    asm.move(SCRATCH, found)
    asked_of(asm)
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


def asked_of(asm: Assembler) -> None:
    """Let SCRATCH, a socket, point to the bits of it, or be 0."""
    asm.move(Register.R2, SCRATCH)
    asm.load_map(Register.R1, ASKED)
    asm.move(Register.R3, 0)
    asm.move(Register.R4, 0)
    asm.call(Helper.SK_STORAGE_GET)
