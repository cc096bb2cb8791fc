# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor: the parent of the process 1 of each guest that one caller has started.

It stays behind, boots a guest again when it rebooted, and cleans up when it powered off, each in a process of its own.
Nothing depends on it: when it is gone, the next call into the engine finds and clears what is left.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import boot, files, last_end, running, store
from .errors import Busy, VserverError
from .kernel import cgroup, process
from .model import Guest
from .running import Running
from .site import Site

#: More than a message has: a record at most.
MESSAGE_SIZE = 1 << 17
#: Milliseconds after which it looks again whether somebody is still at work on a guest that has ended.
_PAUSE = 20


@dataclass(frozen=True)
class Order:
    """That a guest's process 1 is to be created (see :func:`.boot.create_process`); the answer is its pid.

    After it comes either the :class:`.Running` that its init runs as, or None, when all of it is to go.
    """

    site: Site
    guest: Guest
    path: str
    own_time: bool


@dataclass(frozen=True)
class Refusal:
    """The answer when that failed: what, why, remedy."""

    parts: tuple[str, str | None, str | None]


@contextlib.contextmanager
def never_returning() -> Iterator[None]:
    """Keep a forked child from ever running its parent's code."""
    try:
        yield
    finally:
        os._exit(0)


def live(channel: socket.socket) -> None:
    """The supervisor's life: until it has neither guests nor an order, of which it waits for the first."""
    _detach({channel.fileno()})
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    poll = select.poll()
    for fd in (woken, channel.fileno()):
        poll.register(fd, select.POLLIN)
    work = _Work(channel)
    while not work.done:
        for fd, _event in poll.poll(_PAUSE if work.ended else None):
            if fd == woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, select.PIPE_BUF)
            elif not work.hear():
                poll.unregister(fd)
        work.reap()


@dataclass
class _Work:
    """What it knows: the order in hand, with the guest's lock, and the guests it watches, by the pid of process 1.

    * tried: whether the binding of a guest was seen to take effect, which the caller's other guests then need not try
    * ended: pid → wait status, of those that somebody else is at work on
    """

    channel: socket.socket
    order: Order | None = None
    lock: int = -1
    tried: bool = False
    guests: dict[int, tuple[Order, Running]] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    done: bool = False

    def hear(self) -> bool:
        """Do what the next message says; False when there will be no more, for the caller is gone."""
        message: bytes = b""
        descriptors: list[int] = []
        with contextlib.suppress(ConnectionResetError):  # gone without having read the last answer
            message, descriptors, _flags, _address = socket.recv_fds(self.channel, MESSAGE_SIZE, 2)
        said = pickle.loads(message) if message else None
        if isinstance(said, Order):
            self.order, (self.lock, *program) = said, descriptors
            self._answer(self._create(said, *program))
            for copy in program:
                os.close(copy)
            return True
        if self.order is not None:
            if isinstance(said, Running):
                self.guests[said.pid] = self.order, said
            else:
                release_quietly(self.order.site, self.order.guest.name)
            os.close(self.lock)
            self.order = None
        if message and said is None:
            self._answer(True)
        if len(self.guests) == 1:
            _leave_cgroup()
        self.done = not self.guests
        return bool(message)

    def _create(self, order: Order, program: int | None = None) -> int | Refusal:
        try:
            pid = boot.create_process(order.site, order.guest, order.path, order.own_time, program, tried=self.tried)
        except VserverError as error:
            return Refusal((error.what, error.why, error.remedy))
        except Exception as error:
            return Refusal((f"start guest {order.guest.name}", str(error), None))
        self.tried = self.tried or order.guest.binding.network == "bound"
        return pid

    def _answer(self, what: object) -> None:
        with contextlib.suppress(OSError):  # the caller has been killed
            self.channel.send(pickle.dumps(what))

    def reap(self) -> None:
        """Begin what follows the end of a guest, and forget it; orphans of guests end here as well."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self.ended[pid] = status
        for pid, status in list(self.ended.items()):
            with contextlib.suppress(Busy):
                if pid in self.guests:
                    _follow(*self.guests[pid], status)
                    del self.guests[pid]
                    self.done = not self.guests and self.order is None
                elif self.order is not None:
                    continue  # it may be its guest's, whose init ended at once
                del self.ended[pid]


def _follow(order: Order, ended: Running, status: int) -> None:
    """Have a process clean up behind a guest, boot it again if it rebooted, and then be its supervisor.

    Nothing is left to do when somebody has stopped or restarted the guest; nor is its lock asked for then, which may
    have gone with the guest. Raises :class:`~.errors.Busy` while somebody else is at work on it.
    """
    if not _still_ours(order.site, ended):
        return
    try:
        with store.lock_guest(order.site, ended.guest.name, patience=0):
            if _still_ours(order.site, ended) and os.fork() == 0:  # the child has the lock as well, and keeps it
                with never_returning():
                    _go_on(order, ended, status)
    except Busy:
        raise
    except (OSError, VserverError):
        return  # nobody is there to be told; what is left is cleared by the next call for this guest


def _go_on(order: Order, ended: Running, status: int) -> None:
    """The life of a process that :func:`_follow` has begun, with the guest's lock."""
    site, name = order.site, ended.guest.name
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process.set_name(f"vserver:{name}")
    process.become_subreaper()
    again = _after(site, ended, status, order.path)
    while again is not None:
        process.close_all_but(())
        ended, status = again, _wait(again.pid)
        with store.lock_guest(site, name):
            again = _after(site, ended, status, order.path) if _still_ours(site, ended) else None


def _after(site: Site, ended: Running, status: int, path: str) -> Running | None:
    """Clean up behind a process 1 that ended with ``status``; boot again if it rebooted, and return the new one.

    The caller holds the guest's lock.
    """
    name = ended.guest.name
    try:
        kind, detail = last_end.of_status(status)
        last_end.note(site, ended, kind, detail)
        boot.release(site, name)
        guest = recorded(site, ended.guest)
        return boot.boot(site, guest, path) if kind == "rebooted" and guest is not None else None
    except Exception:
        # Nobody is there to be told; what is left is cleared by the next call for this guest.
        release_quietly(site, name)
        return None


def recorded(site: Site, ended: Guest) -> Guest | None:
    """What is recorded of a guest; as it ran, when a newer version of the engine than this has written the record."""
    try:
        return store.load(site, ended.name)
    except VserverError:
        return ended


def release_quietly(site: Site, name: str) -> None:
    """Clear what there is of a guest; whoever comes next does it where that fails."""
    with contextlib.suppress(Exception):
        boot.release(site, name)


def _leave_cgroup() -> None:
    """Be in nobody's group, which may go with its session; it takes the kernel 10 ms, so nobody is kept waiting."""
    with contextlib.suppress(OSError):
        cgroup.leave(cgroup.layout())


def _detach(keep: set[int]) -> None:
    """Become a process of our own: no terminal, no descriptors of the caller's but ``keep``, orphans come to us."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    process.close_all_but(keep)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
    process.set_name("vserver:guests")
    process.become_subreaper()


def _wait(pid: int) -> int:
    """Reap children until ``pid`` ends; returns its wait status."""
    while True:
        child, status = os.wait()
        if child == pid:
            return status


def _still_ours(site: Site, now: Running) -> bool:
    """Whether nobody has stopped or restarted the guest since we booted it."""
    with contextlib.suppress(FileNotFoundError, VserverError):
        state = files.read_json(running.state_file(site, now.guest.name))
        return bool(state["pid"] == now.pid and state["start"] == now.start)
    return False
