# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the binding's programs decide, found out by running their bytecode: tables of cases, and a model."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import source
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import (
    ADDRESSES_MAX,
    BindingPolicy,
    Source4,
    loopback_addresses,
    loopback_texts,
    policy_of,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.programs import (
    HOOKS,
    MAKERS,
    Dialect,
    binding_programs,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.receivers import CGROUP
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.traffic_counter import (
    TRAFFIC,
    VALUE_SIZE,
    Traffic,
    parse,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf import AttachType
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import Helper
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import XID_MAX, XID_MIN
from ansible_collections.linux.vserver.tests.unit.bpf_machine import CONTEXT, FOUND, PACKET, SOCKET, Machine

Address = Union[IPv4Address, IPv6Address]

OUR_CGROUP, OTHER_CGROUP = 0x1_0000_0451, 0x452
COUNTERS = 0x60000000
GUEST = policy_of(
    514,
    [ip_interface(text) for text in ("192.0.2.10/24", "198.51.100.10/28", "2001:db8:1::10/64", "2001:db8:2::10/60")],
)
LOOPBACK4, LOOPBACK6 = loopback_addresses(514)


@dataclass
class Call:
    """A call as a program saw it, and what became of it.

    * error: errno of the refusal; None: allowed
    * address: the address in the context afterwards; source: what the socket got bound to, or sends from
    """

    value: int
    error: int | None
    address: Address
    source: Address | None


def _code(policy: BindingPolicy, hook: AttachType, dialect: Dialect = Dialect()) -> bytes:  # noqa: B008
    program = next(program for program in binding_programs(policy, dialect) if program.attach_type is hook)
    return program.code.linked({TRAFFIC: 1}, {CGROUP: OUR_CGROUP} if program.code.numbers else {})


def _plain(address: bytes) -> Address:
    if len(address) == 4:
        return IPv4Address(address)
    return IPv6Address(address).ipv4_mapped or IPv6Address(address)


def _wide(address: Address) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def call(
    policy: BindingPolicy,
    hook: AttachType,
    address: str,
    *,
    dialect: Dialect = Dialect(),  # noqa: B008
    bound: str = "",
    port: int = 0,
    source: str = "",
    listener: str = "",
    bind_fails: bool = False,
) -> Call:
    """Run a socket-address program.

    ``bound`` and ``port`` are the socket's own, ``source`` the message's, ``listener`` what a listener that a look-up
    finds is bound to.
    """
    six = hook.name.startswith(("INET6", "UDP6"))
    context, sock, found = bytearray(72), bytearray(80), bytearray(80)
    named = ip_address(address)
    if six:
        context[8:24] = _wide(named)
    else:
        context[4:8] = named.packed
    struct.pack_into("=H", context, 24, socket.htons(80))
    struct.pack_into("=I", context, 36, socket.IPPROTO_TCP)
    struct.pack_into("=Q", context, 64, SOCKET)
    for region, text in ((sock, bound), (found, listener)):
        if text and six:
            region[28:44] = _wide(ip_address(text))
        elif text:
            region[24:28] = ip_address(text).packed
    struct.pack_into("=I", sock, 44, port)
    if source:
        if six:
            context[44:60] = _wide(ip_address(source))
        else:
            context[40:44] = ip_address(source).packed
    refusals: list[int] = []
    sources: list[Address] = []

    def bind(machine: Machine, arguments: list[int]) -> int:
        data = machine.read(arguments[1], arguments[2])
        (family, local) = struct.unpack_from("=HH", data)
        assert (family, len(data), local) == ((socket.AF_INET6, 28, 0) if six else (socket.AF_INET, 16, 0))
        assert six or data[8:] == bytes(8)
        sources.append(_plain(data[8:24] if six else data[4:8]))
        return -errno.EINVAL if bind_fails else 0

    def set_retval(_ignored: Machine, arguments: list[int]) -> int:
        refusals.append(2**64 - arguments[0])
        return 0

    helpers = {
        Helper.BIND: bind,
        Helper.SET_RETVAL: set_retval,
        Helper.SK_LOOKUP_TCP: lambda _ignored, arguments: FOUND if listener else 0,
        Helper.SK_RELEASE: lambda _ignored, arguments: 0,
    }
    machine = Machine({CONTEXT: context, SOCKET: sock, FOUND: found}, helpers)
    value = machine.run(_code(policy, hook, dialect))
    error = None if value & 1 else (refusals[0] if refusals else errno.EPERM)
    if hook.name.endswith("SENDMSG"):
        sources.append(_plain(bytes(context[44:60] if six else context[40:44])))
    return Call(value, error, _plain(bytes(context[8:24] if six else context[4:8])), sources[0] if sources else None)


BIND4, BIND6 = AttachType.INET4_BIND, AttachType.INET6_BIND
CONNECT4, CONNECT6 = AttachType.INET4_CONNECT, AttachType.INET6_CONNECT
SENDMSG4, SENDMSG6 = AttachType.UDP4_SENDMSG, AttachType.UDP6_SENDMSG


# --- the set of programs


def test_one_program_per_hook_with_a_name_the_kernel_takes() -> None:
    programs = binding_programs(GUEST, Dialect(steering=True))
    assert [program.attach_type for program in programs] == list(HOOKS)
    required = [hook for hook, about in HOOKS.items() if about.required]
    assert [program.attach_type for program in binding_programs(GUEST)] == required
    for program in programs:
        assert len(program.name) <= 15
        assert set(program.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._")


def imported(path: str, content: bytes) -> Iterator[str]:
    """Where what a module of the engine imports from it may be, package files included."""
    place = path.split("/")[:-1]
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = place[: len(place) + 1 - node.level] + (node.module.split(".") if node.module else [])
            for target in (base, *([*base, alias.name] for alias in node.names)):
                yield "/".join([*target, "__init__.py"])
                yield f"{'/'.join(target)}.py"


def test_names_depend_on_all_that_makes_instructions() -> None:
    """A program made by other source has another name, and so is replaced."""
    found, pending = {"source.py"}, ["chbind/programs.py"]  # which reads them
    while pending:
        path = pending.pop()
        if path not in found:
            with contextlib.suppress(FileNotFoundError):
                content = source.read(path)
                found.add(path)
                pending += imported(path, content)
    assert {path for path in found if not path.endswith("__init__.py")} == {"source.py", *MAKERS}


def test_equal_policies_have_equal_names_and_others_do_not() -> None:
    def names(policy: BindingPolicy) -> set[str]:
        return {program.name for program in binding_programs(policy)}

    again = policy_of(514, [ip_interface(str(own)) for own in ("192.0.2.10/24", "2001:db8:1::10/64")])
    more = policy_of(514, [ip_interface(str(own)) for own in ("192.0.2.11/24", "2001:db8:1::10/64")])
    assert names(again) == names(dataclasses.replace(again))
    assert len(names(again) ^ names(more)) >= 12


# --- tables


@pytest.mark.parametrize(
    ("hook", "asked", "given"),
    [
        (BIND4, "0.0.0.0", "192.0.2.10"),
        (BIND4, "198.51.100.10", "198.51.100.10"),
        (BIND4, "127.0.0.1", "127.2.2.1"),
        (BIND4, "127.0.0.53", "127.2.2.53"),
        (BIND4, "127.0.1.1", "127.2.2.1"),
        (BIND4, "127.2.2.77", "127.2.2.77"),
        (BIND6, "::", "2001:db8:1::10"),
        (BIND6, "::1", str(LOOPBACK6)),
        (BIND6, "2001:db8:2::10", "2001:db8:2::10"),
        (BIND6, "::ffff:0.0.0.0", "192.0.2.10"),
        (BIND6, "::ffff:127.0.0.1", "127.2.2.1"),
        (BIND6, "::ffff:198.51.100.10", "198.51.100.10"),
    ],
)
def test_bind(hook: AttachType, asked: str, given: str) -> None:
    result = call(GUEST, hook, asked)
    assert (result.value, str(result.address)) == (3, given)
    assert call(GUEST, hook, asked, dialect=Dialect(low_ports=False)).value == 1


@pytest.mark.parametrize(
    ("hook", "asked"),
    [
        (BIND4, "192.0.2.11"),
        (BIND4, "224.0.0.1"),
        (BIND4, "255.255.255.255"),
        (BIND6, "2001:db8:1::11"),
        (BIND6, str(LOOPBACK6)),
        (BIND6, "::ffff:192.0.2.11"),
        (BIND6, "::2"),
        (BIND6, "::192.0.2.10"),
        (BIND6, "ff02::1"),
        (BIND6, "fe80::1"),
    ],
)
def test_bind_refused(hook: AttachType, asked: str) -> None:
    assert call(GUEST, hook, asked).error == errno.EADDRNOTAVAIL
    assert call(GUEST, hook, asked, dialect=Dialect(exact_errno=False)).error == errno.EPERM


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "loopback4", "loopback6", "given"),
    [
        ("192.0.2.10", "2001:db8::1", True, True, "2001:db8::1"),
        ("192.0.2.10", "fe80::1", True, True, "192.0.2.10"),
        ("192.0.2.10", "", True, True, "192.0.2.10"),
        ("", "", True, True, str(LOOPBACK6)),
        ("", "", True, False, str(LOOPBACK4)),
        ("", "", False, False, None),
    ],
)
def test_what_any_means_to_an_ipv6_socket(
    ipv4: str, ipv6: str, loopback4: bool, loopback6: bool, given: str | None
) -> None:
    policy = BindingPolicy(
        ipv4=(IPv4Address(ipv4),) if ipv4 else (),
        ipv6=(IPv6Address(ipv6),) if ipv6 else (),
        loopback4=LOOPBACK4 if loopback4 else None,
        loopback6=LOOPBACK6 if loopback6 else None,
    )
    result = call(policy, BIND6, "::")
    assert (str(result.address) if result.error is None else None) == given


@pytest.mark.parametrize("hooks", [(CONNECT4, CONNECT6), (SENDMSG4, SENDMSG6)])
@pytest.mark.parametrize(
    ("destination", "reached", "source"),
    [
        ("203.0.113.1", "203.0.113.1", "192.0.2.10"),
        ("192.0.2.77", "192.0.2.77", "192.0.2.10"),
        ("198.51.100.14", "198.51.100.14", "198.51.100.10"),
        ("198.51.100.16", "198.51.100.16", "192.0.2.10"),
        ("198.51.100.10", "198.51.100.10", "198.51.100.10"),
        ("127.0.0.1", "127.2.2.1", "127.2.2.1"),
        ("127.0.0.53", "127.2.2.53", "127.2.2.1"),
        ("0.0.0.0", "127.2.2.1", "127.2.2.1"),
        ("2001:db8:9::1", "2001:db8:9::1", "2001:db8:1::10"),
        ("2001:db8:2:f::1", "2001:db8:2:f::1", "2001:db8:2::10"),
        ("2001:db8:2:10::1", "2001:db8:2:10::1", "2001:db8:1::10"),
        ("2001:db8:2::10", "2001:db8:2::10", "2001:db8:2::10"),
        ("::1", str(LOOPBACK6), str(LOOPBACK6)),
        ("::", str(LOOPBACK6), str(LOOPBACK6)),
        ("::ffff:198.51.100.14", "198.51.100.14", "198.51.100.10"),
        ("::ffff:127.0.0.1", "127.2.2.1", "127.2.2.1"),
    ],
)
def test_an_unbound_socket_gets_a_source(
    hooks: tuple[AttachType, AttachType], destination: str, reached: str, source: str
) -> None:
    hook = hooks[":" in destination]
    result = call(GUEST, hook, destination)
    if hook is SENDMSG6 and destination.startswith("::ffff:"):
        assert result.error == errno.EPERM  # the kernel has the IPv4 program decide instead
    else:
        assert (result.error, str(result.address), str(result.source)) == (None, reached, source)


@pytest.mark.parametrize(("bound", "port"), [("198.51.100.10", 99), ("", 99), ("198.51.100.10", 0)])
def test_a_bound_socket_stays_where_it_is(bound: str, port: int) -> None:
    assert call(GUEST, CONNECT4, "203.0.113.1", bound=bound, port=port).source is None
    assert call(GUEST, CONNECT6, "::ffff:203.0.113.1", bound=bound and f"::ffff:{bound}", port=port).source is None
    assert call(GUEST, CONNECT6, "2001:db8::9", bound=bound and "2001:db8:2::10", port=port).source is None


def test_a_source_the_kernel_does_not_take_is_a_refusal() -> None:
    assert call(GUEST, CONNECT4, "203.0.113.1", bind_fails=True).error == errno.EPERM


@pytest.mark.parametrize(
    ("hook", "source", "error"),
    [
        (SENDMSG4, "198.51.100.10", None),
        (SENDMSG4, "127.0.0.1", None),
        (SENDMSG4, "198.51.100.11", errno.EPERM),
        (SENDMSG6, "2001:db8:2::10", None),
        (SENDMSG6, "::1", None),
        (SENDMSG6, "2001:db8:2::11", errno.EPERM),
    ],
)
def test_a_message_names_its_source(hook: AttachType, source: str, error: int | None) -> None:
    destination = "203.0.113.1" if hook is SENDMSG4 else "2001:db8:9::1"
    result = call(GUEST, hook, destination, source=source)
    assert result.error == error
    if source in ("127.0.0.1", "::1"):
        assert result.source in (LOOPBACK4, LOOPBACK6)


@pytest.mark.parametrize(
    ("hook", "address"), [(CONNECT4, "127.0.0.1"), (CONNECT6, "::1"), (CONNECT6, "::ffff:127.0.0.1")]
)
def test_a_wildcard_listener_is_not_ours(hook: AttachType, address: str) -> None:
    anybody, ours = "::" if hook is CONNECT6 else "0.0.0.0", "2001:db8::1" if hook is CONNECT6 else "127.2.2.1"
    if "ffff" in address:
        ours = "::ffff:127.2.2.1"
    if hook is CONNECT4 or "ffff" not in address:
        assert call(GUEST, hook, address, listener=anybody).error == errno.ECONNREFUSED
        assert call(GUEST, hook, address, listener=ours).error is None
    assert call(GUEST, hook, address).error is None


@pytest.mark.parametrize("address", ["224.0.0.251", "255.255.255.255", "192.0.2.255", "ff02::fb", "ff0e::1"])
def test_multicast_and_broadcast_are_an_option(address: str) -> None:
    hooks = (BIND6, CONNECT6, SENDMSG6) if ":" in address else (BIND4, CONNECT4, SENDMSG4)
    allowing = dataclasses.replace(GUEST, multicast=True)
    for hook in hooks:
        assert call(GUEST, hook, address).error is not None
        assert call(allowing, hook, address).error is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("127.2.2.1", "127.0.0.1"),
        ("127.2.2.53", "127.0.0.53"),
        ("127.2.3.1", "127.2.3.1"),
        ("192.0.2.10", "192.0.2.10"),
        (str(LOOPBACK6), "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:127.2.2.1", "127.0.0.1"),
        ("::ffff:192.0.2.10", "192.0.2.10"),
    ],
)
@pytest.mark.parametrize("call_name", ["UDP{}_RECVMSG", "INET{}_GETSOCKNAME", "INET{}_GETPEERNAME"])
def test_what_is_shown(call_name: str, address: str, shown: str) -> None:
    result = call(GUEST, AttachType[call_name.format(6 if ":" in address else 4)], address)
    assert (result.value, str(result.address)) == (1, shown)


