# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux capabilities: their names and numbers, and a process's sets (capabilities(7))."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Collection

from . import contents, process
from .syscall import check, libc, prctl

_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_VERSION_3 = 0x20080522  # two words for each set

#: In the order of their numbers (include/uapi/linux/capability.h).
NAMES: tuple[str, ...] = tuple(
    "CAP_" + name
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)


@functools.lru_cache(maxsize=64)
def names_of(mask: int) -> tuple[str, ...]:
    """The capabilities in a bit mask, sorted by name; a bit newer than our table is ``CAP_<number>``."""
    numbers = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return tuple(sorted(NAMES[bit] if bit < len(NAMES) else f"CAP_{bit}" for bit in numbers))


def bounding(pid: int) -> tuple[str, ...]:
    """The bounding set of a process, from CapBnd in /proc/PID/status. Raises FileNotFoundError when it is gone."""
    return names_of(int(contents.read(f"/proc/{pid}/status").partition(b"\nCapBnd:")[2].split(None, 1)[0], 16))


def effective() -> tuple[str, ...]:
    """What the caller may do now, from CapEff."""
    return names_of(int(process.status(os.getpid())["CapEff"], 16))


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct (include/uapi/linux/capability.h)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def limit(kept: Collection[str]) -> None:
    """Drop all but ``kept`` from the caller's bounding set, those newer than our table too. Needs CAP_SETPCAP."""
    number = 0
    while libc.prctl(ctypes.c_int(_PR_CAPBSET_READ), ctypes.c_ulong(number)) >= 0:
        if number >= len(NAMES) or NAMES[number] not in kept:
            prctl(f"drop capability {number}", _PR_CAPBSET_DROP, number)
        number += 1


def hold(names: Collection[str]) -> None:
    """Make ``names`` the caller's effective and permitted set, and empty its inheritable and ambient ones (capset(2)).

    It can only lose. Raises OSError.
    """
    mask = sum(1 << NAMES.index(name) for name in names)
    words = [(mask >> shift) & 0xFFFFFFFF for shift in (0, 32)]
    data = (ctypes.c_uint32 * 6)(words[0], words[0], 0, words[1], words[1], 0)
    check(libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), data), "hold capabilities")
