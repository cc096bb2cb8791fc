# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf(2) by hand: load, attach, replace, query and detach programs; maps and pins are in ``bpf_map``.

File descriptors are plain numbers and belong to the caller. Programs attached to a cgroup outlive their descriptors and
die with the cgroup; a link to a network namespace dies with its last descriptor unless it is pinned.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import functools
import hashlib
import os
import platform
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_NUMBER = _SYSCALL.get(platform.machine())

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_FD_BY_ID, _OBJ_INFO, _PROG_QUERY, _LINK_CREATE = 5, 8, 9, 13, 15, 16, 28

_ALLOW_MULTI, _REPLACE = 2, 4
_QUERY_EFFECTIVE = 1
_LOG_SIZE = 1 << 20
#: A cgroup takes at most 64 programs of one type; effective ones add up over its ancestors.
_QUERY_MAX = 1024
#: Of a query: cgroup, hook, two kinds of flags, where the ids go, how many there are, where flags go.
_QUERY = struct.Struct("=IIIIQI4xQ")
_MAPS_MAX = 16
#: Of struct bpf_prog_info: how many maps the program uses, where their ids go, its name.
_INFO = struct.Struct("=52xIQ16s")
#: Including the terminating zero.
_NAME_SIZE = 16

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.argtypes, _syscall.restype = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint), ctypes.c_long

if TYPE_CHECKING:
    #: Memory that attributes point to.
    Buffer = ctypes.Array[ctypes.c_char]


class ProgramType(IntEnum):
    """enum bpf_prog_type."""

    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    SOCK_OPS = 13
    CGROUP_SOCK_ADDR = 18
    CGROUP_SOCKOPT = 25
    SK_LOOKUP = 30


class AttachType(IntEnum):
    """enum bpf_attach_type."""

    INET_INGRESS = 0
    INET_EGRESS = 1
    INET_SOCK_CREATE = 2
    SOCK_OPS = 3
    INET4_BIND = 8
    INET6_BIND = 9
    INET4_CONNECT = 10
    INET6_CONNECT = 11
    UDP4_SENDMSG = 14
    UDP6_SENDMSG = 15
    UDP4_RECVMSG = 19
    UDP6_RECVMSG = 20
    SETSOCKOPT = 22
    INET4_GETPEERNAME = 29
    INET6_GETPEERNAME = 30
    INET4_GETSOCKNAME = 31
    INET6_GETSOCKNAME = 32
    INET_SOCK_RELEASE = 34
    SK_LOOKUP = 36


class BpfError(OSError):
    """bpf(2) refused. ``strerror`` says what was attempted, why it failed, and how the verifier's log ends.

    * log: the verifier's whole log, empty when it had nothing to say
    """

    def __init__(self, number: int, attempt: str, log: str = "") -> None:
        tail = "; ".join(log.strip().splitlines()[-3:])
        super().__init__(number, f"{attempt}: {os.strerror(number)}" + (f" ({tail})" if tail else ""))
        self.log = log


@dataclass(frozen=True)
class ProgramInfo:
    """A loaded program, as the kernel describes it; 19 of them for each guest that is looked at.

    * maps: ids of the maps it uses
    """

    name: str
    maps: tuple[int, ...]


def call(command: int, attributes: bytes | Buffer, attempt: str) -> int:
    """bpf(2): return its result. Raises :class:`BpfError`.

    * attributes: in a buffer for commands with which the kernel writes to them
    """
    if _NUMBER is None:
        raise BpfError(errno.ENOSYS, f"{attempt} on {platform.machine()}")
    result: int = _syscall(_NUMBER, command, attributes, len(attributes))
    if result < 0:
        raise BpfError(ctypes.get_errno(), attempt)
    return result


def address_of(buffer: Buffer) -> int:
    """Return where a buffer is, as attributes want it."""
    return ctypes.addressof(buffer)


def digest(content: bytes) -> str:
    """40 bits of a digest, as eight letters: what there is room for in a program's name (pure)."""
    return base64.b32encode(hashlib.sha256(content).digest()[:5]).decode().lower()


def object_name(name: str) -> bytes:
    """Return ``name`` as an attribute; raises ValueError when it is too long."""
    encoded = name.encode()
    if len(encoded) >= _NAME_SIZE:
        raise ValueError(f"BPF object name {name} is longer than {_NAME_SIZE - 1} characters")
    return encoded


