# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system call filter as a table: evaluated by a model of it, and as the program libseccomp compiles it to."""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import seccomp
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Unsupported
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import seccomp_filter

PROFILE = seccomp.profile("x86_64")
FAMILIES = {seccomp.AF_UNIX, seccomp.AF_INET, seccomp.AF_INET6, seccomp.AF_NETLINK}
PROTOCOLS = {seccomp.NETLINK_ROUTE, seccomp.NETLINK_AUDIT, seccomp.NETLINK_KOBJECT_UEVENT}
AF_PACKET, AF_ALG, AF_VSOCK, AF_XDP = 17, 38, 40, 44
SOCK_PACKET = 10
NPROTO, MAX_LINKS = 64, 32  # no family and no netlink protocol from here on, in any kernel so far
HIGH = 1 << 32

REGISTER = st.integers(0, (1 << 64) - 1)
#: Values near the ones that matter, with anything in the upper half.
TRICKY = st.builds(
    lambda low, high: high << 32 | low, st.integers(0, 300) | st.integers(0, HIGH - 1), st.integers(0, HIGH - 1)
)


def answer(name: str, *arguments: int) -> int:
    """The errno the filter gives, 0 when it lets the call through; as seccomp compares: 64 bits, unsigned."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]

    def matches(test: dict[str, Any]) -> bool:
        assert test["op"] == "SCMP_CMP_MASKED_EQ"
        return bool(padded[test["index"]] & test["value"] == test["valueTwo"])

    found = {
        entry["errnoRet"]
        for entry in PROFILE["syscalls"]
        if name in entry["names"] and all(map(matches, entry.get("args", [])))
    }
    assert len(found) <= 1, f"{name}{arguments} has several answers: {found}"
    return found.pop() if found else 0


def socket_in_kernel(family: int, kind: int, protocol: int) -> tuple[int, int]:
    """Family and netlink protocol the kernel makes of socket's registers (net/socket.c, __sock_create)."""
    family, kind, protocol = (value & 0xFFFFFFFF for value in (family, kind, protocol))
    if family == seccomp.AF_INET and kind & seccomp.SOCK_TYPE_MASK == SOCK_PACKET:
        family = AF_PACKET
    return family, protocol if family == seccomp.AF_NETLINK else 0


def test_every_system_call_is_denied_once() -> None:
    always = Counter(name for denial in seccomp.DENIALS if not denial.when for name in denial.syscalls)
    sometimes = {name for denial in seccomp.DENIALS if denial.when for name in denial.syscalls}
    assert set(always.values()) == {1}
    assert not set(always) & sometimes


@pytest.mark.parametrize("denial", seccomp.DENIALS, ids=lambda denial: f"{denial.syscalls[0]}-{denial.errno}")
def test_every_denial_has_a_reason_and_an_errno(denial: seccomp.Denial) -> None:
    assert len(denial.reason) > 20
    assert denial.errno in errno.errorcode
    for group in denial.when:
        assert group, "an empty group would hold always"
        indices = [condition.argument for condition in group]
        assert len(indices) == len(set(indices)), "runtimes take two tests of one argument for alternatives"
        assert all(condition.value & ~condition.mask == 0 for condition in group), "could never hold"


@pytest.mark.parametrize("architecture", sorted(seccomp.ARCHITECTURES))
def test_the_profile_is_plain_data(architecture: str) -> None:
    profile = seccomp.profile(architecture)
    assert json.loads(json.dumps(profile)) == profile
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    assert {entry["action"] for entry in profile["syscalls"]} == {"SCMP_ACT_ERRNO"}


def test_every_abi_of_the_processor_is_filtered() -> None:
    assert set(PROFILE["architectures"]) == {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(Unsupported, match="sparc"):
        seccomp.profile("sparc64")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "mount",
            "umount2",
            "fsopen",
            "fsmount",
            "move_mount",
            "open_tree",
            "pivot_root",
            "reboot",
            "name_to_handle_at",
        ),
        *("unshare", "setns", "clone", "clone3", "adjtimex", "clock_adjtime", "seccomp", "ptrace", "chroot", "bind"),
        *("landlock_create_ruleset", "pidfd_open", "memfd_create", "sethostname", "capset", "prctl", "openat2"),
    ],
)
def test_what_a_distribution_needs_is_allowed(name: str) -> None:
    assert answer(name) == 0


@pytest.mark.parametrize("family", range(256))
@pytest.mark.parametrize("name", ["socket", "socketpair"])
def test_socket_families(name: str, family: int) -> None:
    expected = 0 if family in FAMILIES else errno.EAFNOSUPPORT
    assert answer(name, family, seccomp.SOCK_DGRAM, 0) == expected


