# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What setsockopt(2) may do inside a binding, as one BPF program.

* IPV6_V6ONLY is noted for bind and changed in nothing: see ``wildcards``.
* Multicast groups are not joined, unless multicast is allowed: the host's kernel would announce it, from its address.
* SO_BROADCAST has no effect, unless multicast is allowed: which addresses are broadcast ones only the kernel knows.
* SO_REUSEADDR of a datagram socket waits for bind, which is to an own address always. A socket that the kernel binds
  because it sends something is on "any", and would share a port of the host's, taking its datagrams away.
"""

from __future__ import annotations

import socket

from ..kernel.bpf_assembler import Assembler, Code, Helper, Register
from ..kernel.bpf_context import Field, Sock, Sockopt
from .policy import BindingPolicy
from .vocabulary import ADDRESS, CTX, SCRATCH, SOURCE, start
from .wildcards import NOT_ONLY6, ONLY6, REUSE, asked

# include/uapi/linux/in.h, in6.h.
_IPV6_V6ONLY = 26
_IP_JOINS = (35, 39, 42, 46)  # IP_ADD_MEMBERSHIP, IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP
_IPV6_JOINS = (20, 42, 46)  # IPV6_ADD_MEMBERSHIP and the last two
#: As the length of the value: the kernel's own handler is not asked, or gets the caller's buffer (bpf_sockopt).
_DONE, _UNCHANGED = -1, 0
_STACK = Field(-8)


def options(policy: BindingPolicy) -> Code:
    asm = start()
    level, name = ADDRESS, SOURCE
    asm.load(level, CTX, Sockopt.LEVEL)
    asm.load(name, CTX, Sockopt.NAME)
    for number, label in ((socket.SOL_SOCKET, "socket"), (socket.IPPROTO_IP, "ip"), (socket.IPPROTO_IPV6, "ipv6")):
        asm.jump_if(level, "==", number, label)
    asm.jump("unchanged")
    asm.label("ipv6")
    asm.jump_if(name, "==", _IPV6_V6ONLY, "v6only")
    _refuse(asm, policy, _IPV6_JOINS)
    asm.label("ip")
    _refuse(asm, policy, _IP_JOINS)
    asm.label("socket")
    if not policy.multicast:
        asm.jump_if(name, "==", socket.SO_BROADCAST, "done")
    asm.jump_if(name, "!=", socket.SO_REUSEADDR, "unchanged")
    asm.load(Register.R1, CTX, Sockopt.SK)
    asm.load(SCRATCH, Register.R1, Sock.TYPE)
    asm.jump_if(SCRATCH, "!=", socket.SOCK_DGRAM, "unchanged")
    _note_switch(asm, REUSE, 0)
    asm.jump("done")
    asm.label("v6only")
    _note_switch(asm, ONLY6, NOT_ONLY6)
    asm.label("unchanged")
    _leave(asm, _UNCHANGED)
    asm.label("done")
    _leave(asm, _DONE)
    asm.label("refuse")
    asm.leave(0)
    return asm.assemble()


def reuse_if_asked(asm: Assembler) -> None:
    """In a bind program that allows: give the socket the SO_REUSEADDR it asked for. Linux 6.1; before, it has none."""
    none = asm.unique("no reuse")
    asked(asm, create=False)
    asm.jump_if(SCRATCH, "==", 0, none, wide=True)
    asm.load(SOURCE, SCRATCH, Field(0))
    wanted = asm.unique("reuse")
    asm.jump_if(SOURCE, "&", REUSE, wanted)
    asm.jump(none)
    asm.label(wanted)
    asm.move(SCRATCH, 1)
    asm.store(Register.R10, _STACK, SCRATCH)
    asm.move(Register.R1, CTX)
    asm.move(Register.R2, socket.SOL_SOCKET)
    asm.move(Register.R3, socket.SO_REUSEADDR)
    asm.move(Register.R4, Register.R10)
    asm.add(Register.R4, _STACK.offset)
    asm.move(Register.R5, _STACK.size)
    asm.call(Helper.SETSOCKOPT)
    asm.label(none)


def _refuse(asm: Assembler, policy: BindingPolicy, joins: tuple[int, ...]) -> None:
    if not policy.multicast:
        for number in joins:
            asm.jump_if(SOURCE, "==", number, "refuse")
    asm.jump("unchanged")


def _note_switch(asm: Assembler, on: int, off: int) -> None:
    """Note for the context's socket what the caller's int switches ``on`` or ``off``; "refuse" without memory."""
    asm.load(Register.R1, CTX, Sockopt.VALUE)
    asm.load(Register.R2, CTX, Sockopt.VALUE_END)
    asm.move(Register.R3, Register.R1)
    asm.add(Register.R3, 4)
    asm.jump_if(Register.R3, ">", Register.R2, "unchanged", wide=True)
    asm.load(ADDRESS, Register.R1, Field(0))
    asked(asm, create=True, sk=Sockopt.SK)
    asm.jump_if(SCRATCH, "==", 0, "refuse", wide=True)
    asm.load(SOURCE, SCRATCH, Field(0))
    asm.bit_and(SOURCE, ~(on | off))
    switched, keep = asm.unique("off"), asm.unique("keep")
    asm.jump_if(ADDRESS, "==", 0, switched)
    asm.bit_or(SOURCE, on)
    asm.jump(keep)
    asm.label(switched)
    asm.bit_or(SOURCE, off)
    asm.label(keep)
    asm.store(SCRATCH, Field(0), SOURCE)


def _leave(asm: Assembler, length: int) -> None:
    asm.move(SCRATCH, length)
    asm.store(CTX, Sockopt.LENGTH, SCRATCH)
    asm.leave(1)
