# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""System calls that neither Python nor glibc of the oldest supported host wraps."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
#: Keeps the interpreter's lock during a call, so that a child begins with it held.
_holding = ctypes.PyDLL(None, use_errno=True)
_CLONE3 = 435


def check(result: int, attempt: str) -> int:
    """Return ``result``, or raise OSError(errno, "``attempt``: reason") when it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{attempt}: {os.strerror(number)}")
    return result


def syscall(attempt: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | object) -> int:
    """syscall(2) with ints as longs and everything else passed on (bytes, ctypes pointers).

    ``attempt`` begins the message of the OSError raised on failure.
    """
    converted = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return check(libc.syscall(ctypes.c_long(number), *converted), attempt)


def prctl(attempt: str, option: int, *arguments: int) -> int:
    """prctl(2); missing arguments are 0."""
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return check(libc.prctl(ctypes.c_int(option), *values), attempt)


def cloning(arguments: bytes) -> int:
    """clone3(2) without a stack of its own, from a process with one thread; 0 in the child.

    * arguments: struct clone_args (include/uapi/linux/sched.h)
    """
    result = _holding.syscall(ctypes.c_long(_CLONE3), arguments, ctypes.c_size_t(len(arguments)))
    return check(result, "clone the process")
