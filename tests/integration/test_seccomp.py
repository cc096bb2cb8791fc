# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system call filter in a container of the real runtime: every entry answers its errno, what is needed works.

The container has no user namespace and all capabilities, so that a refusal is the filter's and not the kernel's; the
same calls are made in one without the filter, to see that each refusal is new. Arguments are such that a call which is
let through does no harm.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import seccomp
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import capability

from . import bare_runtime

MACHINE = platform.machine()
X86 = pytest.mark.skipif(MACHINE != "x86_64", reason="other ABIs of x86-64")
I386 = 0x40000003  # AUDIT_ARCH_I386
I386_SOCKET = 359  # libseccomp resolves the name to a number of its own, for either way to make one
X32 = 1 << 30
BAD = (1 << 64) - 1
HIGH = 1 << 32
UNIX, INET, INET6, NETLINK = seccomp.AF_UNIX, seccomp.AF_INET, seccomp.AF_INET6, seccomp.AF_NETLINK
PACKET, ALG, VSOCK, XDP = 17, 38, 40, 44
STREAM, DGRAM, RAW = seccomp.SOCK_STREAM, seccomp.SOCK_DGRAM, seccomp.SOCK_RAW

#: Arguments with which a call that is let through fails, or changes nothing.
HARMLESS: Mapping[str, tuple[int, ...]] = {
    "kexec_load": (0, 0, 0, BAD),
    "kexec_file_load": (BAD, BAD, 0, 0, BAD),
    "settimeofday": (0, 0),
    "clock_settime": (BAD, 0),
    "acct": (1,),
    "swapon": (1,),
    "swapoff": (1,),
    "iopl": (99,),
    "ioperm": (1 << 20, 1, 0),
    "init_module": (1, 0, 1),
    "delete_module": (1,),
    "uselib": (1,),
    "keyctl": (99,),
    "io_uring_setup": (0, 1),
}
#: Calls that current kernels do not have anyway.
GONE = {"lookup_dcookie", "nfsservctl", "uselib", "_sysctl", "vm86", "vm86old"}

#: Runs in the container: makes the calls on its standard input and tells errno, 0 or the result's absence of one.
PROGRAM = r"""
import ctypes, json, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
MAP_32BIT = 0x40

def native(number, arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(value) for value in arguments])
    return 0 if result >= 0 else ctypes.get_errno()

def i386(number, arguments):
    # push rbx; mov eax, edi; mov ebx, esi; xchg ecx, edx; xor esi, esi; xor edi, edi; int 0x80; pop rbx; ret
    code = bytes.fromhex("53 89f8 89f3 87d1 31f6 31ff cd80 5b c3")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    kinds = [ctypes.c_int] + [ctypes.c_uint] * 3
    call = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    result = call(number, *(list(arguments) + [0, 0, 0])[:3])
    return 0 if result >= 0 else -result

def socketcall(call, arguments):
    low = libc.mmap(None, 4096, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, -1, 0)
    values = (ctypes.c_uint32 * 4)(*arguments, low + 64)
    ctypes.memmove(low, values, 16)
    return i386(102, (call, low))

calls = {"native": native, "i386": i386, "socketcall": socketcall}
print(json.dumps([calls[kind](number, arguments) for kind, number, arguments in json.load(sys.stdin)]))
"""

Call = tuple[str, int, tuple[int, ...]]


def number_of(name: str, architecture: int | None = None) -> int:
    """The number of a system call, from libseccomp, which the runtimes use; negative where there is none."""
    library = ctypes.CDLL("libseccomp.so.2")
    if architecture is None:
        return int(library.seccomp_syscall_resolve_name(name.encode()))
    return int(library.seccomp_syscall_resolve_name_arch(architecture, name.encode()))


def held() -> list[str]:
    """The capabilities this process may hand on."""
    text = Path("/proc/self/status").read_text().split("CapPrm:")[1].split()[0]
    return list(capability.names_of(int(text, 16)))


