# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same for several guests: a few at a time, each in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from .errors import ToolFailed, VserverError


def each(names: Sequence[str], parallel: int, verb: str, act: Callable[[str], object]) -> None:
    """Do ``act`` for each name, ``parallel`` at a time, in children of this process.

    What fails is said on standard error, and keeps none of the others from being done; then :class:`ToolFailed` is
    raised with the names of those.

    * verb: what is done, for people ("start")
    """
    waiting = list(names)
    at_work: dict[int, str] = {}
    failed: list[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    while waiting or at_work:
        while waiting and len(at_work) < parallel:
            name = waiting.pop(0)
            child = os.fork()
            if child == 0:
                status = _attempt(verb, name, act)
                sys.stderr.flush()
                os._exit(status)
            at_work[child] = name
        child, status = os.wait()
        if child in at_work:
            name = at_work.pop(child)
            if status:
                failed.append(name)
    if failed:
        raise ToolFailed(f"{verb} {len(failed)} of {len(names)} guests", why=f"not done: {', '.join(sorted(failed))}")


def _attempt(verb: str, name: str, act: Callable[[str], object]) -> int:
    """Exit status of one child; never raises, so that the child never runs its parent's code."""
    try:
        act(name)
    except VserverError as error:
        sys.stderr.write(f"vserver: {error}\n")
        return 1
    except BaseException as error:
        sys.stderr.write(f"vserver: {verb} guest {name}: {type(error).__name__}: {error}\n")
        return 1
    return 0
