# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""System call filters: an OCI profile compiled by libseccomp, which crun and runc bring along, and loaded (seccomp(2)).

Compiling reads the library's file; loading reads nothing.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping

from ..errors import Unsupported
from .syscall import prctl

TYPE_CHECKING = False  # typing's own takes whoever enters a guest 3 ms to read
if TYPE_CHECKING:
    from typing import Any

_LIBRARY = "libseccomp.so.2"
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_INSTRUCTION = 8  # bytes of struct sock_filter (include/uapi/linux/filter.h)

#: What the library, and in the upper half of its answer the kernel, call an action (seccomp.h).
_ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
_COMPARISONS = {"SCMP_CMP_MASKED_EQ": 7}
#: ABI → the library's number for it (seccomp.h).
ABIS = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}
_NO_SUCH_CALL = -1  # __NR_SCMP_ERROR


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp.h)."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _Program(ctypes.Structure):
    """struct sock_fprog (include/uapi/linux/filter.h)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@functools.cache
def library() -> ctypes.CDLL:
    """libseccomp. Raises :class:`Unsupported` where it is not installed."""
    try:
        found = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise Unsupported(
            "compile the system call filter", why=str(error), remedy="Install libseccomp 2 (Debian: libseccomp2)."
        ) from error
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_release.restype = None
    return found


def knows(name: str) -> bool:
    """Whether the library has a number for system call ``name``."""
    return bool(library().seccomp_syscall_resolve_name(name.encode()) != _NO_SUCH_CALL)


def compiled(profile: Mapping[str, Any]) -> bytes:
    """``profile`` (OCI ``linux.seccomp``) as the kernel's instructions, compiled as the runtimes do it.

    Calls that the library does not know are skipped. Raises :class:`Unsupported`, OSError.
    """
    lib = library()
    context = ctypes.c_void_p(lib.seccomp_init(_ACTIONS[profile["defaultAction"]]))
    if not context:
        raise OSError("begin a system call filter: libseccomp refuses")
    try:
        _check(lib.seccomp_arch_remove(context, lib.seccomp_arch_native()), "forget the native ABI")
        for abi in profile["architectures"]:
            _check(lib.seccomp_arch_add(context, ABIS[abi]), f"filter the calls of {abi}")
        for entry in profile["syscalls"]:
            tests = [
                _Comparison(test["index"], _COMPARISONS[test["op"]], test["value"], test["valueTwo"])
                for test in entry.get("args", [])
            ]
            array = (_Comparison * len(tests))(*tests)
            action = _ACTIONS[entry["action"]] | entry["errnoRet"]
            for name in filter(knows, entry["names"]):
                number = lib.seccomp_syscall_resolve_name(name.encode())
                _check(lib.seccomp_rule_add_array(context, action, number, len(tests), array), f"filter {name}")
        with open(os.memfd_create("filter"), "rb") as file:
            _check(lib.seccomp_export_bpf(context, file.fileno()), "compile the system call filter")
            file.seek(0)
            return file.read()
    finally:
        lib.seccomp_release(context)


def _check(result: int, attempt: str) -> None:
    if result < 0:
        raise OSError(-result, f"{attempt}: {os.strerror(-result)}")


def load(program: bytes) -> None:
    """Filter the system calls of the calling process and its descendants, for good.

    * program: what :func:`compiled` returned

    Needs CAP_SYS_ADMIN in the caller's user namespace, and leaves no_new_privs as it is. Raises OSError.
    """
    instructions = _Program(len(program) // _INSTRUCTION, program)
    prctl("filter system calls", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(instructions))