V4, V6, STREAM, DGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
ONLY4 = BindingPolicy(ipv4=(IPv4Address("192.0.2.10"),))
ONLY6 = BindingPolicy(ipv6=(IPv6Address("2001:db8::1"),))


@pytest.mark.parametrize(
    ("policy", "family", "kind", "protocol", "error"),
    [
        (GUEST, V4, STREAM, 6, None),
        (GUEST, V6, STREAM, 6, None),
        (GUEST, V4, DGRAM, 17, None),
        (GUEST, V6, DGRAM, 17, None),
        (GUEST, V4, DGRAM, 1, errno.EPROTONOSUPPORT),
        (dataclasses.replace(GUEST, ping=True), V4, DGRAM, 1, None),
        (dataclasses.replace(GUEST, ping=True), V6, DGRAM, 58, None),
        (dataclasses.replace(GUEST, ping=True), V6, DGRAM, 1, errno.EPROTONOSUPPORT),
        (GUEST, V4, DGRAM, 136, errno.EPROTONOSUPPORT),
        (GUEST, V4, STREAM, 262, errno.EPROTONOSUPPORT),
        (GUEST, V4, STREAM, 132, errno.EPROTONOSUPPORT),
        (GUEST, V4, socket.SOCK_SEQPACKET, 132, errno.EPROTONOSUPPORT),
        (GUEST, V4, DGRAM, 6, errno.EPROTONOSUPPORT),
        (GUEST, V4, socket.SOCK_RAW, 6, errno.EPERM),
        (GUEST, V6, socket.SOCK_RAW, 58, errno.EPERM),
        (ONLY4, V6, STREAM, 6, errno.EAFNOSUPPORT),
        (ONLY6, V4, STREAM, 6, errno.EAFNOSUPPORT),
        (BindingPolicy(), V4, STREAM, 6, errno.EAFNOSUPPORT),
        (BindingPolicy(host_loopback=True), V6, DGRAM, 17, None),
    ],
)
def test_which_sockets_exist(policy: BindingPolicy, family: int, kind: int, protocol: int, error: int | None) -> None:
    refusals: list[int] = []

    def set_retval(_ignored: Machine, arguments: list[int]) -> int:
        refusals.append(2**64 - arguments[0])
        return 0

    context = bytearray(80)
    struct.pack_into("=III", context, 4, family, kind, protocol)
    marked = dataclasses.replace(policy, mark=0x1234)
    machine = Machine({CONTEXT: context}, {Helper.SET_RETVAL: set_retval})
    value = machine.run(_code(marked, AttachType.INET_SOCK_CREATE))
    assert (value, refusals) == ((1, []) if error is None else (0, [error]))
    assert struct.unpack_from("=I", context, 16) == ((0x1234,) if error is None else (0,))


