# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's table of performance, made from figures."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from .catalogue import CATALOGUE
from .measure import Figure

BEGIN = "<!-- performance:begin -->"
END = "<!-- performance:end -->"

#: Unit → (value from which the next one is easier to read, that one, how many of the first it is).
_LARGER = {"ms": (1000.0, "s", 1000.0), "KiB": (1024.0, "MiB", 1024.0)}


class MarkersMissing(Exception):
    """The document does not say where the table goes."""


def quantity(value: float, unit: str) -> str:
    """A value as a person writes it (pure): three digits, in the unit that suits."""
    if unit in _LARGER and value >= _LARGER[unit][0]:
        _ignored, unit, divisor = _LARGER[unit]
        value /= divisor
    text = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return text if unit == "mounts" else f"{text} {unit}"


def proportion(ratio: float | None) -> str:
    """A ratio as a person writes it (pure)."""
    if ratio is None:
        return "–"
    return "< 0.001" if 0 < ratio < 0.001 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:.1f}"


def machine() -> str:
    """What this machine is, as far as it matters for a figure."""
    return (
        f"Linux {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{datetime.date.today().isoformat()}"
    )


def table(figures: Sequence[Figure], where: str) -> str:
    """The Markdown table of ``figures``, in the catalogue's order, and the line about the machine (pure)."""
    order = list(CATALOGUE)
    rows = ["| What | Ratio | Ours | Peer |", "|---|--:|--:|:--|"]
    for figure in sorted(figures, key=lambda figure: order.index(figure.name)):
        peer = "–"
        if figure.peer is not None and figure.peer_value is not None:
            peer = f"{quantity(figure.peer_value, figure.unit)} (`{figure.peer}`)"
        cells = (CATALOGUE[figure.name].what, proportion(figure.ratio), quantity(figure.value, figure.unit), peer)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        (*rows, "", f"Medians of alternating runs; the ratio is ours ÷ peer's, so less is better. {where}.")
    )


def replaced(document: str, content: str) -> str:
    """``document`` with ``content`` between its markers (pure). Raises :class:`MarkersMissing`."""
    before, begin, rest = document.partition(BEGIN)
    _ignored, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing(f"{BEGIN} and, below it, {END} are missing")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def figures_of(text: str) -> list[Figure]:
    """The figures in JSON lines; of two with one name, the later (pure)."""
    found = {figure.name: figure for figure in map(Figure.of_line, filter(str.strip, text.splitlines()))}
    return list(found.values())


def rewrite(document: Path, lines: str) -> None:
    """Put the table of the figures in ``lines`` into ``document``. Raises :class:`MarkersMissing`."""
    document.write_text(replaced(document.read_text(), table(figures_of(lines), machine())))
