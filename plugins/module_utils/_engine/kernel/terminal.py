# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Terminals and streams of a command that runs elsewhere: a terminal of its own, and copying to and from ours."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import struct
import termios
import tty
from collections.abc import Iterator

#: Unlocks the other end of a pseudoterminal, and opens it without a path (ioctl_tty(2), Linux 4.13).
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_PTMX = (5, 2)  # major, minor (Documentation/admin-guide/devices.txt)
_CHUNK = 4096  # PIPE_BUF: a pipe that poll calls writable takes that much at once
_LAST_WORDS = 1 << 20
_END_OF_FILE = b"\x04"


def size(fd: int) -> bytes | None:
    """Rows and columns of a terminal as struct winsize, None when ``fd`` is none."""
    try:
        return fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return None


def set_size(fd: int, window: bytes | None) -> None:
    """Give a terminal the rows and columns that :func:`size` returned."""
    if window is not None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, window)


def make() -> tuple[int, int]:
    """A new pseudoterminal of the devpts at /dev/pts: our end and the command's. Raises OSError.

    Whatever else lies there is refused, and no other path is followed.
    """
    ours = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    facts = os.fstat(ours)
    if not stat.S_ISCHR(facts.st_mode) or (os.major(facts.st_rdev), os.minor(facts.st_rdev)) != _PTMX:
        raise OSError(errno.ENODEV, "/dev/pts/ptmx is not a pseudoterminal")
    fcntl.ioctl(ours, _TIOCSPTLCK, struct.pack("i", 0))
    return ours, fcntl.ioctl(ours, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def control(fd: int) -> None:
    """Make ``fd`` the controlling terminal of the calling session leader (setsid(2)), and its standard streams."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(fd, number)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Have a terminal pass on every key as it is typed; what is no terminal stays as it is."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class Copy:
    """Bytes on their way from ``source`` to ``target``.

    * inward: towards the command; the target is then told of the end: a pipe is closed, a terminal gets a ^D

    The end on the command's side is ours and does not block.
    """

    def __init__(self, source: int, target: int, inward: bool) -> None:
        self.source = source
        self.target = target
        self.inward = inward
        self.waiting = b""
        self.over = False

    def wants(self) -> tuple[int, int]:
        """The descriptor and the event (poll(2)) that this copy waits for."""
        return (self.target, select.POLLOUT) if self.waiting else (self.source, select.POLLIN)

    def step(self) -> int:
        """Read or write once; the number of bytes that were moved."""
        try:
            if self.waiting:
                moved = os.write(self.target, self.waiting)
                self.waiting = self.waiting[moved:]
                return moved
            data = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return 0
        except OSError as error:
            # EIO: nobody is left at the other end of a terminal. EPIPE: nobody is going to read.
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            data = b""
        if data:
            self.waiting = data
            return len(data)
        self.over = True
        if self.inward:
            self._end()
        return 0

    def close(self) -> None:
        """Close our end of a pipe, unless it is."""
        if not self.inward:
            os.close(self.source)
        elif not self.over:
            os.close(self.target)

    def _end(self) -> None:
        if os.isatty(self.target):
            with contextlib.suppress(OSError):
                os.write(self.target, _END_OF_FILE)
        else:
            os.close(self.target)


def relay(copies: list[Copy], ended: int) -> None:
    """Copy until the command has ended, which makes ``ended`` (a pidfd) readable, and what it left is copied too."""
    while True:
        going = [copy for copy in copies if not copy.over]
        events = {ended: select.POLLIN}
        for fd, event in (copy.wants() for copy in going):
            events[fd] = events.get(fd, 0) | event
        poll = select.poll()
        for fd, event in events.items():
            poll.register(fd, event)
        ready = {fd for fd, _event in poll.poll()}
        for copy in going:
            if copy.wants()[0] in ready:
                copy.step()
        if ended in ready:
            break
    for copy in copies:
        moved = 0
        while not (copy.inward or copy.over) and moved < _LAST_WORDS:
            step = copy.step()
            moved += step
            if not step:
                break