@pytest.mark.parametrize("family", [AF_PACKET, AF_ALG, AF_VSOCK, AF_XDP])
@given(high=st.integers(0, HIGH - 1))
def test_upper_bits_hide_no_family(family: int, high: int) -> None:
    assert answer("socket", high << 32 | family, seccomp.SOCK_DGRAM, 0) == errno.EAFNOSUPPORT


@pytest.mark.parametrize("protocol", range(256))
def test_netlink_protocols(protocol: int) -> None:
    expected = 0 if protocol in PROTOCOLS else errno.EPROTONOSUPPORT
    assert answer("socket", seccomp.AF_NETLINK, seccomp.SOCK_RAW, protocol) == expected


@pytest.mark.parametrize("family", [seccomp.AF_INET, seccomp.AF_INET6])
def test_internet_types_and_protocols(family: int) -> None:
    flags = 0o2004000  # SOCK_CLOEXEC | SOCK_NONBLOCK
    for kind in (seccomp.SOCK_STREAM, seccomp.SOCK_DGRAM, seccomp.SOCK_RAW):
        assert answer("socket", family, kind | flags, 0) == 0
    for kind in (0, 4, 5, 6, SOCK_PACKET, 15):
        assert answer("socket", family, kind | flags, 0) == errno.EPROTONOSUPPORT
    for protocol in (1, 6, 17, 58, 262):
        assert answer("socket", family, seccomp.SOCK_DGRAM, protocol) == 0
    for protocol in (33, 115, 132, 136, 256):
        assert answer("socket", family, seccomp.SOCK_DGRAM, protocol) == errno.EPROTONOSUPPORT
    assert answer("socket", family, 5, 132) == errno.EPROTONOSUPPORT
    assert answer("socket", seccomp.AF_UNIX, 5, 0) == 0


@given(TRICKY, TRICKY, TRICKY)
def test_no_register_values_reach_another_socket(family: int, kind: int, protocol: int) -> None:
    if answer("socket", family, kind, protocol) == 0:
        real, netlink = socket_in_kernel(family, kind, protocol)
        assert real in FAMILIES or real >= NPROTO
        assert netlink in PROTOCOLS or netlink >= MAX_LINKS


@given(TRICKY, TRICKY, TRICKY, st.integers(0, HIGH - 1))
def test_upper_bits_change_nothing(family: int, kind: int, protocol: int, high: int) -> None:
    plain = [value & 0xFFFFFFFF for value in (family, kind, protocol)]
    assert answer("socket", *(high << 32 | value for value in plain)) == answer("socket", *plain)


@given(st.integers(0, HIGH - 1))
def test_typing_into_a_terminal_is_denied(high: int) -> None:
    assert answer("ioctl", 0, high << 32 | seccomp.TIOCSTI) == errno.EIO
    assert answer("ioctl", 0, high << 32 | seccomp.TIOCLINUX) == errno.EPERM
    assert answer("ioctl", 0, high << 32 | 0x5413) == 0  # TIOCGWINSZ


def test_the_multiplexer_opens_no_socket() -> None:
    refused = [call for call in range(32) if answer("socketcall", call)]
    assert refused == [1, 8]


@given(st.sets(st.integers(0, 255)), st.integers(0, 255), REGISTER)
def test_outside_is_the_complement(allowed: set[int], value: int, above: int) -> None:
    arguments = (0, (above & ~0xFF) | value)
    holding = [condition for condition in seccomp.outside(1, allowed) if condition.holds(arguments)]
    assert len(holding) == (value not in allowed)


# --- as compiled by the runtimes' library ----------------------------------------------------------------------------

try:
    LIBRARY: ctypes.CDLL | None = seccomp_filter.library()
except Unsupported:
    LIBRARY = None
compiled = pytest.mark.skipif(LIBRARY is None, reason="libseccomp, which crun and runc bring, is not installed")

#: ABI → AUDIT_ARCH as the kernel reports it, what it adds to system call numbers.
ABIS = {
    "SCMP_ARCH_X86_64": (0xC000003E, 0),
    "SCMP_ARCH_X86": (0x40000003, 0),
    "SCMP_ARCH_X32": (0xC000003E, 1 << 30),
    "SCMP_ARCH_AARCH64": (0xC00000B7, 0),
    "SCMP_ARCH_ARM": (0x40000028, 0),
}
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x00000000
EVERY_ABI = [(machine, abi) for machine, abis in sorted(seccomp.ARCHITECTURES.items()) for abi in abis]


