# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named pipes, at which one process waits for another (fifo(7))."""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

from . import process


def meet(pipe: Path, pid: int, timeout: float) -> bool:
    """Come to the end of a named pipe at whose other end process ``pid`` waits, or soon will: give or take a byte.

    Returns False when the process has ended, or has not come in ``timeout`` seconds. Raises FileNotFoundError.
    """
    try:
        end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nobody is there to read, so it comes to write
            raise
        return _taken(pipe, pid, timeout)
    with os.fdopen(end, "wb", buffering=0) as writer:
        return writer.write(b"\0") == 1


def _taken(pipe: Path, pid: int, timeout: float) -> bool:
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as reader:
        try:
            ended = process.descriptor(pid)
        except ProcessLookupError:
            return False
        try:
            poll = select.poll()
            poll.register(reader, select.POLLIN)
            poll.register(ended, select.POLLIN)
            return bool(poll.poll(timeout * 1000) and reader.read(1))
        finally:
            os.close(ended)
