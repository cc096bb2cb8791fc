# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux capabilities: their names and numbers, and a process's sets (capabilities(7))."""

from __future__ import annotations

from . import process

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


def names_of(mask: int) -> tuple[str, ...]:
    """The capabilities in a bit mask, sorted by name; a bit newer than our table is ``CAP_<number>``."""
    numbers = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return tuple(sorted(NAMES[bit] if bit < len(NAMES) else f"CAP_{bit}" for bit in numbers))


def bounding(pid: int) -> tuple[str, ...]:
    """The bounding set of a process, from CapBnd in /proc/PID/status. Raises FileNotFoundError when it is gone."""
    return names_of(int(process.status(pid)["CapBnd"], 16))
