# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the host stands in a guest's way: the kernel's list of sockets, who counts, and what is said of them."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import power
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import listeners
from ansible_collections.linux.vserver.plugins.module_utils._engine.host.listeners import Listener
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import netlink, sock_diag
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.sock_diag import Socket

UINT = st.integers(0, 2**32 - 1)
SOCKETS = st.builds(
    Socket,
    st.sampled_from(["tcp", "udp"]),
    st.ip_addresses().filter(lambda address: address.version == 4 or address.ipv4_mapped is None),
    st.integers(0, 65535),
    st.booleans(),
    UINT,
    UINT,
    st.integers(0, 2**64 - 1),
).filter(lambda made: made.address.version == 6 or not made.only6)
CLIENT_PORTS = range(32768, 61000)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def as_the_kernel_says(each: Socket, mapped: bool) -> bytes:
    """struct inet_diag_msg (include/uapi/linux/inet_diag.h) with attributes around the telling one."""
    family, packed = socket.AF_INET, each.address.packed + bytes(12)
    if isinstance(each.address, IPv6Address):
        family, packed = socket.AF_INET6, each.address.packed
    elif mapped:
        family, packed = socket.AF_INET6, bytes(10) + b"\xff\xff" + each.address.packed
    ports = struct.pack("!HH", each.port, 0)
    queues = struct.pack("=IIIII", 0, 0, 128, each.uid, each.inode)
    head = struct.pack("=BBBB", family, 10, 0, 0) + ports + packed + bytes(16) + struct.pack("=III", 0, 7, 8) + queues
    only6 = attribute(11, bytes([each.only6])) if family == socket.AF_INET6 else b""
    return head + attribute(8, b"\0") + only6 + attribute(21, struct.pack("=Q", each.cgroup))


@given(st.lists(st.tuples(SOCKETS, st.booleans())))
def test_the_kernels_list_is_read_as_it_is_meant(told: list[tuple[Socket, bool]]) -> None:
    data = b""
    for each, mapped in told:
        message = as_the_kernel_says(each, mapped)
        data += struct.pack("=IHHII", 16 + len(message), 20, 2, 0, 0) + message
    data += struct.pack("=IHHIIi", 20, 3, 2, 0, 0, 0)
    found = list(netlink.messages(data))
    assert [kind for kind, _message in found] == [20] * len(told) + [3]
    for (each, _mapped), (_kind, message) in zip(told, found):
        assert sock_diag.parse(each.protocol, message) == each


@given(st.binary(max_size=300))
def test_no_list_upsets_the_reader(data: bytes) -> None:
    for _kind, message in netlink.messages(data):
        with contextlib.suppress(struct.error):
            sock_diag.parse("tcp", message + data)


@given(st.lists(st.tuples(st.binary(max_size=9), st.booleans())))
def test_a_list_that_has_changed_says_so_in_any_message(told: list[tuple[bytes, bool]]) -> None:
    data = b"".join(
        struct.pack("=IHHII", 16 + len(content), 20, 0x12 if changed else 0x2, 0, 0)
        + content
        + bytes(-len(content) % 4)
        for content, changed in told
    )
    assert netlink.interrupted(data) == any(changed for _content, changed in told)