def root_of(directory: Path) -> list[dict[str, Any]]:
    """Lay out a root with the host's programs and this Python, read-only; return its mounts."""
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},  # crun makes devices, and needs the place
    ]
    python = {Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    for source in [Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")] + sorted(python):
        if source.is_symlink():
            (directory / source.name).symlink_to(source.readlink())
        elif source.is_dir() and (source == Path("/usr") or "/usr" not in map(str, source.parents)):
            options = ["rbind", "ro"]
            mounts.append({"destination": str(source), "type": "bind", "source": str(source), "options": options})
    return mounts


class Containers:
    """Runs :data:`PROGRAM` in a container with or without the filter."""

    def __init__(self, runtime: str, directory: Path) -> None:
        self.runtime, self.directory = runtime, directory
        self.groups = f"vserver-test-seccomp-{secrets.token_hex(4)}"

    def answers(self, calls: list[Call], filtered: bool = True) -> list[int]:
        bundle = self.directory / secrets.token_hex(4)
        (bundle / "root").mkdir(parents=True)
        kept = held()
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        linux: dict[str, Any] = {"namespaces": namespaces, "cgroupsPath": f"/{self.groups}-{bundle.name}"}
        if filtered:
            linux["seccomp"] = seccomp.profile(MACHINE)
        config = {
            "ociVersion": "1.0.2",
            "hostname": "seccomp",
            "root": {"path": "root"},
            "mounts": root_of(bundle / "root"),
            "process": {
                "user": {"uid": 0, "gid": 0},
                "cwd": "/",
                "args": [str(Path(sys.executable).resolve()), "-S", "-c", PROGRAM],
                "env": ["PATH=/usr/bin:/bin"],
                "capabilities": {which: kept for which in ("bounding", "effective", "permitted")},
            },
            "linux": linux,
        }
        (bundle / "config.json").write_text(json.dumps(config))
        result = subprocess.run(
            [self.runtime, "--root", str(bundle / "state"), "run", "--bundle", str(bundle), f"seccomp-{bundle.name}"],
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        found: list[int] = json.loads(result.stdout)
        return found


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Containers:
    return Containers(bare_runtime.path(), tmp_path_factory.mktemp("seccomp"))


def named(expected: list[int]) -> list[str]:
    return [errno.errorcode.get(number, "done") for number in expected]


def test_every_denied_call_answers_its_errno(containers: Containers) -> None:
    denied = [
        (name, denial.errno)
        for denial in seccomp.DENIALS
        if not denial.when
        for name in denial.syscalls
        if number_of(name) >= 0
    ]
    calls: list[Call] = [
        ("native", number_of(name), HARMLESS.get(name, (BAD, 1, BAD, BAD, BAD))) for name, _ignored in denied
    ]
    answers = containers.answers(calls)
    assert dict(zip([name for name, _ignored in denied], named(answers))) == {
        name: errno.errorcode[number] for name, number in denied
    }
    plain = containers.answers(calls, filtered=False)
    same = {name for (name, number), answer in zip(denied, plain) if answer == number}
    assert same <= GONE, "refused without the filter as well"


SOCKETS: list[tuple[tuple[int, int, int], int]] = [
    ((UNIX, STREAM, 0), 0),
    ((UNIX, 5, 0), 0),
    ((INET, STREAM, 0), 0),
    ((INET6, DGRAM, 17), 0),
    ((INET, RAW, 1), 0),
    ((NETLINK, RAW, 0), 0),
    ((NETLINK, RAW, 9), 0),
    ((NETLINK, RAW, 15), 0),
    ((HIGH + INET, HIGH + STREAM, HIGH), 0),
    ((NETLINK + HIGH, RAW, 15 + HIGH), 0),
    ((PACKET, RAW, 0x300), errno.EAFNOSUPPORT),
    ((PACKET + HIGH, RAW, 0x300), errno.EAFNOSUPPORT),
    ((VSOCK, STREAM, 0), errno.EAFNOSUPPORT),
    ((VSOCK + 7 * HIGH, STREAM, 0), errno.EAFNOSUPPORT),
    ((ALG, 5, 0), errno.EAFNOSUPPORT),
    ((ALG | BAD << 32 & BAD, 5, 0), errno.EAFNOSUPPORT),
    ((XDP, RAW, 0), errno.EAFNOSUPPORT),
    ((0, STREAM, 0), errno.EAFNOSUPPORT),
    ((BAD, STREAM, 0), errno.EAFNOSUPPORT),
    ((300, STREAM, 0), errno.EAFNOSUPPORT),
    ((INET, 10, 0x300), errno.EPROTONOSUPPORT),  # SOCK_PACKET
    ((INET + HIGH, 10 + HIGH | 0o2000000, 0x300), errno.EPROTONOSUPPORT),
    ((INET, 5, 0), errno.EPROTONOSUPPORT),
    ((INET, 5, 132), errno.EPROTONOSUPPORT),
    ((INET, STREAM, 132), errno.EPROTONOSUPPORT),
    ((INET6, STREAM, 132 + HIGH), errno.EPROTONOSUPPORT),
    ((INET, DGRAM, 136), errno.EPROTONOSUPPORT),
    ((NETLINK, RAW, 4), errno.EPROTONOSUPPORT),
    ((NETLINK, RAW, 12), errno.EPROTONOSUPPORT),
    ((NETLINK, RAW, 16), errno.EPROTONOSUPPORT),
    ((NETLINK + HIGH, RAW + HIGH, 4 + HIGH), errno.EPROTONOSUPPORT),
]


def check_sockets(found: list[int], table: list[tuple[tuple[int, int, int], int]]) -> None:
    shown = [(arguments, named([answer])[0]) for (arguments, _ignored), answer in zip(table, found)]
    assert shown == [(arguments, named([expected])[0]) for arguments, expected in table]


def test_sockets(containers: Containers) -> None:
    check_sockets(containers.answers([("native", number_of("socket"), row) for row, _ignored in SOCKETS]), SOCKETS)


def test_socket_pairs(containers: Containers) -> None:
    calls: list[Call] = [("native", number_of("socketpair"), (*row, 1)) for row, _ignored in SOCKETS]
    for (row, expected), answer in zip(SOCKETS, containers.answers(calls)):
        # Only unix sockets come in pairs; the kernel refuses the others in its own ways, the bad pointer among them.
        assert answer == expected or expected == 0, row


def test_without_the_filter_other_sockets_are_to_be_had(containers: Containers) -> None:
    """The refusals above are the filter's: on this kernel, with these capabilities, the calls work."""
    rows = [(PACKET, RAW, 0), (PACKET + HIGH, RAW, 0), (INET, 10, 0), (NETLINK, RAW, 4), (NETLINK, RAW, 4 + HIGH)]
    assert containers.answers([("native", number_of("socket"), row) for row in rows], filtered=False) == [0] * len(rows)


@X86
def test_the_x32_abi_is_filtered(containers: Containers) -> None:
    refused = [(row, expected) for row, expected in SOCKETS if expected]
    check_sockets(
        containers.answers([("native", X32 | number_of("socket"), row) for row, _ignored in refused]), refused
    )


@X86
def test_the_i386_abi_is_filtered(containers: Containers) -> None:
    denied = [
        (name, number_of(name, I386), denial.errno)
        for denial in seccomp.DENIALS
        if not denial.when
        for name in denial.syscalls
        if number_of(name, I386) >= 0
    ]
    found = containers.answers([("i386", number, ()) for _ignored, number, _ignored in denied])
    assert dict(zip([name for name, _ignored, _ignored in denied], named(found))) == {
        name: errno.errorcode[expected] for name, _ignored, expected in denied
    }
    narrow = [(row, expected) for row, expected in SOCKETS if max(row) < HIGH]
    check_sockets(containers.answers([("i386", I386_SOCKET, row) for row, _ignored in narrow]), narrow)


@X86
def test_the_i386_multiplexer_opens_no_socket(containers: Containers) -> None:
    rows = [(PACKET, RAW, 0), (VSOCK, STREAM, 0), (NETLINK, RAW, 4), (INET, STREAM, 0), (UNIX, STREAM, 0)]
    calls: list[Call] = [("socketcall", call, row) for call in (1, 8) for row in rows]
    assert set(containers.answers(calls)) == {errno.EAFNOSUPPORT}
    bound = containers.answers([("socketcall", 4, (BAD & 0xFFFF, 0, 0))])  # listen, on no socket at all
    assert bound == [errno.EBADF]


@X86
def test_without_the_filter_the_multiplexer_does(containers: Containers) -> None:
    """The hand-made 32-bit call is a real one."""
    rows = [(PACKET, RAW, 0), (NETLINK, RAW, 4), (INET, STREAM, 0)]
    assert containers.answers([("socketcall", 1, row) for row in rows], filtered=False) == [0, 0, 0]


def test_typing_into_a_terminal_is_denied(containers: Containers) -> None:
    ioctl = number_of("ioctl")
    calls: list[Call] = [("native", ioctl, (0, request, 1)) for request in (0x5412, 0x5412 + HIGH, 0x541C, 0x5413)]
    assert containers.answers(calls) == [errno.EIO, errno.EIO, errno.EPERM, errno.ENOTTY]


def test_what_a_distribution_needs_is_allowed(containers: Containers) -> None:
    table: list[tuple[str, tuple[int, ...], int]] = [
        ("mount", (1, 1, 1, 0, 0), errno.EFAULT),
        ("fsopen", (1, 0), errno.EFAULT),
        ("name_to_handle_at", (BAD, 1, 1, 1, 0), errno.EFAULT),
        ("adjtimex", (1,), errno.EFAULT),
        ("reboot", (0, 0, 0), errno.EINVAL),
        ("ptrace", (0, 0, 0, 0), 0),
        ("memfd_create", (1, 0), errno.EFAULT),
        ("clone3", (1, 1), errno.EINVAL),
        ("unshare", (0x20000,), 0),
        ("unshare", (0x10000000 | 0x40000000,), 0),  # a user and a network namespace, for PrivateNetwork=
    ]
    found = containers.answers([("native", number_of(name), arguments) for name, arguments, _ignored in table])
    assert list(zip([name for name, _ignored, _ignored in table], named(found))) == [
        (name, named([expected])[0]) for name, _ignored, expected in table
    ]


def test_groups_of_the_containers_are_gone(containers: Containers) -> None:
    containers.answers([("native", number_of("getpid"), ())])
    left = [path for path, _ignored, _ignored in os.walk("/sys/fs/cgroup") if containers.groups in path]
    assert left == []