def _allow_locked_memory() -> bool:
    """Before 5.11 maps and programs count as locked memory; lift the limit, and say whether that changed anything."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit[0] == resource.RLIM_INFINITY:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True


def load_program(kind: ProgramType, instructions: bytes, name: str, attach_type: AttachType | None = None) -> int:
    """Load a program and return its descriptor.

    ``name`` has at most 15 letters, digits, ``_`` and ``.``. Raises :class:`BpfError` with the verifier's log: EINVAL
    or EACCES when the verifier or an old kernel refuses, EPERM without CAP_BPF and CAP_NET_ADMIN. See bpf(2).
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")

    def load(log: Buffer | None) -> int:
        log_attributes = (0, 0, 0) if log is None else (1, len(log), address_of(log))
        attributes = struct.pack(
            "=IIQQIIQII16sII",
            kind,
            len(instructions) // 8,
            address_of(code),
            address_of(licence),
            *log_attributes,
            0,
            0,
            object_name(name),
            0,
            attach_type or 0,
        )
        return call(_PROG_LOAD, attributes, f"load BPF program {name}")

    try:
        return load(None)
    except BpfError as error:
        if error.errno == errno.EPERM and _allow_locked_memory():
            return load(None)
        log = ctypes.create_string_buffer(_LOG_SIZE)
        try:
            return load(log)
        except BpfError as again:
            text = log.value.decode(errors="replace")
            raise BpfError(again.errno or errno.EINVAL, f"load BPF program {name}", text) from None


def attach(cgroup: int, program: int, attach_type: AttachType, replace: int | None = None) -> None:
    """Attach a program to a cgroup beside others (BPF_F_ALLOW_MULTI), or in the place of ``replace`` in one step.

    ``cgroup`` is a descriptor of the cgroup's directory. Raises :class:`BpfError`; EPERM also means that an ancestor
    has a program attached that allows none below it. kernel/bpf/cgroup.c, __cgroup_bpf_attach; replacing needs 5.6.
    """
    flags = _ALLOW_MULTI if replace is None else _ALLOW_MULTI | _REPLACE
    attributes = struct.pack("=IIIII", cgroup, program, attach_type, flags, replace or 0)
    call(_PROG_ATTACH, attributes, f"attach {attach_type.name} program to the cgroup")


def detach(cgroup: int, program: int, attach_type: AttachType) -> None:
    """Detach a program from a cgroup. Raises :class:`BpfError`, ENOENT when it is not attached there."""
    attributes = struct.pack("=IIIII", cgroup, program, attach_type, 0, 0)
    call(_PROG_DETACH, attributes, f"detach {attach_type.name} program from the cgroup")


def query(cgroup: int, attach_type: AttachType, *, effective: bool = False) -> list[int]:
    """Return the ids of the programs attached to a cgroup itself, or with ``effective`` all that act on it.

    Raises :class:`BpfError`, EINVAL when the kernel has no such attach type.
    """
    ids = (ctypes.c_uint32 * _QUERY_MAX)()
    flags = _QUERY_EFFECTIVE if effective else 0
    attributes = ctypes.create_string_buffer(_QUERY.size)
    _QUERY.pack_into(attributes, 0, cgroup, attach_type, flags, 0, ctypes.addressof(ids), _QUERY_MAX, 0)
    call(_PROG_QUERY, attributes, f"query {attach_type.name} programs of the cgroup")
    count: int = _QUERY.unpack_from(attributes)[5]
    return ids[:count]


def open_program(identity: int) -> int:
    """Return a descriptor of the program with this id. Raises :class:`BpfError`, ENOENT when it has gone."""
    return call(_PROG_FD_BY_ID, struct.pack("=III", identity, 0, 0), f"open BPF program {identity}")


def program_info(program: int) -> ProgramInfo:
    """Return what the kernel knows about the program behind a descriptor."""
    info, maps = ctypes.create_string_buffer(_INFO.size), (ctypes.c_uint32 * _MAPS_MAX)()
    _INFO.pack_into(info, 0, _MAPS_MAX, ctypes.addressof(maps), b"")
    read_information(program, info, "read BPF program information")
    count, _maps, name = _INFO.unpack_from(info)
    return ProgramInfo(name.rstrip(b"\0").decode(), tuple(maps[:count]))


def read_information(descriptor: int, info: Buffer, attempt: str) -> None:
    """Fill ``info``, as large as is asked for, with what the kernel knows about a program or map (struct bpf_prog_info,
    bpf_map_info). Raises :class:`BpfError`."""
    attributes = struct.pack("=IIQ", descriptor, len(info), address_of(info))
    call(_OBJ_INFO, ctypes.create_string_buffer(attributes, len(attributes)), attempt)


@functools.lru_cache(maxsize=1024)
def identified(identity: int) -> ProgramInfo:
    """Return what the kernel knows about the program with this id, which does not change for as long as it exists.

    Raises :class:`BpfError`, ENOENT when it has gone.
    """
    program = open_program(identity)
    try:
        return program_info(program)
    finally:
        os.close(program)


def link_to_netns(program: int, netns: int, attach_type: AttachType) -> int:
    """Attach a program to a network namespace; return the descriptor of the link, which keeps it attached.

    Raises :class:`BpfError`. kernel/bpf/net_namespace.c, netns_bpf_link_create; Linux 5.8.
    """
    attributes = struct.pack("=IIII", program, netns, attach_type, 0)
    return call(_LINK_CREATE, attributes, f"attach {attach_type.name} program to the network namespace")


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end of a ``with`` block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)
