# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Aligned tables for people, and how numbers and moments are written in them."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "-"
_GAP = "  "
#: Words are not cut to less than so many letters.
_LEAST = 8
_UNITS = ("B", "K", "M", "G", "T")


#: Select Graphic Rendition (ECMA-48): what a name of a colour is on a terminal.
_COLOURS = {"bold": "1", "green": "32", "yellow": "33", "blue": "34", "dim": "2"}


def text(value: Any) -> str:
    """A value in a line: what a guest has chosen must not steer the terminal."""
    return NONE if value is None else "".join(letter if letter.isprintable() else "?" for letter in str(value))


def words(value: Sequence[Any] | None) -> str:
    return text(",".join(map(str, value or ()))) or NONE


def command(value: Sequence[str] | None) -> str:
    """A command line as ps(1) shows it."""
    return text(" ".join(value or ())) or NONE


def percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}%"


def duration(seconds: float | None) -> str:
    """5 → 0:05, 3905 → 1:05:05, two days → 2d00h."""
    if seconds is None:
        return NONE
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(started_at: str | None) -> str:
    """How long ago a moment (ISO 8601) was."""
    if started_at is None:
        return NONE
    now = datetime.datetime.now(datetime.timezone.utc)
    return duration((now - datetime.datetime.fromisoformat(started_at)).total_seconds())


def size(count: float | None) -> str:
    """Bytes: 1536 becomes 1.5K; two digits are enough below ten."""
    if count is None:
        return NONE
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.1f}{_UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f}{_UNITS[unit]}"


def moment(value: str | None) -> str:
    """2026-08-01T12:00:00+00:00 is easier to read as 2026-08-01 12:00:00."""
    return (value or NONE).replace("T", " ", 1).removesuffix("+00:00")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    * key: of the value in a row, show: how it is written
    * right: aligned right, as numbers are
    * colour: which one a value has on a terminal
    """

    heading: str
    key: str
    show: Callable[[Any], str] = text
    right: bool = False
    colour: Callable[[Any], str | None] = lambda value: None


def state_colour(state: Any) -> str | None:
    return {"running": "green", "frozen": "blue", "stopped": "dim"}.get(str(state))


def painted(words: str, colour: str | None) -> str:
    """``words`` in a colour, for a terminal."""
    return f"\033[{_COLOURS[colour]}m{words}\033[0m" if colour and words else words


def lines(
    columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, colours: bool = False, width: int | None = None
) -> list[str]:
    """A table of ``rows``, headings first; as wide as it has to be, without blanks at the ends of lines.

    * colours: for a terminal
    * width: no line is longer; what stands too far to the right is cut, or numbers left out
    """
    rows = list(rows)
    cells = [[column.heading for column in columns]]
    cells += [[column.show(row.get(column.key)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    if width is not None:
        widths = _fitting(columns, widths, width)
        cells = [[cell[:most] for cell, most in zip(row, widths)] for row in cells]
    paints = [["bold" for _column in columns]]
    paints += [[column.colour(row.get(column.key)) or "" for column in columns] for row in rows]
    return [
        _GAP.join(
            painted(cell.rjust(width), paint) if column.right else painted(cell, paint) + " " * (width - len(cell))
            for cell, width, column, paint in zip(row, widths, columns, paint_row if colours else [""] * len(columns))
        ).rstrip()
        for row, paint_row in zip(cells, paints)
    ]


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """The widths of the columns that fit side by side into ``width``, the last one maybe cut (pure)."""
    fitting = list(widths)
    while len(fitting) > 1:
        over = sum(fitting) + len(_GAP) * (len(fitting) - 1) - width
        if over > 0 and not columns[len(fitting) - 1].right and fitting[-1] - over >= _LEAST:
            fitting[-1] -= over
        elif over > 0:
            fitting.pop()
            continue
        break
    return fitting


def coloured() -> bool:
    """Whether standard output is a terminal for somebody who wants colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines(columns, rows, colours=coloured())))


def show_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
