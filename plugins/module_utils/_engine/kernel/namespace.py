# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Namespaces: leaving the caller's, joining others', and user namespaces that have no process yet."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import time
from collections.abc import Iterator

from . import capability
from .syscall import check, libc, prctl

_CLONE_VM, _STACK = 0x100, 1 << 16
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2

#: What a clock shows as a time namespace begins, in nanoseconds: ten ticks. A process that has started in the first one
#: is to runc the process 1 that it remembers before it remembers any, and it refuses to create it once more (runType).
_BEGIN = 100_000_000

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(libc.unshare(flags), "unshare")


def enter(pid: int, kind: str, flag: int) -> None:
    """Join namespace ``kind`` ("uts", "mnt", …) of a process with setns(2); ``flag`` is its CLONE_NEW* constant."""
    fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.setns(fd, flag), f"enter the {kind} namespace of process {pid}")
    finally:
        os.close(fd)


def enter_all(process: int, flags: int) -> None:
    """Join several namespaces of a process, given as a pidfd, in one step (setns(2), ≥ 5.8).

    A PID namespace takes effect on children only. Raises OSError; ProcessLookupError when the process is gone.
    """
    check(libc.setns(process, flags), "enter the namespaces")


def has_time() -> bool:
    """Whether this kernel has time namespaces (CONFIG_TIME_NS, ≥ 5.6)."""
    return os.path.exists("/proc/self/ns/time")


def shared(pid: int, kind: str) -> bool:
    """Whether process ``pid`` is in the caller's namespace of ``kind``. Raises FileNotFoundError when it is gone."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino == os.stat(f"/proc/self/ns/{kind}").st_ino


def begin_time() -> None:
    """Enter a new time namespace, whose monotonic clock and time since boot begin now (time_namespaces(7)).

    Entered, and not left to the children: older kernels let no process whose children are to be in another one make
    threads, nor a program that it executes. The caller stays where it is when OSError is raised.
    """
    before = os.open("/proc/self/ns/time", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWTIME)
        try:
            with open("/proc/self/timens_offsets", "w") as file:
                file.write(f"monotonic {_back(time.CLOCK_MONOTONIC)}\n")
                file.write(f"boottime {_back(time.CLOCK_BOOTTIME)}\n")
            new = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            check(libc.setns(before, CLONE_NEWTIME), "stay in the time namespace")
            raise
        try:
            check(libc.setns(new, CLONE_NEWTIME), "enter the time namespace")
        finally:
            os.close(new)
    finally:
        os.close(before)


def _back(clock: int) -> str:
    """The offset that takes a clock back to its begin, as seconds and the nanoseconds that are added to them."""
    return "{} {}".format(*divmod(_BEGIN - time.clock_gettime_ns(clock), 1_000_000_000))


def become_root(user: int) -> None:
    """Join a user namespace, given as a descriptor, and be its root. Raises OSError."""
    check(libc.setns(user, CLONE_NEWUSER), "enter the user namespace")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def user_namespace(base: int, count: int) -> int:
    """Return a descriptor of a new user namespace that maps ids 0…count-1 to base…base+count-1.

    It has no process of its own (user_namespaces(7)): it serves as the id mapping of an idmapped mount, or is joined.

    Its owner is ``base``. What its processes take of the things that the kernel counts by user (inotify instances and
    watches, namespaces, bytes in POSIX queues, pending signals) counts for the owner as well (kernel/ucount.c). Were
    that the host's root, one guest could take all of it from the others, and from the host. It is so all the same on a
    host whose root lacks CAP_SYS_RESOURCE: there only an owner may set rlimits inside (prlimit(2)).

    The caller has one thread. Raises OSError.
    """
    with contextlib.ExitStack() as stack:
        with _acting_as(base) if "CAP_SYS_RESOURCE" in capability.effective() else contextlib.nullcontext():
            child = stack.enter_context(_asleep(CLONE_NEWUSER))
        for map_file in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{map_file}", "w") as file:
                file.write(f"0 {base} {count}\n")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    """Have the effective user id ``uid``, and keep the capabilities that setresuid(2) would take away."""
    prctl("keep capabilities across setresuid", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    try:
        os.setresuid(-1, uid, -1)
        try:
            yield
        finally:
            os.setresuid(-1, 0, -1)
    finally:
        prctl("restore securebits", _PR_SET_SECUREBITS, 0)


@contextlib.contextmanager
def _asleep(flags: int) -> Iterator[int]:
    """A process in new namespaces that does nothing, for a ``with`` block; yields its pid.

    It is in this process's own memory (CLONE_VM), with a stack of its own and in pause(2), of the C library: a fork
    would copy page tables, and then each page that either of both writes to. Raises OSError.
    """
    stack = mmap.mmap(-1, _STACK)
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + _STACK
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    arguments = (pause, ctypes.c_void_p(top), ctypes.c_int(flags | _CLONE_VM | signal.SIGCHLD), None)
    child = check(libc.clone(*arguments), "make a process in new namespaces (see sysctl user.max_user_namespaces)")
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
