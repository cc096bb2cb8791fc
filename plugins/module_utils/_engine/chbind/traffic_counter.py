# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a binding's packet filters let through is counted by them: bytes and packets, by direction, family and place.

Each processor has counters of its own, so that none waits for another; they are added to in one step all the same,
because an interrupt sends and receives as well. The map lives as long as a program that uses it, and with the cgroup.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..kernel.bpf_assembler import Assembler, Helper, Register
from ..kernel.bpf_context import Field, SkBuff
from .vocabulary import CTX

#: The name of the map: one element, with a pair of counters for each of :data:`SLOTS`.
TRAFFIC: Final = "vs_traffic"
#: Family and place, in this order for each direction, received first; "local" is what passes the host's own lo.
SLOTS: Final = ("ipv4", "local_ipv4", "ipv6", "local_ipv6")

_COUNTERS = struct.Struct("=QQ")
#: Bytes of the element.
VALUE_SIZE: Final = 2 * len(SLOTS) * _COUNTERS.size
_KEY = Field(-4)
_LOOPBACK_IFINDEX = 1  # include/net/flow.h: the same in every network namespace
_ETH_P_IPV6 = 0x86DD


@dataclass(frozen=True)
class Traffic:
    """Bytes, from the IP header on, and packets since the counters were made."""

    received_bytes: int = 0
    received_packets: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0


def count(asm: Assembler, *, incoming: bool) -> None:
    """The end of a packet filter: label "allow", where the packet is counted and passes.

    A large packet that a network card cuts up, or has put together, is as many as it will be, or was (gso_segs).
    """
    counted, element = asm.unique("counted"), Register.R0
    asm.label("allow")
    asm.move(Register.R1, 0)
    asm.store(Register.R10, _KEY, Register.R1)
    asm.load_map(Register.R1, TRAFFIC)
    asm.move(Register.R2, Register.R10)
    asm.add(Register.R2, _KEY.offset)
    asm.call(Helper.MAP_LOOKUP)
    asm.jump_if(element, "==", 0, counted, wide=True)
    _advance_if(asm, SkBuff.PROTOCOL, socket.htons(_ETH_P_IPV6), SLOTS.index("ipv6"))
    _advance_if(asm, SkBuff.IFINDEX, _LOOPBACK_IFINDEX, SLOTS.index("local_ipv4"))
    base = 0 if incoming else len(SLOTS) * _COUNTERS.size
    segmented = asm.unique("segmented")
    asm.load(Register.R1, CTX, SkBuff.LEN)
    asm.atomic_add(element, Field(base, 8), Register.R1)
    asm.load(Register.R1, CTX, SkBuff.GSO_SEGS)
    asm.jump_if(Register.R1, "!=", 0, segmented)
    asm.move(Register.R1, 1)
    asm.label(segmented)
    asm.atomic_add(element, Field(base + 8, 8), Register.R1)
    asm.label(counted)
    asm.leave(1)


def _advance_if(asm: Assembler, field: Field, value: int, slots: int) -> None:
    """Go on by so many slots in the element if a field of the packet is ``value``."""
    other = asm.unique("other")
    asm.load(Register.R1, CTX, field)
    asm.jump_if(Register.R1, "!=", value, other)
    asm.add(Register.R0, slots * _COUNTERS.size)
    asm.label(other)


def parse(value: bytes) -> Mapping[str, Traffic]:
    """The element as a look-up returns it, one after the other of all processors, by slot (pure)."""
    pairs = list(_COUNTERS.iter_unpack(value))
    half = len(SLOTS)

    def total(index: int) -> tuple[int, int]:
        each = pairs[index :: 2 * half]
        return sum(size for size, _packets in each), sum(packets for _size, packets in each)

    return {slot: Traffic(*total(index), *total(half + index)) for index, slot in enumerate(SLOTS)}
