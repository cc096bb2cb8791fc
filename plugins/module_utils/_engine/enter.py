# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entering a running guest: a command in its namespaces and cgroup, confined as its own processes are.

The runtime's ``exec`` is not used, because it cannot be kept from abstract unix sockets: the guest's own Landlock
domain can be inherited only, and a runtime inside another domain may not open the guest's namespaces (landlock(7),
"Ptrace restrictions"). So a domain is entered here, after the namespaces.

This is the caller, which waits and copies; what its child does is in :mod:`.joiner`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import oci, running, seccomp
from .errors import InvalidInput, VserverError
from .facets import capabilities
from .joiner import BY_SIGNAL, PASSED_ON, Entry, Way, join
from .kernel import cgroup, cgroup_processes, process, seccomp_filter, terminal
from .model import ID_COUNT
from .running import Running
from .site import Site

if TYPE_CHECKING:
    from .kernel.channel import Channel

#: Seconds in which process 1 is gone when its end is what killed the command.
_LAST_BREATH = 2.0
#: As root, on our standard streams.
_PLAIN = Way()


def run(site: Site, name: str, argv: Sequence[str], way: Way = _PLAIN) -> int:
    """Run ``argv`` in guest ``name`` and return its exit status as a shell gives it: 128+n when signal n ended it.

    Signals that end a program are passed on meanwhile. 127 is a command that was not found, 126 one that cannot be
    executed; why is on its standard error. A command that is killed because the guest ends is an error. To be called
    from the only thread of a process. Raises :class:`InvalidInput`, :class:`VserverError`.
    """
    now = _running(site, name)
    with contextlib.ExitStack() as stack:
        try:
            entry = _entry(site, now, argv, way)
            stack.callback(os.close, entry.process)
            return _run(stack, entry, way.tty)
        except OSError as error:
            if running.read(site, name) != now:
                raise VserverError(f"enter guest {name}", why="it has stopped meanwhile") from error
            raise VserverError(f"enter guest {name}", why=str(error.strerror or error)) from error


def _running(site: Site, name: str) -> Running:
    now = running.read(site, name)
    if now is None:
        raise InvalidInput(f"guest {name} does not run", remedy="Start it first.")
    if cgroup_processes.frozen(running.group(site, name)):
        raise InvalidInput(f"guest {name} is frozen, and so would be who enters", remedy="Have it go on first.")
    return now


def _entry(site: Site, now: Running, argv: Sequence[str], way: Way) -> Entry:
    _check(argv, way)
    environment = {**dict(setting.split("=", 1) for setting in oci.ENVIRONMENT), "HOME": "/" if way.uid else "/root"}
    if way.tty:
        environment["TERM"] = os.environ.get("TERM", "linux")
    search = way.environment.get("PATH", environment["PATH"])
    path = [""] if "/" in argv[0] else [directory + "/" for directory in search.split(":")]
    program = seccomp_filter.compiled(seccomp.profile(os.uname().machine))
    descriptor = process.descriptor(now.pid)
    if process.start_ticks(now.pid) != now.start:
        os.close(descriptor)
        raise ProcessLookupError(errno.ESRCH, "its process 1 is gone")
    return Entry(
        now,
        descriptor,
        cgroup.layout(),
        running.inner_cgroup(site, now.guest.name),
        capabilities.of(now.guest),
        program,
        tuple(map(os.fsencode, argv)),
        tuple(os.fsencode(directory + argv[0]) for directory in path),
        environment,
        way,
        terminal.size(0) if way.tty else None,
    )


def _check(argv: Sequence[str], way: Way) -> None:
    """Refuse what cannot be meant in any guest (pure)."""
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise InvalidInput(f"command {list(argv)!r} cannot be executed", remedy="Give a program and its arguments.")
    for number in (way.uid, way.gid):
        if not 0 <= number < ID_COUNT:
            raise InvalidInput(f"id {number} does not exist in a guest", remedy=f"Give 0 to {ID_COUNT - 1}.")
    for name, value in way.environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidInput(f"environment variable {name!r} cannot be set", remedy="Write NAME=VALUE.")
    if "\0" in way.cwd:
        raise InvalidInput(f"directory {way.cwd!r} does not exist", remedy="Give one of the guest's.")


