# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The caller of a command in a guest: it forks the one who enters, waits, and copies.

What its child does is in :mod:`.joiner`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Iterator, Sequence

from .entrance import Entrance
from .errors import InvalidInput, VserverError
from .joiner import BY_SIGNAL, PASSED_ON, Entry, Way, join
from .kernel import cgroup_place, process, terminal

TYPE_CHECKING = False  # typing's own takes whoever enters a guest 3 ms to read
if TYPE_CHECKING:
    from .kernel.channel import Channel

#: Seconds in which process 1 is gone when its end is what killed the command.
_LAST_BREATH = 2.0
#: As root, on our standard streams.
PLAIN = Way()


def run(into: Entrance, name: str, argv: Sequence[str], way: Way = PLAIN) -> int:
    """Run ``argv`` in guest ``name``, and return its exit status, as :func:`.enter.run` does."""
    if cgroup_place.event(into.group, "frozen"):
        raise InvalidInput(f"guest {name} is frozen, and so would be who enters", remedy="Have it go on first.")
    _check(argv)
    with contextlib.ExitStack() as stack:
        try:
            entry = _entry(into, argv, way)
            stack.callback(os.close, entry.process)
            return _run(stack, entry, way.tty)
        except OSError as error:
            if process.start_ticks(into.pid) != into.start:
                raise VserverError(f"enter guest {name}", why="it has stopped meanwhile") from error
            raise VserverError(f"enter guest {name}", why=str(error.strerror or error)) from error


def _entry(into: Entrance, argv: Sequence[str], way: Way) -> Entry:
    environment = {**into.environment, "HOME": "/" if way.uid else "/root"}
    if way.user is not None:
        from . import accounts  # noqa: F401  # the joiner, who needs it, can import nothing
    if way.tty:
        environment["TERM"] = os.environ.get("TERM", "linux")
    search = way.environment.get("PATH", environment["PATH"])
    path = [""] if "/" in argv[0] else [directory + "/" for directory in search.split(":")]
    files = tuple(os.fsencode(directory + argv[0]) for directory in path)
    descriptor = process.descriptor(into.pid)
    if process.start_ticks(into.pid) != into.start:
        os.close(descriptor)
        raise ProcessLookupError(errno.ESRCH, "its process 1 is gone")
    window = terminal.size(0) if way.tty else None
    return Entry(into, descriptor, tuple(map(os.fsencode, argv)), files, environment, way, window)


def _check(argv: Sequence[str]) -> None:
    """Refuse what cannot be executed in any guest (pure)."""
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise InvalidInput(f"command {list(argv)!r} cannot be executed", remedy="Give a program and its arguments.")


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
        said = dict(answer.split(b" ", 1) for answer in pipe.read().split(b"\0")[:-1])
    to.joiner = None
    command = int(said.get(b"pid", 0))
    if command:
        to.found(command)
    ended_by = -os.waitstatus_to_exitcode(os.waitpid(joiner, 0)[1])
    if b"error" in said:
        if command:
            to.command = None
            os.waitpid(command, 0)
        number, text = said[b"error"].split(b" ", 1)
        raise OSError(int(number), os.fsdecode(text))
    if ended_by in PASSED_ON:
        return BY_SIGNAL + ended_by
    if not command:
        raise OSError(errno.ESRCH, "the process that entered was killed")
    if ends is not None:
        ends[1].close()
        master = ends[0].receive()
        ends[0].close()
        stack.callback(os.close, master)
        to.window = master
        copies = [terminal.Copy(0, master, True), terminal.Copy(master, 1, False)]
        stack.enter_context(terminal.raw(0))
    ended = process.descriptor(command)
    stack.callback(os.close, ended)
    terminal.relay(copies, ended)
    to.command = None
    status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    if status == -signal.SIGKILL and select.select([entry.process], [], [], _LAST_BREATH)[0]:
        raise OSError(errno.ESRCH, "it ended with its guest")
    return status if status >= 0 else BY_SIGNAL - status


def _channel() -> tuple[Channel, Channel]:
    from .kernel import channel  # few want a terminal, and all would wait

    return channel.pair()


def _fork(entry: Entry) -> int:
    """Fork, into the guest's own cgroup where that can be; else the child has to move."""
    with contextlib.suppress(OSError):
        return process.fork_into(entry.into.tree + cgroup_place.of_process(entry.into.pid))
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