# --- packets


def packet(source: str, destination: str, protocol: int = socket.IPPROTO_UDP, flags: int = 0x02) -> bytes:
    origin, target = ip_address(source), ip_address(destination)
    ports = struct.pack("!HH", 40000, 53) + bytes(9) + bytes([flags]) + bytes(6)
    if origin.version == 4:
        return struct.pack("!BxHxxxxBBxx", 0x45, 40, 64, protocol) + origin.packed + target.packed + ports
    return struct.pack("!IHBB", 6 << 28, 20, protocol, 64) + origin.packed + target.packed + ports


def passes(
    policy: BindingPolicy,
    hook: AttachType,
    data: bytes,
    *,
    found: tuple[str, int] | None = None,
    device: int = 2,
    segments: int = 0,
) -> bool:
    """Run a packet filter, which has to count what it lets pass and nothing else.

    * found: the socket a look-up gives: what it is bound to, and its cgroup
    * device: index of the interface, 1 is lo; segments: of how many packets this one is made
    """
    context = bytearray(192)
    struct.pack_into(
        "=I12xH22xI", context, 0, len(data), socket.htons(0x800 if data[:1] == b"\x45" else 0x86DD), device
    )
    struct.pack_into("=I", context, 164, segments)
    struct.pack_into("=II", context, 76, PACKET, PACKET + len(data))
    sock = bytearray(80)
    if found and found[0]:
        address = ip_address(found[0])
        sock[24:28] = address.packed[-4:]
        sock[28:44] = _wide(address)
    references = 0

    def look_up(machine: Machine, arguments: list[int]) -> int:
        nonlocal references
        assert len(machine.read(arguments[1], arguments[2])) == (12 if data[0] == 0x45 else 36)
        references += bool(found)
        return FOUND if found else 0

    def release(_ignored: Machine, arguments: list[int]) -> int:
        nonlocal references
        references -= 1
        return 0

    def ancestor(_ignored: Machine, arguments: list[int]) -> int:
        return found[1] if found and arguments[1] == 3 else arguments[1]

    helpers = {
        Helper.SK_LOOKUP_TCP: look_up,
        Helper.SK_LOOKUP_UDP: look_up,
        Helper.SK_RELEASE: release,
        Helper.SK_ANCESTOR_CGROUP_ID: ancestor,
        Helper.MAP_LOOKUP: lambda machine, arguments: COUNTERS * (machine.read(arguments[1], 4) == bytes(4)),
    }
    counters = bytearray(VALUE_SIZE)
    regions = {CONTEXT: context, PACKET: bytearray(data), FOUND: sock, COUNTERS: counters}
    value = Machine(regions, helpers).run(_code(policy, hook))
    assert references == 0
    assert value in (0, 1)
    counted = {slot: dataclasses.asdict(traffic) for slot, traffic in parse(bytes(counters)).items()}
    sizes = dict.fromkeys(counted["ipv4"], 0)
    if value:
        way = "received" if hook is AttachType.INET_INGRESS else "sent"
        sizes.update({f"{way}_bytes": len(data), f"{way}_packets": segments or 1})
    where = ("local_" if device == 1 else "") + ("ipv4" if data[:1] == b"\x45" else "ipv6")
    assert counted == {slot: sizes if slot == where else dict.fromkeys(sizes, 0) for slot in counted}
    return bool(value)