# --- the caller ------------------------------------------------------------------------------------------------------


def _run(stack: contextlib.ExitStack, entry: Entry, tty: bool) -> int:
    """Fork the joiner, hear of the command, copy and wait."""
    streams, copies = ({}, []) if tty else _streams()
    for copy in copies:
        stack.callback(copy.close)
    receive, send = os.pipe()
    ends = _channel() if tty else None
    stack.enter_context(process.adopting())
    to = stack.enter_context(_passing_on())
    joiner = _fork(entry)
    if joiner == 0:
        join(entry, streams, send, ends[1] if ends else None)
    to.joiner = joiner
    os.close(send)
    for ours in streams.values():
        os.close(ours)
    with open(receive, "rb") as pipe:
        answers = [json.loads(line) for line in pipe.read().splitlines()]
    said: dict[str, Any] = {key: value for answer in answers for key, value in answer.items()}
    to.joiner = None
    if "pid" in said:
        to.found(said["pid"])
    ended_by = -os.waitstatus_to_exitcode(os.waitpid(joiner, 0)[1])
    if "error" in said:
        if "pid" in said:
            to.command = None
            os.waitpid(said["pid"], 0)
        raise OSError(*said["error"])
    if ended_by in PASSED_ON:
        return BY_SIGNAL + ended_by
    if "pid" not in said:
        raise OSError(errno.ESRCH, "the process that entered was killed")
    if ends is not None:
        ends[1].close()
        master = ends[0].receive()
        ends[0].close()
        stack.callback(os.close, master)
        to.window = master
        copies = [terminal.Copy(0, master, True), terminal.Copy(master, 1, False)]
        stack.enter_context(terminal.raw(0))
    ended = process.descriptor(said["pid"])
    stack.callback(os.close, ended)
    terminal.relay(copies, ended)
    to.command = None
    status = os.waitstatus_to_exitcode(os.waitpid(said["pid"], 0)[1])
    if status == -signal.SIGKILL and select.select([entry.process], [], [], _LAST_BREATH)[0]:
        raise OSError(errno.ESRCH, "it ended with its guest")
    return status if status >= 0 else BY_SIGNAL - status


def _channel() -> tuple[Channel, Channel]:
    from .kernel import channel  # few want a terminal, and all would wait

    return channel.pair()


def _fork(entry: Entry) -> int:
    """Fork, into the guest's own cgroup where that can be; else the child has to move."""
    with contextlib.suppress(OSError):
        return process.fork_into(entry.layout.tree / cgroup.of_process(entry.now.pid).lstrip("/"))
    return os.fork()


def _streams() -> tuple[dict[int, int], list[terminal.Copy]]:
    """A pipe in place of each standard stream that is a terminal: number → the command's end, and what to copy."""
    streams, copies = {}, []
    for number in (0, 1, 2):
        if os.isatty(number):
            receive, send = os.pipe()
            theirs, ours = (receive, send) if number == 0 else (send, receive)
            os.set_blocking(ours, False)
            streams[number] = theirs
            copies.append(terminal.Copy(0, ours, True) if number == 0 else terminal.Copy(ours, number, False))
    return streams, copies


class _Signals:
    """Where signals to the caller go.

    * joiner, command: pids while they are ours to signal. What the joiner got goes to the command too, in case that was
      running already
    * window: our end of the command's terminal, which is told our terminal's size instead
    """

    def __init__(self) -> None:
        self.joiner: int | None = None
        self.command: int | None = None
        self.window: int | None = None
        self._early: list[int] = []

    def __call__(self, number: int, _frame: object) -> None:
        if number == signal.SIGWINCH and self.window is not None:
            terminal.set_size(self.window, terminal.size(0))
        elif self.command is not None:
            os.kill(self.command, number)
        else:
            self._early.append(number)
            if self.joiner is not None:
                os.kill(self.joiner, number)

    def found(self, command: int) -> None:
        """Signal ``command`` from now on."""
        self.command = command
        while self._early:
            os.kill(command, self._early.pop(0))


@contextlib.contextmanager
def _passing_on() -> Iterator[_Signals]:
    """Handle the signals to pass on, but for those that the caller ignores (nohup)."""
    signals = _Signals()
    before = {number: signal.getsignal(number) for number in PASSED_ON}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signals)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