@pytest.mark.parametrize(("changes", "answered"), [(0, True), (3, True), (1000, False)])
def test_a_list_that_has_changed_is_asked_for_again(
    changes: int, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count()

    def answers(*_request: object) -> Iterator[bytes]:
        yield b"one"
        if next(asked) < changes:
            raise InterruptedError

    monkeypatch.setattr(netlink, "_answers", answers)
    with contextlib.nullcontext() if answered else pytest.raises(OSError, match="faster than it can be told"):
        assert netlink.dump(0, 0, b"") == [b"one"]


def test_the_kernel_tells_of_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        found = {each.port: each for each in sock_diag.waiting() if each.address == IPv4Address("127.0.0.1")}
        tcp_port, udp_port = server.getsockname()[1], udp.getsockname()[1]
        assert found[tcp_port].protocol == "tcp" and found[udp_port].protocol == "udp"
        with socket.create_connection(("127.0.0.1", tcp_port)):
            assert len([each for each in sock_diag.waiting() if each.port == tcp_port]) == 1


@pytest.mark.parametrize(
    ("protocol", "address", "port", "counts"),
    [
        ("tcp", "0.0.0.0", 22, True),
        ("tcp", "::", 22, True),
        ("tcp", "0.0.0.0", 40000, True),
        ("udp", "0.0.0.0", 53, True),
        ("udp", "::", 40000, False),
        ("udp", "192.0.2.10", 40000, True),
        ("tcp", "192.0.2.10", 22, True),
        ("tcp", "192.0.2.11", 22, False),
        ("tcp", "127.0.0.1", 22, False),
        ("udp", "::1", 53, False),
        ("tcp", "2001:db8::10", 443, True),
    ],
)
def test_who_stands_in_the_way(protocol: str, address: str, port: int, counts: bool) -> None:
    own = {ip_address("192.0.2.10"), ip_address("2001:db8::10")}
    each = Socket(protocol, ip_address(address), port, False, 0, 1, 0)
    assert listeners.standing_in_the_way([each], own, CLIENT_PORTS) == ([each] if counts else [])


@pytest.mark.parametrize(
    ("address", "only6", "shown"),
    [
        ("0.0.0.0", False, ("0.0.0.0",)),
        ("::", False, ("0.0.0.0", "::")),
        ("::", True, ("::",)),
        ("192.0.2.10", False, ("192.0.2.10",)),
        ("2001:db8::10", False, ("2001:db8::10",)),
    ],
)
def test_what_a_socket_listens_on(address: str, only6: bool, shown: tuple[str, ...]) -> None:
    assert listeners.shown(Socket("tcp", ip_address(address), 80, only6, 0, 1, 0)) == shown


@pytest.mark.parametrize(
    ("cgroups", "guest", "unit"),
    [
        ("0::/system.slice/ssh.service\n", False, "ssh.service"),
        ("12:pids:/system.slice/a.service\n1:name=systemd:/system.slice/a.service\n0::/\n", False, "a.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n", False, "user@1000.service"),
        ("0::/init.scope\n", False, None),
        ("0::/vserver/web1/guest/system.slice/ssh.service\n", True, "ssh.service"),
        ("3:pids:/vserver/web1/guest\n0::/\n", True, None),
        ("0::/vserver-other/web1\n", False, None),
        ("0::/a:b.service\n", False, "a:b.service"),
        ("", False, None),
    ],
)
def test_where_a_process_belongs(cgroups: str, guest: bool, unit: str | None) -> None:
    assert listeners.within(cgroups, "vserver") is guest
    assert listeners.service(cgroups) == unit


EVERYWHERE = ("0.0.0.0", "::")


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        ([], ()),
        (
            [
                Listener("tcp", 22, EVERYWHERE, "sshd", 812, "ssh.service"),
                Listener("tcp", 2222, ("0.0.0.0",), "sshd", 812, "ssh.service"),
            ],
            (
                "sshd (pid 812, ssh.service) listens on every address of the host, tcp port 22, tcp port 2222: "
                "guest web1 cannot listen there, and sshd answers on the guest's addresses. "
                "Bind it to the host's own address in its configuration (sshd: ListenAddress), "
                "or by linux.vserver.address_binding with unit: ssh.service.",
            ),
        ),
        (
            [Listener("udp", 53, ("192.0.2.10",), "named", 5, None)],
            (
                "named (pid 5) listens on 192.0.2.10 of guest web1, udp port 53: "
                "guest web1 cannot listen there, and named answers on the guest's addresses. "
                "Bind it to the host's own address in its configuration (sshd: ListenAddress).",
            ),
        ),
        (
            [Listener("tcp", 2049, EVERYWHERE, None, None, None)],
            (
                "a program of the host that has no process here listens on every address of the host, tcp port 2049: "
                "guest web1 cannot listen there, and it answers on the guest's addresses. "
                "Bind it to the host's own address in its configuration (sshd: ListenAddress).",
            ),
        ),
    ],
    ids=["nobody", "a service", "a guest's address", "the kernel"],
)
def test_what_is_said(found: list[Listener], texts: tuple[str, ...]) -> None:
    assert listeners.warnings("web1", found) == texts


@pytest.mark.parametrize(
    ("state", "starting_from"),
    [
        ("present", set()),
        ("started", {"stopped", "undefined"}),
        ("frozen", {"stopped", "undefined"}),
        ("restarted", {"stopped", "undefined", "running", "frozen"}),
        ("stopped", set()),
    ],
)
def test_what_starts_a_guest(state: str, starting_from: set[str]) -> None:
    every = ("stopped", "undefined", "running", "frozen")
    assert {was for was in every if power.starts(state, was)} == starting_from