IN, OUT = AttachType.INET_INGRESS, AttachType.INET_EGRESS


@pytest.mark.parametrize(
    ("group", "remote", "expected"),
    [
        ("224.0.0.251", "192.0.2.99", True),
        ("224.0.0.251", "127.0.0.1", False),
        ("224.0.0.251", "127.2.2.1", False),
        ("ff02::fb", "fe80::99", True),
        ("ff02::fb", "::1", False),
        ("ff02::fb", str(LOOPBACK6), False),
    ],
)
def test_what_is_sent_to_a_group_from_a_loopback_is_not_heard(group: str, remote: str, expected: bool) -> None:
    allowing = dataclasses.replace(GUEST, multicast=True)
    assert passes(allowing, AttachType.INET_INGRESS, packet(remote, group)) is expected


@pytest.mark.parametrize(
    ("hook", "local", "remote", "expected"),
    [
        (IN, "192.0.2.10", "203.0.113.1", True),
        (OUT, "192.0.2.10", "203.0.113.1", True),
        (IN, "192.0.2.1", "203.0.113.1", False),
        (OUT, "192.0.2.1", "203.0.113.1", False),
        (OUT, "0.0.0.0", "203.0.113.1", False),
        (OUT, "192.0.2.10", "127.0.0.1", False),
        (OUT, "192.0.2.10", "127.2.3.1", False),
        (IN, "127.2.2.1", "127.0.0.1", False),
        (IN, "127.2.2.1", "203.0.113.1", False),
        (IN, "127.0.0.1", "192.0.2.10", False),
        (OUT, "127.2.2.1", "203.0.113.1", False),
        (IN, "127.2.2.1", "127.2.2.1", True),
        (OUT, "127.2.2.1", "127.2.2.53", True),
        (IN, "127.2.2.1", "192.0.2.10", True),
        (OUT, "192.0.2.10", "127.2.2.1", True),
        (OUT, "192.0.2.10", "224.0.0.1", False),
        (OUT, "192.0.2.10", "255.255.255.255", False),
        (OUT, "192.0.2.10", "192.0.2.255", False),
        (IN, "224.0.0.1", "192.0.2.1", False),
        (IN, "2001:db8:1::10", "2001:db8:9::1", True),
        (OUT, "2001:db8:1::10", "2001:db8:9::1", True),
        (IN, "2001:db8:1::11", "2001:db8:9::1", False),
        (OUT, "2001:db8:1::11", "2001:db8:9::1", False),
        (OUT, "2001:db8:1::10", "::1", False),
        (IN, "::1", "::1", False),
        (IN, str(LOOPBACK6), str(LOOPBACK6), True),
        (IN, str(LOOPBACK6), "2001:db8:9::1", False),
        (OUT, str(LOOPBACK6), "2001:db8:9::1", False),
        (OUT, "2001:db8:1::10", str(LOOPBACK6), True),
        (OUT, "2001:db8:1::10", "ff02::1", False),
        (IN, "ff02::1", "2001:db8:9::1", False),
    ],
)
def test_packets(hook: AttachType, local: str, remote: str, expected: bool) -> None:
    data = packet(remote, local) if hook is IN else packet(local, remote)
    assert passes(GUEST, hook, data) is expected


