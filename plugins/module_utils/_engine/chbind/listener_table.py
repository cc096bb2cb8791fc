# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of listening sockets: the program that enters them, and the one that finds one for a packet. No effects.

Why, and what a socket has asked for before: see ``wildcards``.
"""

from __future__ import annotations

import functools
import socket

from ..kernel.bpf_assembler import Assembler, Code, Helper, Register
from ..kernel.bpf_context import Field, SkLookup, SockOps, words
from .policy import BindingPolicy
from .vocabulary import ADDRESS, ANY6, CTX, MAPPED, SCRATCH, SOURCE, allow, quarters, start, store6
from .wildcards import WILDCARD4, WILDCARD6, asked_of

#: Maps: (address, owner, port, family) → listener; address → owners.
LISTENERS, ADDRESSES = "vs_listeners", "vs_owners"


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
_NO_OVERWRITE = 1
#: BPF_SOCK_OPS_TCP_LISTEN_CB (include/uapi/linux/bpf.h).
_TCP_LISTEN = 11


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
    asked_of(asm)
    asm.jump_if(SCRATCH, "==", 0, "allow", wide=True)
    asm.load(ADDRESS, SCRATCH, Field(0))
    asm.jump_if(ADDRESS, "&", WILDCARD4 | WILDCARD6, "wildcard")
    asm.jump("allow")
    asm.label("wildcard")
    store6(asm, Register.R10, tuple(field + _KEY for field in ListenerKey.ADDRESS), ANY6)
    asm.move(SCRATCH, policy.owner)
    asm.store(Register.R10, ListenerKey.OWNER + _KEY, SCRATCH)
    for flag, family in ((WILDCARD4, socket.AF_INET), (WILDCARD6, socket.AF_INET6)):
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
