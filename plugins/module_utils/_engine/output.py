# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping what a command writes, up to a bound.

The command is a guest's and may write for as long as it likes, to an open file of the host's even where it is told not
to. So it gets pipes, and a process beside this one empties them, in memory of a fixed size.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from .kernel import process
from .kernel.syscall import prctl

_PIECE = 1 << 16
_PR_SET_PDEATHSIG = 1
#: Seconds for what is still in the pipes when everybody who wrote to them has ended.
_LAST = 10.0


@contextlib.contextmanager
def gathered(streams: int, bound: int) -> Iterator[tuple[Sequence[int], Callable[[], list[bytes]]]]:
    """Ends of pipes to write to, and what gives, when that is over, what has been written to each.

    That is no more than ``bound`` bytes and one, by which one sees that there was more, which is thrown away: whoever
    writes is not kept from going on.
    """
    pipes = [os.pipe() for _stream in range(streams)]
    memories = [os.memfd_create("output") for _stream in range(streams)]
    child = os.fork()
    if child == 0:
        _empty(dict(zip((receive for receive, _send in pipes), memories)), bound)
    ends = [send for _receive, send in pipes]
    for receive, _send in pipes:
        os.close(receive)

    def end() -> list[bytes]:
        while ends:
            os.close(ends.pop())
        start = process.start_ticks(child)
        if start is not None and not process.wait_gone(child, start, _LAST):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return [os.pread(memory, bound + 1, 0) for memory in memories]

    try:
        yield tuple(ends), end
    finally:
        if ends:
            end()
        for memory in memories:
            os.close(memory)


def _empty(memories: dict[int, int], bound: int) -> NoReturn:
    """The process beside: read everything, and keep the beginning."""
    try:
        prctl("end with the parent", _PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        process.close_all_but({*memories, *memories.values()})
        poll = select.poll()
        for receive in memories:
            poll.register(receive, select.POLLIN)
        room = dict.fromkeys(memories, bound + 1)
        while room:
            for receive, _events in poll.poll():
                piece = os.read(receive, _PIECE)
                room[receive] -= os.write(memories[receive], piece[: room[receive]])
                if not piece:
                    poll.unregister(receive)
                    del room[receive]
    finally:
        os._exit(0)