@pytest.mark.parametrize("hook", [IN, OUT])
@pytest.mark.parametrize("device", [0, 1, 2])
@pytest.mark.parametrize("segments", [0, 1, 40])
@pytest.mark.parametrize(
    ("own", "other"), [("192.0.2.10", "203.0.113.1"), ("2001:db8:1::10", "2001:db8:9::1"), ("127.2.2.1", "127.2.2.1")]
)
def test_what_passes_is_counted_where_it_belongs(
    hook: AttachType, device: int, segments: int, own: str, other: str
) -> None:
    data = packet(other, own) if hook is IN else packet(own, other)
    assert passes(GUEST, hook, data, device=device, segments=segments)


def test_the_counters_of_all_processors_are_one() -> None:
    one, two = struct.pack("=16Q", *range(16)), struct.pack("=16Q", *range(100, 116))
    assert parse(one + two)["ipv4"] == Traffic(100, 102, 116, 118)
    assert parse(one + two)["local_ipv6"] == Traffic(112, 114, 128, 130)


@pytest.mark.parametrize("hook", [IN, OUT])
@pytest.mark.parametrize(
    "data", [b"", b"\x45", bytes(19), b"\x45" + bytes(18), b"\x60" + bytes(38), b"\x55" + bytes(60)]
)
def test_what_is_no_ip_packet_is_dropped(hook: AttachType, data: bytes) -> None:
    assert not passes(GUEST, hook, data)


