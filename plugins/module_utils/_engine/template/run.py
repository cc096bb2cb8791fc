# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the programs that fill a template, with all they say in one log."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import textwrap
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from ..errors import ToolFailed, Unsupported

_TAIL_LINES = 12
_LONGEST_LINE = 300


class BuildLog:
    """The log of one build: a file, and the last lines of the program that runs now.

    A full disk does not stop it: the error is then told by the program that wanted to write something of use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._partial = b""

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def begin(self, argv: Sequence[str]) -> None:
        """Note which program runs now, and forget the last lines of the one before."""
        self._tail.clear()
        self._partial = b""
        self._store(f"+ {shlex.join(argv)}\n".encode(errors="replace"))

    def write(self, data: bytes) -> None:
        self._store(data)
        *whole, partial = (self._partial + data).replace(b"\r", b"\n").split(b"\n")
        self._tail.extend(line for line in whole if line.strip())
        self._partial = partial[-4096:]

    def tail(self) -> str:
        """The last lines that the present program said, at most twelve."""
        lines = [*self._tail, self._partial] if self._partial.strip() else list(self._tail)
        text = "\n".join(line.decode(errors="replace")[:_LONGEST_LINE] for line in lines)
        # What a guest's program says may be meant for the reader's terminal.
        return "".join(character for character in text if character.isprintable() or character == "\n")

    def _store(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, data)


def require(program: str, package: str) -> None:
    """Raise :class:`Unsupported` unless ``program`` is on this host."""
    if shutil.which(program) is None:
        raise Unsupported(f"run {program}", why="it is not on this host", remedy=f"Install the package {package}.")


def run(
    argv: Sequence[str],
    log: BuildLog,
    attempt: str,
    *,
    isolated: bool = False,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    pass_fds: Collection[int] = (),
) -> None:
    """Run a program of the host; it dies with us. Raises :class:`ToolFailed` with the last lines of its output.

    * isolated: in PID and mount namespaces of its own, so that nothing it started or mounted outlives it
    * stdin: a few lines at most
    * pass_fds: descriptors the program keeps, for instance the lock under which it works
    """
    wrapper = ["setpriv", "--pdeathsig", "KILL", "--"]
    if isolated:
        wrapper += ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        wrapper += ["--"]
    log.begin(argv)
    process = subprocess.Popen(
        [*wrapper, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=tuple(pass_fds),
        umask=0o022,
        cwd="/",
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both were asked for as pipes")
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin)
        while data := os.read(process.stdout.fileno(), 65536):
            log.write(data)
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        process.stdout.close()
    if code:
        raise failure(attempt, argv, code, log)


def failure(attempt: str, argv: Sequence[str], code: int, log: BuildLog) -> ToolFailed:
    """The error that ``argv`` ended with ``code`` (negative: killed by that signal)."""
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    remedy = f"The full output is in {log.path}"
    tail = log.tail()
    remedy += f"; it ends with:\n{textwrap.indent(tail, '  ')}" if tail else "; it is empty."
    return ToolFailed(attempt, why=f"{_shown(argv)} {ended}", remedy=remedy)


def _shown(argv: Sequence[str]) -> str:
    text = shlex.join(argv)
    return text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + "…"
