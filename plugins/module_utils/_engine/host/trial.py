# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trying something out without a trace: in a child process, whose namespaces, mounts and descriptors end with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..kernel.syscall import prctl

#: Begins the name of everything a trial makes.
PREFIX = ".vserver-probe-"
_PATIENCE = 30.0
_STALE = 3600.0
_PR_SET_PDEATHSIG = 1


def in_child(act: Callable[[], str], patience: float = _PATIENCE) -> str:
    """Run ``act`` in a forked child and return what it returns.

    Raises OSError with the child's errno and words when ``act`` raises, or has not ended in ``patience`` seconds.
    """
    return begin(act, patience)()


def begin(act: Callable[[], str], patience: float = _PATIENCE) -> Callable[[], str]:
    """Start ``act`` in a forked child; the returned function waits for it and must be called. See :func:`in_child`."""
    parent = os.getpid()
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            end_with_parent(parent)
            with open(send, "w") as pipe:
                json.dump(_attempt(act), pipe)
        finally:
            os._exit(0)
    os.close(send)

    def finish() -> str:
        try:
            text = _read(receive, patience)
        finally:
            os.close(receive)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        answer = json.loads(text or '{"error": "the trial was killed or did not end"}')
        if "error" in answer:
            raise OSError(answer.get("errno", 0), answer["error"])
        return str(answer["value"])

    return finish


def _attempt(act: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"value": act()}
    except OSError as error:
        return {"errno": error.errno or 0, "error": error.strerror or str(error)}
    except Exception as error:
        return {"error": str(error) or type(error).__name__}


def _read(receive: int, patience: float) -> str:
    """All that comes through the pipe until it closes; empty when that takes too long."""
    poll = select.poll()
    poll.register(receive, select.POLLIN)
    parts: list[bytes] = []
    while poll.poll(patience * 1000):
        part = os.read(receive, 1 << 16)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)
    return ""


def nearest_directory(path: Path) -> Path:
    """``path``, or the nearest directory above it that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.is_dir())


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, which forked it, ends before it (PR_SET_PDEATHSIG)."""
    prctl("tie a trial to its parent", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


@contextlib.contextmanager
def scratch(where: Path) -> Iterator[Path]:
    """A temporary directory in ``where``, or in the nearest directory above that exists."""
    parent = nearest_directory(where)
    _sweep(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name:
        yield Path(name)


def _sweep(parent: Path) -> None:
    """Remove what trials left in ``parent`` that were killed long ago."""
    oldest = time.time() - _STALE
    for entry in os.scandir(parent):
        if entry.name.startswith(PREFIX) and entry.stat(follow_symlinks=False).st_mtime < oldest:
            shutil.rmtree(entry.path, ignore_errors=True)
