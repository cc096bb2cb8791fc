# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody at a terminal: a command on a new one, what it shows, and keys that are typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from pathlib import Path
from typing import Any

PATIENCE = 30.0
_TOLD = 1000  # of what was shown last


class Terminal:
    """A command on a terminal of 31 rows and 97 columns, killed when it is left; ``shown`` is all it has written."""

    def __init__(self, *argv: str | Path) -> None:
        self.shown = ""
        self._status: int | None = None
        receive, send = os.pipe()
        self._child, self._master = pty.fork()
        if self._child == 0:
            os.close(send)
            os.read(receive, 1)  # not before the terminal has its size
            os.execvp(argv[0], list(map(str, argv)))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        os.close(receive)
        os.close(send)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: Any) -> None:
        if self._status is None:
            os.kill(self._child, 9)
            os.waitpid(self._child, 0)
        os.close(self._master)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, pattern: str, otherwise: str = "it does not come", since: int = 0) -> None:
        """Read until what was shown from ``since`` on has ``pattern``."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.shown[since:]):
            assert time.monotonic() < deadline and self._read(deadline), f"{otherwise}: {self.shown[-_TOLD:]!r}"

    def ended(self) -> int:
        """Read to the end; the command's exit status, as subprocess has it."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            assert time.monotonic() < deadline, self.shown[-_TOLD:]
        self._status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        return self._status

    def _read(self, deadline: float) -> bool:
        """Whether there was more to come in time."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody is left at the other end
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