@pytest.mark.parametrize("address", ["127.2.2.1", str(LOOPBACK6)])
@pytest.mark.parametrize(
    ("hook", "protocol", "flags", "found", "expected"),
    [
        # Outwards: a datagram, or what opens a connection, to a wildcard socket only if that is ours.
        (OUT, 17, 0, None, True),
        (OUT, 17, 0, ("", OUR_CGROUP), True),
        (OUT, 17, 0, ("", OTHER_CGROUP), False),
        (OUT, 17, 0, ("own", OTHER_CGROUP), True),
        (OUT, 6, 0x02, None, True),
        (OUT, 6, 0x02, ("", OUR_CGROUP), True),
        (OUT, 6, 0x02, ("", OTHER_CGROUP), False),
        (OUT, 6, 0x02, ("own", OTHER_CGROUP), True),
        (OUT, 6, 0x12, ("", OTHER_CGROUP), True),
        (OUT, 132, 0, None, False),
        # Inwards: the sender has to be ours.
        (IN, 17, 0, None, True),
        (IN, 17, 0, ("own", OUR_CGROUP), True),
        (IN, 17, 0, ("own", OTHER_CGROUP), False),
        (IN, 17, 0, ("", OTHER_CGROUP), False),
        (IN, 6, 0x02, ("own", OTHER_CGROUP), False),
        (IN, 6, 0x02, ("own", OUR_CGROUP), True),
        (IN, 6, 0x12, ("own", OTHER_CGROUP), True),
        (IN, 6, 0x10, ("own", OTHER_CGROUP), True),
        (IN, 132, 0, None, False),
    ],
)
def test_both_ends_of_a_loopback_packet_are_ours(
    address: str, hook: AttachType, protocol: int, flags: int, found: tuple[str, int] | None, expected: bool
) -> None:
    other_end = (address if found[0] else "", found[1]) if found else None
    assert passes(GUEST, hook, packet(address, address, protocol, flags), found=other_end) is expected


def test_options_and_extension_headers_hide_no_port() -> None:
    with_options = bytearray(packet("127.2.2.1", "127.2.2.1"))
    with_options[0] = 0x46
    assert not passes(GUEST, OUT, bytes(with_options))
    assert not passes(GUEST, OUT, packet(str(LOOPBACK6), str(LOOPBACK6), protocol=0))


