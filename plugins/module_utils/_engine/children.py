# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work for many things: some at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

from .errors import VserverError

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    items: Iterable[Item], parallel: int, act: Callable[[Item], Result]
) -> list[tuple[Item, Result | VserverError]]:
    """Do ``act`` for each item in children of this process, ``parallel`` at a time.

    Returns, in the order of the items, what it answered (picklable) or raised; what is not a :class:`VserverError`
    becomes one. One that fails keeps none of the others from being done.
    """
    waiting = list(enumerate(items))
    done: dict[int, tuple[Item, Result | VserverError]] = {}
    at_work: dict[int, tuple[int, Item, int]] = {}
    sys.stdout.flush()
    sys.stderr.flush()
    waiting.reverse()
    while waiting or at_work:
        while waiting and len(at_work) < max(parallel, 1):
            number, item = waiting.pop()
            answer = os.memfd_create("answer")
            child = os.fork()
            if child == 0:
                _work(item, act, answer)
            at_work[child] = (number, item, answer)
        child, status = os.wait()
        if child in at_work:
            number, item, answer = at_work.pop(child)
            done[number] = (item, _read(answer, status))
    return [done[number] for number in sorted(done)]


def _work(item: Item, act: Callable[[Item], Result], answer: int) -> NoReturn:
    """A child's life; it never runs its parent's code."""
    try:
        result: Result | VserverError
        try:
            result = act(item)
        except VserverError as error:
            result = error
        except BaseException as error:
            result = VserverError("defect in linux.vserver", f"{type(error).__name__}: {error}")
        parts = (type(result), result.what, result.why, result.remedy) if isinstance(result, VserverError) else None
        os.pwrite(answer, pickle.dumps((parts, None if parts else result)), 0)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _read(answer: int, status: int) -> Result | VserverError:
    with open(answer, "rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
        file.seek(0)
        parts, result = pickle.load(file)
        if parts is None:
            good: Result = result
            return good
        kind, what, why, remedy = parts
        failure: VserverError = kind(what, why, remedy)
        return failure
    return VserverError("do the work in a process of its own", f"it ended with status {status}", "Run it again.")
