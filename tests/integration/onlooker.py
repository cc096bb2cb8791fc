# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run as a spectator, and beside one: each way in which a process could act on another or look into it.

onlooker.py NAME PID: does what the attack NAME says to process PID, and prints the name of the error, or "done".
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
# One number on every architecture, but for the first two, which are x86-64's.
_RT_SIGQUEUEINFO, _IOPRIO_SET = 129, 251
_PIDFD_SEND_SIGNAL, _PIDFD_GETFD, _PROCESS_MADVISE = 424, 438, 440
_PTRACE_ATTACH, _PTRACE_SEIZE = 16, 0x4206
_PR_SCHED_CORE, _PR_SCHED_CORE_CREATE = 62, 1
_SCHED_BATCH = 3
_SI_QUEUE = -1


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _syscall(number: int, *arguments: object) -> None:
    _call("syscall", ctypes.c_long(number), *arguments)


def _queue(pid: int) -> None:
    info = (ctypes.c_int * 32)(signal.SIGKILL, 0, _SI_QUEUE)
    _syscall(_RT_SIGQUEUEINFO, pid, signal.SIGKILL, ctypes.byref(info))


def _owner(pid: int) -> None:
    """A pipe whose owner is told of input: the signal is sent by whoever sets it, as far as that may."""
    receive, send = os.pipe()
    fcntl.fcntl(receive, fcntl.F_SETOWN, pid)
    fcntl.fcntl(receive, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(receive, fcntl.F_SETFL, fcntl.fcntl(receive, fcntl.F_GETFL) | os.O_ASYNC)
    os.write(send, b"x")
    time.sleep(0.2)


def _owner_of_socket(pid: int) -> None:
    """The same by urgent data and FIOSETOWN, and the usual SIGIO."""
    ours, theirs = socket.socketpair()
    fcntl.ioctl(ours, 0x8901, pid.to_bytes(4, sys.byteorder))  # FIOSETOWN
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
    theirs.send(b"x")
    time.sleep(0.2)


def _write(file: str, text: str) -> Callable[[int], None]:
    def act(pid: int) -> None:
        descriptor = os.open(f"/proc/{pid}/{file}", os.O_WRONLY)
        os.write(descriptor, text.encode())

    return act


def _read(file: str) -> Callable[[int], None]:
    def act(pid: int) -> None:
        with open(f"/proc/{pid}/{file}", "rb") as opened:
            opened.read(1)

    return act


def _move(pid: int) -> None:
    """Into the own control group, where it could be frozen and killed."""
    path = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))[3:]
    group = next(Path("/sys/fs/cgroup", base, path.lstrip("/")) for base in (".", "unified"))
    (group / "cgroup.procs").write_text(str(pid))


def _freeze(pid: int) -> None:
    path = next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))[3:]
    (Path("/sys/fs/cgroup") / path.lstrip("/") / "cgroup.freeze").write_text("1")


ATTACKS: dict[str, Callable[[int], object]] = {
    "kill": lambda pid: os.kill(pid, signal.SIGKILL),
    "probe": lambda pid: os.kill(pid, 0),
    "continue": lambda pid: os.kill(pid, signal.SIGCONT),
    "stop": lambda pid: os.kill(pid, signal.SIGSTOP),
    "kill its group": lambda pid: os.killpg(os.getpgid(pid), signal.SIGKILL),
    "kill its thread": lambda pid: _call("tgkill", pid, pid, signal.SIGKILL),
    "queue a signal": _queue,
    "kill by descriptor": lambda pid: _syscall(_PIDFD_SEND_SIGNAL, os.pidfd_open(pid), signal.SIGKILL, None, 0),
    "kill by directory": lambda pid: _syscall(
        _PIDFD_SEND_SIGNAL, os.open(f"/proc/{pid}", os.O_DIRECTORY), signal.SIGKILL, None, 0
    ),
    "own a pipe": _owner,
    "own a socket": _owner_of_socket,
    "nice": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 10),
    "nice its group": lambda pid: os.setpriority(os.PRIO_PGRP, os.getpgid(pid), 10),
    "affinity": lambda pid: os.sched_setaffinity(pid, {0}),
    "policy": lambda pid: os.sched_setscheduler(pid, _SCHED_BATCH, os.sched_param(0)),
    "priority of disks": lambda pid: _syscall(_IOPRIO_SET, 1, pid, 3 << 13),
    "rlimit": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8)),
    "read rlimit": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE),
    "score of the killer": _write("oom_score_adj", "900"),
    "old score of the killer": _write("oom_adj", "5"),
    "forget references": _write("clear_refs", "1"),
    "timer slack": _write("timerslack_ns", "1000000"),
    "dump filter": _write("coredump_filter", "0"),
    "autogroup": _write("autogroup", "5"),
    "memory": lambda pid: os.open(f"/proc/{pid}/mem", os.O_RDWR),
    "trace": lambda pid: _call("ptrace", _PTRACE_ATTACH, pid, None, None),
    "seize": lambda pid: _call("ptrace", _PTRACE_SEIZE, pid, None, None),
    "take a descriptor": lambda pid: _syscall(_PIDFD_GETFD, os.pidfd_open(pid), 0, 0),
    "advise": lambda pid: _syscall(_PROCESS_MADVISE, os.pidfd_open(pid), None, 0, 21, 0),
    "share a core": lambda pid: _call("prctl", _PR_SCHED_CORE, _PR_SCHED_CORE_CREATE, pid, 0, None),
    "migrate": lambda pid: _call(
        "syscall", ctypes.c_long(256), pid, 64, ctypes.byref(ctypes.c_ulong(1)), ctypes.byref(ctypes.c_ulong(1))
    ),
    "join": lambda pid: _call("setns", os.pidfd_open(pid), 0x04000000),
    "move": _move,
    "freeze": _freeze,
    "read environ": _read("environ"),
    "read maps": _read("maps"),
    "read mem": lambda pid: os.open(f"/proc/{pid}/mem", os.O_RDONLY),
    "read auxv": _read("auxv"),
    "read io": _read("io"),
    "read syscall": _read("syscall"),
    "read stack": _read("stack"),
    "read fd": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "read an open file": _read("fd/0"),
    "read its root": lambda pid: os.listdir(f"/proc/{pid}/root/"),
    "read its directory": lambda pid: os.listdir(f"/proc/{pid}/cwd/"),
    "read its program": lambda pid: os.readlink(f"/proc/{pid}/exe"),
    "open its namespace": lambda pid: os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY),
}
#: What needs no leave, and whose signal is looked for in the target instead.
SILENT = ("own a pipe", "own a socket")


def main(name: str, pid: int) -> str:
    try:
        ATTACKS[name](pid)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


if __name__ == "__main__":
    for attack in [sys.argv[1]] if sys.argv[1] != "all" else ATTACKS:
        for target in sys.argv[2:]:
            sys.stdout.write(f"{attack}\t{target}\t{main(attack, int(target))}\n")
            sys.stdout.flush()
