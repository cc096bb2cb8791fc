# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs for wildcard listeners decide, found out by running their bytecode."""

from __future__ import annotations

import dataclasses
import errno
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.listener_table import (
    ADDRESSES,
    LISTENERS,
    OWNERS,
    enter_listener,
    steer,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import (
    BindingPolicy,
    loopback_addresses,
    policy_of,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.programs import (
    Dialect,
    binding_programs,
    steering_name,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.wildcards import ASKED, REUSE
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf import AttachType
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import Helper
from ansible_collections.linux.vserver.tests.unit.bpf_machine import CONTEXT, FOUND, SOCKET, Machine

MAPS = {ASKED: 1, LISTENERS: 2, ADDRESSES: 3}
WILDCARD4, WILDCARD6, ONLY6, NOT_ONLY6, OWNER_SHIFT = 1, 2, 4, 8, 8
XID = 514
BOTH = policy_of(XID, map(ip_interface, ("192.0.2.10/24", "198.51.100.10/24", "2001:db8::10/64", "2001:db8::11/64")))
LOOPBACK4, LOOPBACK6 = loopback_addresses(XID)
STORED = 0x60000000


def _wide(text: str) -> bytes:
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def bind(policy: BindingPolicy, address: str, asked: int | None, *, only6: bool = False) -> tuple[int, str, int]:
    """Run a bind program; return its value, the address and what the socket has stored then.

    ``asked`` is what is stored before; None: there is no memory for it.
    """
    six = ":" in address
    context, stored = bytearray(72), bytearray(struct.pack("=I", asked or 0))
    if six:
        context[8:24] = _wide(address)
    else:
        context[4:8] = ip_address(address).packed
    struct.pack_into("=Q", context, 64, SOCKET)
    hook = AttachType.INET6_BIND if six else AttachType.INET4_BIND
    dialect = Dialect(steering=True, only6=only6)
    program = next(program for program in binding_programs(policy, dialect) if program.attach_type is hook)

    def storage(_ignored: Machine, arguments: list[int]) -> int:
        assert arguments[:3] == [MAPS[ASKED], SOCKET, 0]
        return 0 if asked is None else STORED

    def set_option(machine: Machine, arguments: list[int]) -> int:
        assert asked is not None and asked & REUSE
        assert arguments[:3] == [CONTEXT, socket.SOL_SOCKET, socket.SO_REUSEADDR]
        assert struct.unpack("=I", machine.read(arguments[3], arguments[4])) == (1,)
        options.append(arguments[2])
        return 0

    options: list[int] = []
    helpers = {
        Helper.SK_STORAGE_GET: storage,
        Helper.SET_RETVAL: lambda _ignored, arguments: 0,
        Helper.SETSOCKOPT: set_option,
    }
    machine = Machine({CONTEXT: context, SOCKET: bytearray(80), STORED: stored}, helpers)
    value = machine.run(program.code.linked(MAPS))
    assert bool(options) == bool(value and asked and asked & REUSE)
    result = IPv6Address(bytes(context[8:24])) if six else IPv4Address(bytes(context[4:8]))
    return value, str(getattr(result, "ipv4_mapped", None) or result), struct.unpack("=I", stored)[0]


ONLY4 = dataclasses.replace(BOTH, ipv6=(), sources6=())
NO4 = dataclasses.replace(BOTH, ipv4=(), sources4=())


@pytest.mark.parametrize(
    ("policy", "address", "asked", "given", "stored"),
    [
        (BOTH, "0.0.0.0", 0, "192.0.2.10", WILDCARD4),
        (BOTH, "198.51.100.10", 0, "198.51.100.10", 0),
        (BOTH, "198.51.100.10", REUSE, "198.51.100.10", REUSE),
        (BOTH, "0.0.0.0", REUSE, "192.0.2.10", REUSE | WILDCARD4),
        (BOTH, "::", REUSE | ONLY6, "2001:db8::10", REUSE | ONLY6 | WILDCARD6),
        (BOTH, "127.0.0.1", 0, str(LOOPBACK4), 0),
        (BOTH, "::", 0, "192.0.2.10", WILDCARD4 | WILDCARD6),
        (BOTH, "::", NOT_ONLY6, "192.0.2.10", NOT_ONLY6 | WILDCARD4 | WILDCARD6),
        (BOTH, "::", ONLY6, "2001:db8::10", ONLY6 | WILDCARD6),
        (BOTH, "2001:db8::11", ONLY6, "2001:db8::11", ONLY6),
        (BOTH, "::1", 0, str(LOOPBACK6), 0),
        (BOTH, "::ffff:0.0.0.0", 0, "192.0.2.10", WILDCARD4),
        (ONLY4, "::", 0, "192.0.2.10", WILDCARD4 | WILDCARD6),
        (ONLY4, "::", ONLY6, str(LOOPBACK6), ONLY6 | WILDCARD6),
        (NO4, "::", 0, str(LOOPBACK4), WILDCARD4 | WILDCARD6),
        (dataclasses.replace(NO4, loopback4=None), "::", 0, "2001:db8::10", WILDCARD4 | WILDCARD6),
    ],
)
def test_bind_notes_what_was_asked_for(
    policy: BindingPolicy, address: str, asked: int, given: str, stored: int
) -> None:
    owner = XID << OWNER_SHIFT if stored & (WILDCARD4 | WILDCARD6) else 0
    assert bind(policy, address, asked) == (3, given, stored | owner)


def test_bind_without_an_ipv6_address_for_an_ipv6_only_socket() -> None:
    policy = dataclasses.replace(ONLY4, loopback6=None)
    assert bind(policy, "::", ONLY6)[0] == 0
    assert bind(policy, "::", 0)[:2] == (3, "192.0.2.10")


@pytest.mark.parametrize(("asked", "given"), [(0, "2001:db8::10"), (NOT_ONLY6, "192.0.2.10"), (ONLY6, "2001:db8::10")])
def test_the_hosts_default_for_v6only_counts(asked: int, given: str) -> None:
    assert bind(BOTH, "::", asked, only6=True)[1] == given


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_bind_without_memory_is_refused(address: str) -> None:
    assert bind(BOTH, address, None)[0] == 0


@pytest.mark.parametrize(
    ("own", "asked", "state", "shown"),
    [
        ("192.0.2.10", WILDCARD4, 10, "0.0.0.0"),
        ("192.0.2.10", WILDCARD4, 7, "0.0.0.0"),
        ("192.0.2.10", WILDCARD4, 1, "192.0.2.10"),
        ("192.0.2.10", 0, 10, "192.0.2.10"),
        ("192.0.2.10", None, 10, "192.0.2.10"),
        (str(LOOPBACK4), None, 10, "127.0.0.1"),
        ("2001:db8::10", WILDCARD6 | ONLY6, 10, "::"),
        ("::ffff:192.0.2.10", WILDCARD4 | WILDCARD6, 10, "::"),
        ("::ffff:192.0.2.10", WILDCARD4, 10, "::ffff:0.0.0.0"),
        ("2001:db8::10", ONLY6, 10, "2001:db8::10"),
        ("2001:db8::10", WILDCARD6, 2, "2001:db8::10"),
        (str(LOOPBACK6), None, 10, "::1"),
    ],
)
def test_a_waiting_socket_shows_any(own: str, asked: int | None, state: int, shown: str) -> None:
    six = ":" in own
    context, sock = bytearray(72), bytearray(80)
    context[8:24] = _wide(own)
    if not six:
        context[4:8] = ip_address(own).packed
    struct.pack_into("=Q", context, 64, SOCKET)
    struct.pack_into("=I", sock, 72, state)
    hook = AttachType.INET6_GETSOCKNAME if six else AttachType.INET4_GETSOCKNAME
    programs = binding_programs(BOTH, Dialect(steering=True))
    code = next(program.code for program in programs if program.attach_type is hook)
    regions = {CONTEXT: context, SOCKET: sock, STORED: bytearray(struct.pack("=I", asked or 0))}
    machine = Machine(regions, {Helper.SK_STORAGE_GET: lambda _ignored, arguments: 0 if asked is None else STORED})
    assert machine.run(code.linked(MAPS)) == 1
    assert bytes(context[8:24] if six else context[4:8]) == ip_address(shown).packed


def key(address: str = "::", owner: int = 0, port: int = 80, family: int = 0, slot: int = 0) -> bytes:
    return _wide(address) + struct.pack("=IHBB", owner, port, family, slot)


def listen(address: str, asked: int | None, taken: set[bytes] | None = None, *, op: int = 11) -> set[bytes]:
    """Run the listen program; return the keys the socket is entered under. ``taken`` are others' keys."""
    entered: set[bytes] = set()
    context = bytearray(192)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    struct.pack_into("=I", context, 0, op)
    struct.pack_into("=I", context, 20, family)
    if family == socket.AF_INET:
        context[28:32] = ip_address(address).packed
    else:
        context[48:64] = _wide(address)
    struct.pack_into("=I", context, 68, 80)
    struct.pack_into("=Q", context, 184, SOCKET)

    def update(machine: Machine, arguments: list[int]) -> int:
        assert arguments[:2] == [CONTEXT, MAPS[LISTENERS]]
        wanted = machine.read(arguments[2], 24)
        if arguments[3] and wanted in (taken or set()):
            return -errno.EEXIST
        entered.add(wanted)
        return 0

    helpers = {Helper.SK_STORAGE_GET: lambda _ignored, arguments: 0 if asked is None else STORED}
    regions = {CONTEXT: context, STORED: bytearray(struct.pack("=I", asked or 0))}
    machine = Machine(regions, {**helpers, Helper.SOCK_HASH_UPDATE: update})
    assert machine.run(enter_listener(BOTH).linked(MAPS)) == 1
    return entered


V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("address", "asked", "entered"),
    [
        ("192.0.2.10", WILDCARD4, {key("192.0.2.10"), key(owner=XID, family=V4)}),
        ("2001:db8::10", ONLY6 | WILDCARD6, {key("2001:db8::10"), key(owner=XID, family=V6)}),
        (
            "::ffff:192.0.2.10",
            WILDCARD4 | WILDCARD6,
            {key("192.0.2.10"), key(owner=XID, family=V4), key(owner=XID, family=V6)},
        ),
        ("198.51.100.10", None, {key("198.51.100.10")}),
        ("2001:db8::11", ONLY6, {key("2001:db8::11")}),
        ("0.0.0.0", None, set()),
        ("::", None, set()),
        ("::ffff:198.51.100.10", 0, {key("198.51.100.10")}),
    ],
)
def test_a_listener_is_entered(address: str, asked: int | None, entered: set[bytes]) -> None:
    assert listen(address, asked) == entered
    assert listen(address, asked, op=4) == set()


def test_a_listener_takes_a_free_slot_or_the_last() -> None:
    own = key("192.0.2.10")
    taken = {own, *(key(owner=XID, family=V4, slot=slot) for slot in (0, 1))}
    assert listen("192.0.2.10", WILDCARD4, taken) == {own, key(owner=XID, family=V4, slot=2)}
    taken |= {key(owner=XID, family=V4, slot=slot) for slot in (2, 3)}
    assert listen("192.0.2.10", WILDCARD4, taken) == {own, key(owner=XID, family=V4, slot=3)}


def steered_to(address: str, listeners: set[bytes], *owners: int, protocol: int = socket.IPPROTO_TCP) -> bytes | None:
    """Run the steering program; return the key of the listener it chose. ``owners`` have all addresses of BOTH."""
    context = bytearray(72)
    named = ip_address(address)
    struct.pack_into("=I4xI", context, 8, V6 if named.version == 6 else V4, 0)
    struct.pack_into("=I", context, 12, protocol)
    if named.version == 4:
        context[40:44] = named.packed
    else:
        context[44:60] = named.packed
    struct.pack_into("=I", context, 60, 80)
    owned = {_wide(str(own)) for own in (*BOTH.ipv4, *BOTH.ipv6, LOOPBACK4, LOOPBACK6)}
    last: list[bytes] = []
    chosen: list[bytes] = []
    references = 0
    regions = {CONTEXT: context, STORED: bytearray(struct.pack(f"={len(owners)}I", *owners).ljust(4 * OWNERS, b"\0"))}

    def look_up(machine: Machine, arguments: list[int]) -> int:
        nonlocal references
        if arguments[0] == MAPS[ADDRESSES]:
            return STORED if machine.read(arguments[1], 16) in owned else 0
        assert arguments[0] == MAPS[LISTENERS]
        last[:] = [machine.read(arguments[1], 24)]
        references += last[0] in listeners
        return FOUND if last[0] in listeners else 0

    def assign(_ignored: Machine, arguments: list[int]) -> int:
        assert arguments[:3] == [CONTEXT, FOUND, 0]
        chosen.extend(last)
        return 0

    def release(_ignored: Machine, arguments: list[int]) -> int:
        nonlocal references
        assert arguments[0] == FOUND
        references -= 1
        return 0

    helpers = {Helper.MAP_LOOKUP: look_up, Helper.SK_ASSIGN: assign, Helper.SK_RELEASE: release}
    assert Machine(regions, helpers).run(steer().linked(MAPS)) == 1
    assert references == 0
    return chosen[0] if chosen else None


FOUR, SIX = key(owner=XID, family=V4), key(owner=XID, family=V6, slot=3)


@pytest.mark.parametrize(
    ("address", "listeners", "chosen"),
    [
        ("198.51.100.10", {FOUR, SIX}, FOUR),
        ("2001:db8::11", {FOUR, SIX}, SIX),
        (str(LOOPBACK4), {FOUR}, FOUR),
        (str(LOOPBACK6), {SIX}, SIX),
        ("2001:db8::11", {FOUR}, None),
        ("198.51.100.10", {FOUR, key("198.51.100.10")}, None),
        ("2001:db8::11", {SIX, key("2001:db8::11")}, None),
        ("198.51.100.10", {key(owner=XID + 1, family=V4)}, None),
        ("198.51.100.10", {key(owner=XID, family=V4, port=81)}, None),
        ("198.51.100.11", {FOUR}, None),
        ("2001:db8::12", {SIX}, None),
        ("192.0.2.10", set(), None),
    ],
)
def test_steering(address: str, listeners: set[bytes], chosen: bytes | None) -> None:
    assert steered_to(address, listeners, XID) == chosen
    assert steered_to(address, listeners, XID, protocol=socket.IPPROTO_UDP) is None


def test_who_shares_an_address_is_asked_in_turn() -> None:
    others = key(owner=XID + 1, family=V4)
    assert steered_to("198.51.100.10", {FOUR, others}, XID + 1, XID) == others
    assert steered_to("198.51.100.10", {FOUR}, XID + 1, XID) == FOUR
    assert steered_to("198.51.100.10", {FOUR}, 2, 3, 4, XID) == FOUR
    assert steered_to("198.51.100.10", {FOUR}, 2, 3, 4, 5) is None


def test_the_programs_name_fits() -> None:
    assert len(steering_name(steer())) <= 15
