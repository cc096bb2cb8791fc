# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words the binding's programs are written in: addresses in registers, the private loopback, verdicts."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ..kernel.bpf_assembler import Assembler, Helper, Register
from ..kernel.bpf_context import Field, SkBuff
from .policy import BindingPolicy

CTX = Register.R6
ADDRESS = Register.R7
SOURCE = Register.R8
PACKET = Register.R9
SCRATCH = Register.R0
#: The four quarters of the IPv6 address at hand; lost in a call.
QUARTERS = (Register.R2, Register.R3, Register.R4, Register.R5)

LOOPBACK4 = IPv4Network("127.0.0.0/8")
LOOPBACK4_SHOWN = IPv4Network("127.0.0.0/24")
LOOPBACK6 = IPv6Address("::1")
ANY4, ANY6 = IPv4Address(0), IPv6Address(0)
MULTICAST4, MULTICAST6 = IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")
MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True)
class Dialect:
    """What programs may say to this kernel.

    * low_ports: a bind program can waive CAP_NET_BIND_SERVICE (5.12)
    * exact_errno: a program can choose the error its refusal gives (5.18); without it every refusal is EPERM
    * steering: a wildcard listener is steered to, see ``wildcards``
    * only6: net.ipv6.bindv6only, which steering has to know
    """

    low_ports: bool = True
    exact_errno: bool = True
    steering: bool = False
    only6: bool = False


#: Of the newest kernel known.
DIALECT = Dialect()


def number(packed: bytes) -> int:
    """Four bytes of a packet as a register holds them."""
    return int.from_bytes(packed, sys.byteorder)


@functools.lru_cache(maxsize=1024)
def quarters(address: IPv6Address) -> tuple[int, ...]:
    """The four numbers that make up an IPv6 address."""
    return tuple(number(address.packed[index : index + 4]) for index in (0, 4, 8, 12))


def as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(b"\0" * 10 + b"\xff" * 2 + address.packed)


def if_in4(asm: Assembler, register: Register, network: IPv4Network, target: str) -> None:
    """Jump when the address in ``register`` is in ``network``."""
    asm.move(SCRATCH, register)
    asm.bit_and(SCRATCH, number(network.netmask.packed))
    asm.jump_if(SCRATCH, "==", number(network.network_address.packed), target)


def if_is4(asm: Assembler, register: Register, address: IPv4Address, target: str) -> None:
    asm.jump_if(register, "==", number(address.packed), target)


def load6(asm: Assembler, base: Register, fields: tuple[Field, ...]) -> None:
    for register, field in zip(QUARTERS, fields):
        asm.load(register, base, field)


def store6(asm: Assembler, base: Register, fields: tuple[Field, ...], address: IPv6Address) -> None:
    for field, quarter in zip(fields, quarters(address)):
        asm.move(SCRATCH, quarter)
        asm.store(base, field, SCRATCH)


def if_is6(asm: Assembler, address: IPv6Address, target: str) -> None:
    """Jump when QUARTERS hold ``address``."""
    other = asm.unique("other")
    for register, quarter in zip(QUARTERS, quarters(address)):
        asm.jump_if(register, "!=", quarter, other)
    asm.jump(target)
    asm.label(other)


def if_in6(asm: Assembler, network: IPv6Network, target: str) -> None:
    """Jump when QUARTERS hold an address in ``network``."""
    other = asm.unique("other")
    for register, mask, quarter in zip(QUARTERS, quarters(network.netmask), quarters(network.network_address)):
        if mask == 0xFFFFFFFF:
            asm.jump_if(register, "!=", quarter, other)
        elif mask:
            asm.move(SCRATCH, register)
            asm.bit_and(SCRATCH, mask)
            asm.jump_if(SCRATCH, "!=", quarter, other)
    asm.jump(target)
    asm.label(other)


def start() -> Assembler:
    asm = Assembler()
    asm.move(CTX, Register.R1)
    return asm


def refuse(asm: Assembler, label: str, error: int, dialect: Dialect) -> None:
    asm.label(label)
    if dialect.exact_errno:
        asm.move(Register.R1, -error)
        asm.call(Helper.SET_RETVAL)
    asm.leave(0)


def allow(asm: Assembler) -> None:
    asm.label("allow")
    asm.leave(1)


def need(asm: Assembler, length: int) -> None:
    """Drop a packet shorter than its header; afterwards the verifier knows that PACKET has that many bytes."""
    end, wanted = QUARTERS[:2]
    asm.load(end, CTX, SkBuff.DATA_END)
    asm.move(wanted, PACKET)
    asm.add(wanted, length)
    asm.jump_if(wanted, ">", end, "drop", wide=True)


def translate_loopback4(asm: Assembler, policy: BindingPolicy, field: Field, *, private: str, real: str) -> None:
    """If ADDRESS is in 127.0.0.0/8, put the binding's own loopback address there and in ``field``, go to ``private``.

    127.0.0.x becomes 127.hi.lo.x; an address of the own /24 stays; any other one becomes 127.hi.lo.1, as it was in
    Linux-VServer. With the host's loopback nothing changes and ``real`` is next. Without any: "refuse".
    """
    outside = asm.unique("outside")
    asm.move(SCRATCH, ADDRESS)
    asm.bit_and(SCRATCH, number(LOOPBACK4.netmask.packed))
    asm.jump_if(SCRATCH, "!=", number(LOOPBACK4.network_address.packed), outside)
    network = policy.loopback4_network
    if policy.host_loopback:
        asm.jump(real)
    elif policy.loopback4 is None or network is None:
        asm.jump("refuse")
    else:
        same_host = asm.unique("same host")
        translated = asm.unique("translated")
        if_in4(asm, ADDRESS, network, private)
        if_in4(asm, ADDRESS, LOOPBACK4_SHOWN, same_host)
        asm.move(ADDRESS, number(policy.loopback4.packed))
        asm.jump(translated)
        asm.label(same_host)
        exchange_network(asm, ADDRESS, network)
        asm.label(translated)
        asm.store(CTX, field, ADDRESS)
        asm.jump(private)
    asm.label(outside)


def exchange_network(asm: Assembler, register: Register, network: IPv4Network) -> None:
    """Keep the host part of an address and replace its network part."""
    asm.bit_and(register, number(network.hostmask.packed))
    asm.bit_or(register, number(network.network_address.packed))
