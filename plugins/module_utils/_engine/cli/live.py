# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table that is shown again and again, with keys to sort it by; or once, where nobody looks on."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import table

_HOME, _CLEAR_LINE, _CLEAR_REST = "\033[H", "\033[K", "\033[J"
_FIRST = 0.2  # the first figures come soon


@dataclass(frozen=True)
class View:
    """A table to look on.

    * sorts: what it can be sorted by, which is a key as well by its first letter → the keys of a row that are added up,
      the greatest first; none for the order by ``otherwise``, which rows that are as great have too
    """

    columns: Sequence[table.Column]
    sorts: Mapping[str, Sequence[str]]
    otherwise: Sequence[str]

    def by(self, rows: Sequence[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
        """``rows`` in the order of ``sort`` (pure)."""
        keys = self.sorts[sort]

        def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
            return (-sum(row[key] or 0 for key in keys), *((row[key] is not None, row[key]) for key in self.otherwise))

        return sorted(rows, key=place)


def show(view: View, look: Callable[[], list[dict[str, Any]]], arguments: argparse.Namespace) -> int:
    """Show what ``look`` tells of the time since it was called last, as ``arguments`` say."""
    if arguments.once or arguments.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        time.sleep(arguments.interval)
        rows = view.by(look(), arguments.sort)
        if arguments.json:
            table.show_json(rows)
        else:
            table.show(view.columns, rows)
        return 0
    sort, wait = arguments.sort, _FIRST
    keys = {name[0]: name for name in view.sorts}
    hint = "q ends; sort by " + ", ".join(f"{key} {name}" for key, name in keys.items())
    with _keys():
        while True:
            key = _key(wait)
            if key == "q":
                return 0
            sort, wait = keys.get(key, sort), arguments.interval
            rows, (width, height) = view.by(look(), sort), os.get_terminal_size()
            lines = table.lines(view.columns, rows[: max(height - 3, 0)], colours=table.coloured(), width=width)
            text = "\n".join(f"{line}{_CLEAR_LINE}" for line in [*lines, "", hint][:height])
            sys.stdout.write(f"{_HOME}{text}{_CLEAR_REST}")
            sys.stdout.flush()


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Have the terminal pass on keys as they are typed, ^C still being a signal."""
    settings = termios.tcgetattr(0)
    tty.setcbreak(0)
    sys.stdout.write(_HOME + _CLEAR_REST)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, settings)
        sys.stdout.write("\n")


def _key(seconds: float) -> str:
    """The key that is typed within so many seconds, else nothing."""
    ready, _none, _none = select.select([0], [], [], seconds)
    return os.read(0, 1).decode(errors="replace") or "q" if ready else ""
