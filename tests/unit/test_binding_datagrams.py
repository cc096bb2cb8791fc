# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a datagram to localhost goes when a wildcard socket shall hear it, found out by running the programs."""

from __future__ import annotations

import dataclasses
import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_interface

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import (
    BindingPolicy,
    loopback_addresses,
    policy_of,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.programs import Dialect, binding_programs
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.wildcards import ASKED
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf import AttachType
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import Helper
from ansible_collections.linux.vserver.tests.unit.bpf_machine import CONTEXT, FOUND, SOCKET, Machine

XID = 514
WILDCARD4, WILDCARD6, DIVERTED = 1, 2, 16
OURS, THEIRS = XID << 8, 515 << 8
GUEST = policy_of(XID, map(ip_interface, ("192.0.2.10/24", "198.51.100.10/24", "2001:db8::10/64", "2001:db8:1::10/64")))
LOOPBACK4, LOOPBACK6 = map(str, loopback_addresses(XID))
FIRST4, FIRST6 = "192.0.2.10", "2001:db8::10"
OWN_STORED, FOUND_STORED = 0x60000000, 0x70000000
STEERING = Dialect(steering=True)


@dataclasses.dataclass(frozen=True)
class Receiver:
    """A datagram socket: what it is bound to, and what it has stored."""

    bound: str
    asked: int | None = None


def _wide(text: str) -> bytes:
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def run(
    hook: AttachType,
    address: str,
    receivers: Mapping[str, Receiver],
    *,
    policy: BindingPolicy = GUEST,
    dialect: Dialect = STEERING,
    protocol: int = socket.IPPROTO_UDP,
    stored: int = 0,
) -> tuple[str, int]:
    """Run a program for an address with port 53; return the address then, and what the socket has stored then.

    ``receivers`` are what look-ups find, by address; every one of them has to be released.
    """
    six = hook.name.startswith(("INET6", "UDP6"))
    context, own, found = bytearray(72), bytearray(struct.pack("=I", stored)), bytearray(4)
    context[8:24] = _wide(address) if six else bytes(16)
    context[4:8] = bytes(4) if six else ip_address(address).packed
    struct.pack_into("=H", context, 24, socket.htons(53))
    struct.pack_into("=I", context, 36, protocol)
    struct.pack_into("=Q", context, 64, SOCKET)
    held: list[Receiver] = []

    def look_up(machine: Machine, arguments: list[int]) -> int:
        assert not held
        data = machine.read(arguments[1], arguments[2])
        assert socket.ntohs(struct.unpack_from("=H", data, len(data) - 2)[0]) == 53
        receiver = receivers.get(str(ip_address(data[4:8] if len(data) == 12 else data[16:32])))
        if receiver is None:
            return 0
        held.append(receiver)
        if len(data) == 12:
            machine.write(FOUND + 24, ip_address(receiver.bound).packed)
        else:
            machine.write(FOUND + 28, _wide(receiver.bound))
        struct.pack_into("=I", found, 0, receiver.asked or 0)
        return FOUND

    def release(_ignored: Machine, arguments: list[int]) -> int:
        assert arguments[0] == FOUND
        held.pop()
        return 0

    def storage(_ignored: Machine, arguments: list[int]) -> int:
        assert arguments[0] == 1
        if arguments[1] == SOCKET:
            return OWN_STORED if arguments[3] or stored else 0
        assert (arguments[1], arguments[3]) == (FOUND, 0)
        return 0 if held[0].asked is None else FOUND_STORED

    helpers = {
        Helper.BIND: lambda _ignored, arguments: 0,
        Helper.SK_LOOKUP_TCP: lambda _ignored, arguments: 0,
        Helper.SK_LOOKUP_UDP: look_up,
        Helper.SK_RELEASE: release,
        Helper.SK_STORAGE_GET: storage,
    }
    regions = {CONTEXT: context, SOCKET: bytearray(80), FOUND: bytearray(80), OWN_STORED: own, FOUND_STORED: found}
    (program,) = (each for each in binding_programs(policy, dialect) if each.attach_type is hook)
    assert Machine(regions, helpers).run(program.code.linked({ASKED: 1})) == 1
    assert not held
    result = IPv6Address(bytes(context[8:24])) if six else ip_address(bytes(context[4:8]))
    return str(getattr(result, "ipv4_mapped", None) or result), struct.unpack("=I", own)[0]


CONNECT4, CONNECT6 = AttachType.INET4_CONNECT, AttachType.INET6_CONNECT
SENDMSG4, SENDMSG6 = AttachType.UDP4_SENDMSG, AttachType.UDP6_SENDMSG
ANYBODY4, ANYBODY6 = Receiver("0.0.0.0"), Receiver("::")
WILD4, WILD6 = Receiver(FIRST4, OURS | WILDCARD4), Receiver(FIRST6, OURS | WILDCARD6)


@pytest.mark.parametrize("hooks", [(CONNECT4, CONNECT6), (SENDMSG4, SENDMSG6)])
@pytest.mark.parametrize(
    ("address", "receivers", "reached"),
    [
        ("127.0.0.1", {FIRST4: WILD4}, FIRST4),
        ("0.0.0.0", {FIRST4: WILD4}, FIRST4),
        ("127.0.0.1", {FIRST4: WILD4, LOOPBACK4: ANYBODY4}, FIRST4),
        ("127.0.0.1", {FIRST4: Receiver(FIRST4, OURS | WILDCARD4 | WILDCARD6 | 8)}, FIRST4),
        ("127.0.0.1", {}, LOOPBACK4),
        ("127.0.0.1", {LOOPBACK4: ANYBODY4}, LOOPBACK4),
        ("127.0.0.1", {FIRST4: WILD4, LOOPBACK4: Receiver(LOOPBACK4)}, LOOPBACK4),
        ("127.0.0.1", {FIRST4: Receiver(FIRST4)}, LOOPBACK4),
        ("127.0.0.1", {FIRST4: Receiver(FIRST4, 8)}, LOOPBACK4),
        ("127.0.0.1", {FIRST4: ANYBODY4, LOOPBACK4: ANYBODY4}, LOOPBACK4),
        ("127.0.0.1", {FIRST4: Receiver(FIRST4, THEIRS | WILDCARD4)}, LOOPBACK4),
        ("127.0.0.1", {FIRST4: Receiver(FIRST4, OURS | WILDCARD6)}, LOOPBACK4),
        ("127.0.0.53", {FIRST4: WILD4}, "127.2.2.53"),
        (FIRST4, {FIRST4: WILD4}, FIRST4),
        ("198.51.100.10", {FIRST4: WILD4}, "198.51.100.10"),
        ("::1", {FIRST6: WILD6}, FIRST6),
        ("::", {FIRST6: WILD6}, FIRST6),
        ("::1", {FIRST6: WILD6, LOOPBACK6: ANYBODY6}, FIRST6),
        ("::1", {}, LOOPBACK6),
        ("::1", {FIRST6: WILD6, LOOPBACK6: Receiver(LOOPBACK6)}, LOOPBACK6),
        ("::1", {FIRST6: Receiver(FIRST6)}, LOOPBACK6),
        ("::1", {FIRST6: Receiver(FIRST6, THEIRS | WILDCARD6)}, LOOPBACK6),
    ],
)
def test_where_a_datagram_to_localhost_goes(
    hooks: tuple[AttachType, AttachType], address: str, receivers: Mapping[str, Receiver], reached: str
) -> None:
    diverted = reached != address and reached in (FIRST4, FIRST6)
    assert run(hooks[":" in address], address, receivers) == (reached, DIVERTED if diverted else 0)


def test_an_ipv4_mapped_localhost_is_localhost() -> None:
    assert run(CONNECT6, "::ffff:127.0.0.1", {FIRST4: WILD4}) == (FIRST4, DIVERTED)


@pytest.mark.parametrize(
    ("hook", "address", "loopback"), [(CONNECT4, "127.0.0.1", LOOPBACK4), (CONNECT6, "::1", LOOPBACK6)]
)
def test_what_is_not_diverted(hook: AttachType, address: str, loopback: str) -> None:
    """Connections, which are steered; anything where the kernel cannot steer; a binding without such addresses."""
    receivers = {FIRST4: WILD4, FIRST6: WILD6}
    assert run(hook, address, receivers, protocol=socket.IPPROTO_TCP) == (loopback, 0)
    assert run(hook, address, receivers, dialect=Dialect()) == (loopback, 0)
    bare = dataclasses.replace(GUEST, ipv4=(), ipv6=(), sources4=(), sources6=())
    assert run(hook, address, receivers, policy=bare) == (loopback, 0)


@pytest.mark.parametrize("call", ["UDP{}_RECVMSG", "INET{}_GETPEERNAME"])
@pytest.mark.parametrize(
    ("address", "stored", "shown"),
    [
        (FIRST4, DIVERTED, "127.0.0.1"),
        (FIRST4, DIVERTED | OURS | WILDCARD4, "127.0.0.1"),
        (FIRST4, OURS | WILDCARD4, FIRST4),
        (FIRST4, 0, FIRST4),
        ("198.51.100.10", DIVERTED, "198.51.100.10"),
        ("203.0.113.1", DIVERTED, "203.0.113.1"),
        (LOOPBACK4, DIVERTED, "127.0.0.1"),
        (FIRST6, DIVERTED, "::1"),
        (FIRST6, OURS | WILDCARD6, FIRST6),
        (FIRST6, 0, FIRST6),
        ("2001:db8:1::10", DIVERTED, "2001:db8:1::10"),
        (f"::ffff:{FIRST4}", DIVERTED, "127.0.0.1"),
        (f"::ffff:{FIRST4}", 0, FIRST4),
    ],
)
def test_whom_a_socket_hears(call: str, address: str, stored: int, shown: str) -> None:
    hook = AttachType[call.format(6 if ":" in address else 4)]
    assert run(hook, address, {}, stored=stored) == (shown, stored)
