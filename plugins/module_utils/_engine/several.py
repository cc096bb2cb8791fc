# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same for several guests, for who is told of failures as they come and of all of them at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from . import children
from .errors import ToolFailed, VserverError


def each(names: Sequence[str], parallel: int, verb: str, act: Callable[[str], object]) -> None:
    """Do ``act`` for each name, ``parallel`` at a time, in children of this process.

    What fails is said on standard error, and keeps none of the others from being done; then :class:`ToolFailed` is
    raised with the names of those.

    * verb: what is done, for people ("start")
    """

    def attempt(name: str) -> None:
        try:
            act(name)
        except VserverError as error:
            sys.stderr.write(f"vserver: {error}\n")
            raise
        except BaseException as error:
            sys.stderr.write(f"vserver: {verb} guest {name}: {type(error).__name__}: {error}\n")
            raise

    answers = children.each(names, parallel, attempt)
    failed = sorted(name for name, answer in answers if isinstance(answer, VserverError))
    if failed:
        raise ToolFailed(f"{verb} {len(failed)} of {len(names)} guests", why=f"not done: {', '.join(failed)}")
