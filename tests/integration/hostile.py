# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a guest and takes all it can get of one thing, or of several: ``hostile.py DEED[+DEED…] [MOST]``.

Each time it has more it prints how much, and why it got no more: ``128 EMFILE``. It goes on asking until it is killed,
so that a limit that is changed shows. With MOST it takes no more than that, and ends: a neighbour who wants a little.

Nothing but the standard library: the guest has no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
MIB = 1 << 20
PAUSE = 0.05
IPC_PRIVATE, IPC_CREAT = 0, 0o1000
IN_CREATE, IN_DONT_FOLLOW = 0x100, 0x02000000
ADD_KEY = {"x86_64": 248, "aarch64": 217}
#: Size of a file that is read through the page cache again and again, and one that is written over and over.
CACHED, WRITTEN = 64, 16


def say(*words: object) -> None:
    print(*words, flush=True)


def check(result: int) -> int:
    """What a call of the C library answered. Raises OSError."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


#: Deed → how one more of it is taken; what is taken stays taken as long as the process lives.
Take = Callable[[int], object]
KEPT: list[Any] = []


def descriptor(number: int) -> None:
    KEPT.append(os.open("/dev/null", os.O_RDONLY))


def sockets(number: int) -> None:
    one = socket.socket(socket.AF_INET, (socket.SOCK_STREAM, socket.SOCK_DGRAM)[number % 2])
    one.bind(("127.0.0.1", 0))
    KEPT.append(one)


def inotify(number: int) -> None:
    check(LIBC.inotify_init())


def watches(number: int) -> None:
    """One an inode: the programs that there are anyway."""
    if not KEPT:
        KEPT.extend([check(LIBC.inotify_init()), sorted(os.listdir("/usr/bin"))])
    check(LIBC.inotify_add_watch(KEPT[0], f"/usr/bin/{KEPT[1][number]}".encode(), IN_DONT_FOLLOW | IN_CREATE))


def key(number: int) -> None:
    """User keyrings' keys (add_key(2)), which the C library has no function for."""
    call = ADD_KEY[platform.machine()]
    check(LIBC.syscall(call, b"user", f"vserver {number}".encode(), b"x" * 100, ctypes.c_size_t(100), -2))


def queue(number: int, messages: int = 1, size: int = 1) -> None:
    attributes = struct.pack("=qqqq32x", 0, messages, size, 0)
    name = f"/vserver.{os.getpid()}.{number}".encode()
    fd = check(LIBC.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, attributes))
    check(LIBC.mq_unlink(name))
    KEPT.append(fd)


def big_queue(number: int) -> None:
    queue(number, 10, 8192)


def shared_memory(number: int) -> None:
    KEPT.append(check(LIBC.shmget(IPC_PRIVATE, ctypes.c_size_t(4096), IPC_CREAT | 0o600)))


def semaphores(number: int) -> None:
    KEPT.append(check(LIBC.semget(IPC_PRIVATE, 1, IPC_CREAT | 0o600)))


def messages(number: int) -> None:
    KEPT.append(check(LIBC.msgget(IPC_PRIVATE, IPC_CREAT | 0o600)))


def timers(number: int) -> None:
    """Each holds a pending signal in reserve, of those of its user (getrlimit(2), RLIMIT_SIGPENDING)."""
    event, identity = struct.pack("=8xii48x", signal.SIGRTMIN, 0), ctypes.c_void_p()
    check(LIBC.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(identity)))


def zombie(number: int) -> None:
    if os.fork() == 0:
        os._exit(0)


def inode(number: int) -> None:
    os.makedirs("/many", exist_ok=True)
    os.close(os.open(f"/many/{number}", os.O_CREAT | os.O_EXCL, 0o600))


def megabyte(number: int) -> None:
    if not KEPT:
        KEPT.append(os.open("/filler", os.O_CREAT | os.O_WRONLY, 0o600))
    if os.pwrite(KEPT[0], b"x" * MIB, number * MIB) < MIB:
        raise OSError(errno.ENOSPC, "not all of it")


