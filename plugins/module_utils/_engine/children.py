# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work for many things, in a few processes beside this one."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, Optional, TypeVar

from .errors import VserverError

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Of an error: its type, what, why and remedy.
Parts = tuple[type[VserverError], str, Optional[str], Optional[str]]

_NUMBER = struct.Struct("=I")


def each(
    items: Iterable[Item], parallel: int, act: Callable[[Item], Result]
) -> list[tuple[Item, Result | VserverError]]:
    """Do ``act`` for each item in children of this process, ``parallel`` of them; one takes the next item when it is
    done with the last.

    Returns, in the order of the items, what it answered (picklable) or raised; what is not a :class:`VserverError`
    becomes one. One that fails, or ends its process, keeps none of the others from being done.
    """
    todo = list(items)
    queue = os.memfd_create("next")
    os.pwrite(queue, _NUMBER.pack(0), 0)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a collection in a child would make it copy all that it shares with this process
    done: dict[int, Result | VserverError] = {}
    at_work = dict(_begin(todo, act, queue) for _ignored in range(min(max(parallel, 1), len(todo))))
    spare = len(todo)  # of children that take the place of others: each of those has an item in hand, mostly
    while at_work:
        child, status = os.wait()
        if child in at_work:
            said = dict(_read(at_work.pop(child)))
            for number, answer in said.items():
                if answer is not None or number not in done:
                    done[number] = _answer(answer, status)
            if (status or None in said.values()) and spare:  # it was killed; another takes its place
                spare -= 1
                at_work.update([_begin(todo, act, queue)])
    os.close(queue)
    return [(item, done[number] if number in done else _answer(None, 0)) for number, item in enumerate(todo)]


def _begin(todo: Sequence[Item], act: Callable[[Item], Result], queue: int) -> tuple[int, int]:
    """Start a child; answers its process id and the file it writes to."""
    answers = os.memfd_create("answers")
    child = os.fork()
    if child == 0:
        _work(todo, act, queue, answers)
    return child, answers


def _work(todo: Sequence[Item], act: Callable[[Item], Result], queue: int, answers: int) -> NoReturn:
    """A child's life; it never runs its parent's code."""
    try:
        while True:
            number = _take(queue, answers, len(todo))
            if number is None:
                break
            os.write(answers, pickle.dumps(_attempt(todo[number], act)))
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(0)


def _take(queue: int, answers: int, count: int) -> int | None:
    """The next number below ``count`` that nobody has taken, or None.

    It is noted among the child's answers first: of one that is killed in between, another takes it.
    """
    fcntl.lockf(queue, fcntl.LOCK_EX)
    try:
        (number,) = _NUMBER.unpack(os.pread(queue, _NUMBER.size, 0))
        if number >= count:
            return None
        os.write(answers, pickle.dumps(number))
        os.pwrite(queue, _NUMBER.pack(number + 1), 0)
        return int(number)
    finally:
        fcntl.lockf(queue, fcntl.LOCK_UN)


def _attempt(item: Item, act: Callable[[Item], Result]) -> tuple[Parts | None, Result | None]:
    """What became of an item, picklable: the parts of the error, or else what ``act`` answered."""
    try:
        return None, act(item)
    except VserverError as error:
        return (type(error), error.what, error.why, error.remedy), None
    except BaseException as error:
        return (VserverError, "defect in linux.vserver", f"{type(error).__name__}: {error}", None), None


def _read(answers: int) -> Iterator[tuple[int, Any]]:
    """The numbers a child has taken, each with what became of it, None when the child ended before that was known."""
    with open(answers, "rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
        file.seek(0)
        while True:
            number, answer = pickle.load(file), None
            with contextlib.suppress(EOFError, pickle.UnpicklingError):
                answer = pickle.load(file)
            yield number, answer


def _answer(answer: Any, status: int) -> Any:
    if answer is None:
        return VserverError("do the work in a process of its own", f"it ended with status {status}", "Run it again.")
    parts, result = answer
    return result if parts is None else parts[0](*parts[1:])
