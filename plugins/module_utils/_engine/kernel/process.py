# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes: their identity over time, waiting for their end, and a few facts of /proc/PID."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Collection, Iterator

from . import contents
from .syscall import cloning, prctl, syscall

TYPE_CHECKING = False  # typing's own takes whoever enters a guest 3 ms to read
if TYPE_CHECKING:
    from typing import Any

_PIDFD_OPEN = 434
_CLONE_INTO_CGROUP = 1 << 33
#: struct clone_args (include/uapi/linux/sched.h): flags first, exit_signal as the fifth, cgroup last.
_CLONE_ARGUMENTS = struct.Struct("=11Q")
_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 4, 15, 36, 37
_START_TIME = 22  # field of /proc/PID/stat, counted from 1 (proc_pid_stat(5))


def start_ticks(pid: int) -> int | None:
    """When ``pid`` started, in clock ticks since boot, or None when it is gone or a zombie.

    The pair (pid, start_ticks) names one process for as long as the host runs.
    """
    try:
        fields = contents.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The fields after the command begin with the third, the state.
    return None if fields[0] in b"ZX" else int(fields[_START_TIME - 3])


def state(pid: int) -> str | None:
    """The letter of a process's state (R, S, D, Z, …), None when it is gone."""
    try:
        return contents.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid: int) -> list[int]:
    """The children of ``pid``, those that have ended and are not waited for among them (proc_pid_task(5)).

    None of a process that is gone, or where the kernel does not tell (without CONFIG_PROC_CHILDREN).
    """
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status (proc_pid_status(5)). Raises FileNotFoundError or ProcessLookupError."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.split(":", 1) for line in file)
        return {key: value.strip() for key, value in pairs}


def listens(pid: int, signal_number: int) -> bool:
    """Whether ``pid`` gets the signal, by a handler or, blocked, by a descriptor (systemd reads its orders so).

    A PID namespace's process 1 is deaf to any other but SIGKILL (pid_namespaces(7)).
    """
    facts = status(pid)
    return bool((int(facts["SigCgt"], 16) | int(facts["SigBlk"], 16)) & (1 << (signal_number - 1)))


def executable(pid: int) -> str | None:
    """What ``pid`` executes, as its own mount namespace names it; None when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        return None


def wait_executed(pid: int, before: str | None, timeout: float) -> bool:
    """Wait until ``pid`` executes something else than ``before`` or is gone; False when not in ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.0002
    while before is not None and executable(pid) == before:
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def descriptor(pid: int) -> int:
    """A descriptor of process ``pid`` (pidfd_open(2)), readable when it has ended. Raises ProcessLookupError."""
    return syscall(f"watch process {pid}", _PIDFD_OPEN, pid, 0)


def wait_gone(pid: int, start: int, timeout: float) -> bool:
    """Wait until the process (pid, start) has ended; False when it has not in ``timeout`` seconds."""
    try:
        fd = descriptor(pid)
    except ProcessLookupError:
        return True
    try:
        if start_ticks(pid) != start:
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if poll.poll(max(0, left * 1000)):
                return True
            if left <= 0:
                return False
    finally:
        os.close(fd)


def fork_briefly() -> int:
    """Fork for a child that does little before it executes something or ends: a fork by Python's own account would have
    it copy four times as much memory. Raises OSError.

    To be called from the only thread of a process. The child may not raise(3), for the C library does not know its id,
    and nothing of Python's own is told of the fork.
    """
    with contextlib.suppress(OSError):
        return _clone(0, 0)
    return os.fork()  # before Linux 5.3, or where a filter does not know clone3(2)


def fork_into(group: str | os.PathLike[str]) -> int:
    """The same, the child beginning in a v2 cgroup. Raises OSError when it cannot (before Linux 5.7).

    To move there takes an RCU grace period, 10 to 20 ms, and keeps whoever changes cgroups waiting; to begin there
    takes none (CLONE_INTO_CGROUP, clone3(2)).
    """
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _clone(_CLONE_INTO_CGROUP, directory)
    finally:
        os.close(directory)


def _clone(flags: int, cgroup: int) -> int:
    return cloning(_CLONE_ARGUMENTS.pack(flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup))


def become_subreaper() -> None:
    """Have orphans below this process reparented to it (PR_SET_CHILD_SUBREAPER, survives execve)."""
    prctl("become a subreaper", _PR_SET_CHILD_SUBREAPER, 1)


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Be a subreaper for a while; orphans that come meanwhile stay the caller's children."""
    before = ctypes.c_int()
    prctl("ask for being a subreaper", _PR_GET_CHILD_SUBREAPER, ctypes.addressof(before))
    become_subreaper()
    try:
        yield
    finally:
        prctl("be no subreaper", _PR_SET_CHILD_SUBREAPER, before.value)


def hide() -> None:
    """Keep others from tracing this process and from its memory and descriptors, until it executes something.

    Only CAP_SYS_PTRACE over the user namespace that it was executed in still reaches it (PR_SET_DUMPABLE). A change of
    ids may undo it.
    """
    prctl("hide the process", _PR_SET_DUMPABLE, 0)


def set_name(name: str) -> None:
    """Set the name ps(1) shows for this process; the kernel keeps 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl("name the process", _PR_SET_NAME, ctypes.addressof(buffer))


def close_all_but(keep: Collection[int]) -> None:
    """Close every descriptor of this process above 2 that is not in ``keep``."""
    for fd in sorted(int(entry) for entry in os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)


def aside(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin ``work`` in a process of its own; the answer is called to get what it returned, which is JSON-ready.

    For work that leaves behind what the kernel is slow to take down: the end of the process is not waited for. The
    answer raises the OSError that ``work`` raised, and has to be called.
    """
    import json  # few come here, and who enters a guest would wait

    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                close_all_but({send})
                try:
                    said = {"result": work()}
                except OSError as error:
                    said = {"error": [error.errno, error.strerror or str(error)]}
                os.write(send, json.dumps(said).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(send)
    os.waitpid(child, 0)

    def answer() -> Any:
        with open(receive, "rb") as pipe:
            said = json.loads(pipe.readline() or b'{"error": [null, "the process was killed"]}')
        if "error" in said:
            raise OSError(*said["error"])
        return said["result"]

    return answer
