# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Meeting a process at a named pipe, whichever end it is at."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import fifo


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@contextmanager
def process(act: Callable[[], object]) -> Iterator[int]:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("late", [0.0, 0.05])
def test_one_that_writes(pipe: Path, late: float) -> None:
    def come() -> None:
        time.sleep(late)
        pipe.write_bytes(b"0")
        time.sleep(60)

    with process(come) as child:
        assert fifo.meet(pipe, child, 10)


def test_one_that_reads(pipe: Path) -> None:
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with process(lambda: time.sleep(60)) as child:
        assert fifo.meet(pipe, child, 10)
    assert os.read(end, 2) == b"\0"
    os.close(end)


def test_one_that_does_not_come(pipe: Path) -> None:
    with process(lambda: time.sleep(60)) as child:
        assert not fifo.meet(pipe, child, 0.02)


def test_one_that_ends(pipe: Path) -> None:
    with process(lambda: time.sleep(0.02)) as child:
        assert not fifo.meet(pipe, child, 10)


def test_one_that_is_gone(pipe: Path) -> None:
    with process(lambda: None) as child:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert not fifo.meet(pipe, child, 10)


def test_no_pipe(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fifo.meet(tmp_path / "none", os.getpid(), 10)