TAKES: dict[str, Take] = {
    "descriptors": descriptor,
    "sockets": sockets,
    "inotify": inotify,
    "watches": watches,
    "keys": key,
    "queues": queue,
    "big queues": big_queue,
    "shared memory": shared_memory,
    "semaphores": semaphores,
    "messages": messages,
    "timers": timers,
    "zombies": zombie,
    "inodes": inode,
    "disk": megabyte,
}
#: What outlives its maker, and how it is given back (IPC_RMID).
GIVE_BACK: dict[str, Callable[[int], int]] = {
    "shared memory": lambda one: LIBC.shmctl(one, 0, None),
    "semaphores": lambda one: LIBC.semctl(one, 0, 0),
    "messages": lambda one: LIBC.msgctl(one, 0, None),
}


def take(one: Take, most: int | None, patient: bool) -> None:
    """Take one after the other, and say how many there are when there are no more: if patient, for now."""
    taken, told = 0, None
    while most is None or taken < most:
        word = ""
        try:
            one(taken)
            taken += 1
            continue
        except OSError as error:
            word = errno.errorcode.get(error.errno or 0, str(error))
        if most is not None:
            sys.exit(f"{taken} {word}")
        if (taken, word) != told:
            told = (taken, word)
            say(taken, word)
        if not patient:
            return
        time.sleep(PAUSE)
    say(taken, "enough")


def fork_bomb() -> NoReturn:
    say(0, "begins")
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def restless() -> NoReturn:
    """Forks and ends without pause: whoever looks sees processes that are gone, and others that are new."""
    say(0, "begins")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _time in range(3):
        if os.fork() == 0:
            break
    while True:
        try:
            if os.fork() != 0:
                os._exit(0)
        except OSError:
            time.sleep(0.001)


def eat() -> NoReturn:
    """Children eat memory until they are killed; says how many MiB each got."""
    while True:
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            held = []
            while True:
                held.append(b"x" * MIB)
                os.write(send, b"x")
        os.close(send)
        eaten = 0
        while block := os.read(receive, 4096):
            eaten += len(block)
        os.close(receive)
        os.waitpid(child, 0)
        say(eaten, "killed")


def read_again() -> NoReturn:
    """Reads a file larger than the memory it may have; says how many MiB it has read."""
    with open("/cached", "wb") as file:
        for _time in range(CACHED):
            file.write(b"x" * MIB)
        os.fsync(file.fileno())
    say(0, "written")
    had = 0
    while True:
        with open("/cached", "rb", buffering=0) as file:
            while file.read(MIB):
                had += 1
        say(had, "read")


def spin() -> NoReturn:
    say(0, "begins")
    os.fork()
    os.fork()
    while True:
        pass


def write(flags: int, each: int) -> NoReturn:
    """Writes the same MiB of a file over and over; says how many."""
    block, written = mmap.mmap(-1, each), 0
    fd = os.open("/written", os.O_CREAT | os.O_WRONLY | flags, 0o600)
    while True:
        os.pwrite(fd, block, written % (WRITTEN * MIB))
        written += each
        if not flags and written % (MIB >> 2) == 0:
            os.fdatasync(fd)
        if written == each:
            say(0, "begins")


GOES_ON: dict[str, Callable[[], NoReturn]] = {
    "fork bomb": fork_bomb,
    "restless": restless,
    "memory": eat,
    "page cache": read_again,
    "spin": spin,
    "write directly": lambda: write(os.O_DIRECT, 64 << 10),
    "write through the cache": lambda: write(0, 64 << 10),
}


def main(deed: str, most: int | None) -> None:
    if deed in GOES_ON:
        GOES_ON[deed]()
    if deed not in ("descriptors", "sockets"):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    deeds = deed.split("+")
    for one in deeds:
        take(TAKES[one], most, one == deeds[-1])
    for kept in KEPT if deed in GIVE_BACK else ():
        check(GIVE_BACK[deed](kept))


main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