@functools.lru_cache
def program(machine: str) -> tuple[tuple[int, int, int, int], ...]:
    """The filter's instructions (struct sock_filter)."""
    return tuple(struct.iter_unpack("=HBBI", seccomp_filter.compiled(seccomp.profile(machine))))


@compiled
def test_the_library_knows_every_call() -> None:
    names = {name for denial in seccomp.DENIALS for name in denial.syscalls}
    assert [name for name in sorted(names) if not seccomp_filter.knows(name)] == []


def execute(code: tuple[tuple[int, int, int, int], ...], data: bytes) -> int:
    """Classic BPF as far as libseccomp uses it (kernel Documentation/networking/filter.rst)."""
    position = accumulator = 0
    while True:
        operation, yes, no, operand = code[position]
        position += 1
        if operation == 0x20:  # load a word
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif operation == 0x54:  # and
            accumulator &= operand
        elif operation == 0x05:  # jump
            position += operand
        elif operation in (0x15, 0x25, 0x35):  # jump if equal, greater, not less
            holds = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}[operation]
            position += yes if holds else no
        else:
            assert operation == 0x06, f"unknown operation {operation:#x}"
            return operand


def verdict(machine: str, abi: str, number: int, *arguments: int) -> int:
    """The errno the compiled filter gives to a call of an ABI; 0: allowed."""
    audit, offset = ABIS[abi]
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    result = execute(program(machine), struct.pack("=IIQ6Q", number | offset, audit, 0, *padded))
    assert result == ALLOW or result & 0xFFFF0000 == ERRNO, f"{result:#x}"
    return result & 0xFFFF if result != ALLOW else 0


def number_of(abi: str, name: str) -> int:
    """The call's number in an ABI, negative where it has none."""
    if (abi, name) in {("SCMP_ARCH_X86", "socket"), ("SCMP_ARCH_X86", "socketpair")}:
        return {"socket": 359, "socketpair": 360}[name]  # the library's own number also stands for socketcall
    assert LIBRARY is not None
    number: int = LIBRARY.seccomp_syscall_resolve_name_arch(seccomp_filter.ABIS[abi], name.encode())
    return number if number < 0 else number & ~ABIS[abi][1]


@compiled
@pytest.mark.parametrize(("machine", "abi"), EVERY_ABI)
def test_compiled_every_denied_call_is_denied_in_every_abi(machine: str, abi: str) -> None:
    tried = 0
    for denial in seccomp.DENIALS:
        for name in denial.syscalls if not denial.when else ():
            number = number_of(abi, name)
            if number >= 0:
                assert verdict(machine, abi, number, 1, 2, 3) == denial.errno, name
                tried += 1
    assert tried > 20
    for name in ("read", "mount", "unshare", "clone3", "reboot", "name_to_handle_at"):
        assert verdict(machine, abi, number_of(abi, name)) == 0, name


@compiled
@pytest.mark.parametrize(("machine", "abi"), EVERY_ABI)
@given(family=TRICKY, kind=TRICKY, protocol=TRICKY)
def test_compiled_sockets_are_as_the_table_says(machine: str, abi: str, family: int, kind: int, protocol: int) -> None:
    arguments = (family, kind, protocol)
    if ABIS[abi][0] & 0x80000000 == 0:  # 32 bits: registers have no upper half
        arguments = (family & 0xFFFFFFFF, kind & 0xFFFFFFFF, protocol & 0xFFFFFFFF)
    for name in ("socket", "socketpair"):
        assert verdict(machine, abi, number_of(abi, name), *arguments) == answer(name, *arguments)


@compiled
@pytest.mark.parametrize(("machine", "abi"), EVERY_ABI)
def test_compiled_families_and_protocols(machine: str, abi: str) -> None:
    socket = number_of(abi, "socket")
    allowed = {family for family in range(256) if verdict(machine, abi, socket, family, 2, 0) == 0}
    assert allowed == FAMILIES
    netlink = {number for number in range(256) if verdict(machine, abi, socket, seccomp.AF_NETLINK, 3, number) == 0}
    assert netlink == PROTOCOLS


@compiled
def test_compiled_the_multiplexer_opens_no_socket() -> None:
    refused = [call for call in range(32) if verdict("x86_64", "SCMP_ARCH_X86", 102, call)]
    assert refused == [1, 8]


@compiled
def test_compiled_another_abi_is_killed() -> None:
    assert execute(program("aarch64"), struct.pack("=IIQ6Q", 0, ABIS["SCMP_ARCH_X86_64"][0], *[0] * 7)) == KILL