@pytest.mark.parametrize("own", ["192.0.2.10", "2001:db8:1::10"])
def test_the_hosts_loopback_on_request(own: str) -> None:
    policy = BindingPolicy(ipv4=(IPv4Address("192.0.2.10"),), ipv6=(IPv6Address("2001:db8:1::10"),), host_loopback=True)
    loopback = "::1" if ":" in own else "127.0.0.1"
    for hook in (IN, OUT):
        assert passes(policy, hook, packet(loopback, loopback))
        assert passes(policy, hook, packet(own, loopback))
        assert passes(policy, hook, packet(loopback, own))
    connect = CONNECT6 if ":" in own else CONNECT4
    result = call(policy, connect, loopback)
    assert (result.error, str(result.address), result.source) == (None, loopback, None)


# --- a model

POOL4 = [IPv4Address(text) for text in ("192.0.2.10", "192.0.2.11", "198.51.100.7", "203.0.113.200", "10.1.2.3")]
POOL6 = [IPv6Address(text) for text in ("2001:db8::1", "2001:db8::2", "fd00:1::1", "fe80::9", "2001:db8:0:1::1")]
SPECIAL4 = ["0.0.0.0", "127.0.0.1", "127.0.0.53", "127.0.1.1", "127.2.2.1", "127.2.2.9", "127.2.3.1", "224.0.0.251"]
SPECIAL6 = ["::", "::1", str(LOOPBACK6), "ff02::fb", "fd76:7365:7276:6572::203"]

destinations4 = st.one_of(
    st.sampled_from(POOL4),
    st.sampled_from([IPv4Address(text) for text in (*SPECIAL4, "255.255.255.255", "192.0.2.255")]),
    st.integers(0, 2**32 - 1).map(IPv4Address),
)
destinations6 = st.one_of(
    st.sampled_from(POOL6),
    st.sampled_from([IPv6Address(text) for text in SPECIAL6]),
    destinations4.map(lambda address: IPv6Address(_wide(address))),
    st.integers(0, 2**128 - 1).map(IPv6Address),
)


@st.composite
def policies(draw: st.DrawFn) -> BindingPolicy:
    private = draw(st.booleans())
    interfaces = [
        *(ip_interface(f"{address}/{draw(st.integers(16, 32))}") for address in draw(st.lists(st.sampled_from(POOL4)))),
        *(
            ip_interface(f"{address}/{draw(st.integers(32, 128))}")
            for address in draw(st.lists(st.sampled_from(POOL6)))
        ),
    ]
    policy = policy_of(514, interfaces, multicast=draw(st.booleans()))
    if private:
        return policy
    return dataclasses.replace(policy, loopback4=None, loopback6=None, host_loopback=draw(st.booleans()))


def _is_broadcast(policy: BindingPolicy, address: Address) -> bool:
    return address.is_multicast or address in policy.broadcasts


def model_loopback(policy: BindingPolicy, address: Address) -> Address | None:
    """What a loopback address stands for; None: there is none."""
    if policy.host_loopback:
        return address
    if address.version == 6:
        return policy.loopback6
    if policy.loopback4 is None:
        return None
    host = int(address) & 255
    inside = address in IPv4Network("127.0.0.0/24") or address in IPv4Network((policy.loopback4, 24), strict=False)
    return IPv4Address(int(policy.loopback4) & ~255 | host) if inside else policy.loopback4


def model_bind(policy: BindingPolicy, address: Address) -> Address | None:
    own: tuple[Address, ...] = policy.ipv4 if address.version == 4 else policy.ipv6
    if address.is_unspecified:
        return policy.primary4 if address.version == 4 else policy.primary6
    if address.is_loopback:
        return model_loopback(policy, address)
    return address if address in own or (policy.multicast and _is_broadcast(policy, address)) else None


@given(policies(), st.one_of(destinations4, destinations6))
def test_bind_is_as_the_model_says(policy: BindingPolicy, address: Address) -> None:
    plain = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
    result = call(policy, BIND4 if address.version == 4 else BIND6, str(address))
    expected = model_bind(policy, plain)
    assert (result.address if result.error is None else None) == expected
    if expected is None:
        assert result.error == errno.EADDRNOTAVAIL


def model_send(policy: BindingPolicy, address: Address) -> tuple[Address, Address | None] | None:
    """Where it goes, and from where (None: the kernel chooses); None: refused."""
    four = address.version == 4
    own: tuple[Address, ...] = policy.ipv4 if four else policy.ipv6
    usable = [candidate for candidate in own if four or not candidate.is_link_local]
    private = policy.loopback4 if four else policy.loopback6
    if address.is_unspecified:
        if policy.host_loopback:
            return (IPv4Address("127.0.0.1") if four else address), None
        if private is None:
            return (usable[0], usable[0]) if usable else None
        return private, private
    if address.is_loopback or address == policy.loopback6:
        target = model_loopback(policy, address)
        return None if target is None else (target, private)
    if (_is_broadcast(policy, address) and not policy.multicast) or not usable:
        return None
    if address in usable:
        return address, address
    networks: list[tuple[IPv4Network | IPv6Network, Address]] = [
        *((source.network, source.address) for source in policy.sources4),
        *((source.network, source.address) for source in policy.sources6),
    ]
    fitting = [(network.prefixlen, source) for network, source in networks if address in network]
    return address, max(fitting, key=lambda pair: pair[0])[1] if fitting else usable[0]


