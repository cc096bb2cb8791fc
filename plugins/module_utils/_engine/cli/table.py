# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Aligned tables for people, and how numbers and moments are written in them (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "-"
_UNITS = ("B", "K", "M", "G", "T")


def text(value: Any) -> str:
    return NONE if value is None else str(value)


def words(value: Sequence[Any] | None) -> str:
    return ",".join(map(str, value or ())) or NONE


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
    """

    heading: str
    key: str
    show: Callable[[Any], str] = text
    right: bool = False


def lines(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A table of ``rows``, headings first; as wide as it has to be, without blanks at the ends of lines."""
    cells = [[column.heading for column in columns]]
    cells += [[column.show(row.get(column.key)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns)
        ).rstrip()
        for row in cells
    ]