@given(policies(), st.one_of(destinations4, destinations6), st.booleans())
def test_sending_is_as_the_model_says(policy: BindingPolicy, address: Address, connect: bool) -> None:
    plain = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
    if address is not plain and not connect:
        return
    hooks = ((SENDMSG4, SENDMSG6), (CONNECT4, CONNECT6))[connect]
    result = call(policy, hooks[address.version == 6], str(address))
    expected = model_send(policy, plain)
    assert (expected is None) == (result.error is not None)
    if expected is not None:
        assert result.address == expected[0]
        nothing = None if connect else type(plain)(0)
        assert result.source == (expected[1] or nothing)


def model_packet(policy: BindingPolicy, local: Address, remote: Address, incoming: bool) -> bool:
    """Without any socket to be found."""

    def loopback(address: Address) -> bool:
        if address.version == 6:
            return address == policy.loopback6 or address.is_loopback
        return address.is_loopback

    def own_loopback(address: Address) -> bool:
        if policy.host_loopback:
            return address.is_loopback
        if address.version == 6:
            return address == policy.loopback6
        return policy.loopback4 is not None and address in IPv4Network((policy.loopback4, 24), strict=False)

    own = {*policy.ipv4, *policy.ipv6}
    if loopback(local) or loopback(remote):
        ends = [own_loopback(end) or end in own for end in (local, remote)]
        # With the host's loopback the far end is the host's matter.
        return all(ends) if not policy.host_loopback else ends[0] and (ends[1] or not loopback(local))
    if incoming and _is_broadcast(policy, local):
        return policy.multicast
    return local in own and (incoming or policy.multicast or not _is_broadcast(policy, remote))


@given(policies(), st.data(), st.booleans(), st.sampled_from([destinations4, destinations6]))
def test_packets_are_as_the_model_says(
    policy: BindingPolicy, data: st.DataObject, incoming: bool, addresses: st.SearchStrategy[Address]
) -> None:
    local, remote = data.draw(addresses), data.draw(addresses)
    sent = packet(str(remote), str(local)) if incoming else packet(str(local), str(remote))
    assert passes(policy, IN if incoming else OUT, sent) is model_packet(policy, local, remote, incoming)


# --- the policy


def _mistakes() -> Iterator[dict[str, object]]:
    own = (IPv4Address("192.0.2.10"),)
    yield {"loopback4": LOOPBACK4, "host_loopback": True}
    yield {"loopback4": IPv4Address("192.0.2.1")}
    yield {"ipv4": (IPv4Address("0.0.0.0"),)}
    yield {"ipv4": (IPv4Address("224.0.0.1"),)}
    yield {"ipv6": (IPv6Address("::1"),)}
    yield {"ipv6": (IPv6Address("::ffff:192.0.2.10"),)}
    yield {"ipv4": tuple(IPv4Address("10.0.0.0") + number for number in range(ADDRESSES_MAX + 1))}
    yield {"ipv4": own, "sources4": (Source4(IPv4Network("10.0.0.0/8"), IPv4Address("10.0.0.1")),)}


@pytest.mark.parametrize("mistake", list(_mistakes()))
def test_a_policy_that_cannot_be_meant(mistake: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="binding|loopback"):
        BindingPolicy(**mistake)  # type: ignore[arg-type]


def test_as_many_addresses_as_allowed() -> None:
    many = policy_of(2, [ip_interface(f"10.{number}.0.1/16") for number in range(ADDRESSES_MAX)])
    assert str(call(many, CONNECT4, f"10.{ADDRESSES_MAX - 1}.9.9").source) == f"10.{ADDRESSES_MAX - 1}.0.1"


@pytest.mark.parametrize(
    ("xid", "loopback4", "loopback6"),
    [
        (2, "127.0.2.1", "fd76:7365:7276:6572::2"),
        (514, "127.2.2.1", "fd76:7365:7276:6572::202"),
        (32767, "127.127.255.1", "fd76:7365:7276:6572::7fff"),
    ],
)
def test_loopback_addresses(xid: int, loopback4: str, loopback6: str) -> None:
    assert tuple(map(str, loopback_addresses(xid))) == loopback_texts(xid) == (loopback4, loopback6)


def test_loopbacks_are_written_as_other_addresses_are() -> None:
    """Or nobody would see that somebody has asked for one."""
    xids = range(XID_MIN, XID_MAX + 1)
    assert [xid for xid in xids if tuple(map(str, loopback_addresses(xid))) != loopback_texts(xid)] == []
