# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's tables of performance and of the network, made from figures."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from .catalogue import CATALOGUE, NETWORK
from .measure import Comparison, Figure

#: What is between markers of these names is generated.
PERFORMANCE, NETWORKING = "performance", "network"

#: Unit → (value from which the next one is easier to read, that one, how many of the first it is).
_LARGER = {"ms": (1000.0, "s", 1000.0), "KiB": (1024.0, "MiB", 1024.0), "B/s": (1e9, "GB/s", 1e9)}


#: Units that a figure's description names already.
_COUNTED = ("mounts", "groups", "addresses")


class MarkersMissing(Exception):
    """The document does not say where the table goes."""


def marker(section: str, end: str) -> str:
    """Where a generated section has its ``begin`` or its ``end`` (pure)."""
    return f"<!-- {section}:{end} -->"


def quantity(value: float, unit: str) -> str:
    """A value as a person writes it (pure): three digits, in the unit that suits."""
    if unit == "/s":
        return f"{float(f'{value:.3g}'):,.0f}/s"
    if unit in _LARGER and value >= _LARGER[unit][0]:
        _ignored, unit, divisor = _LARGER[unit]
        value /= divisor
    text = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return text if unit in _COUNTED else f"{text} {unit}"


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


def network_table(comparisons: Sequence[Comparison], where: str) -> str:
    """The Markdown table of ``comparisons``, in the catalogue's order, and the line about the machine (pure)."""
    order = list(NETWORK)
    rows = [
        "| What | Host's own process | Guest with binding | Guest behind veth and bridge | Guest ÷ host |",
        "|---|--:|--:|--:|--:|",
    ]
    for each in sorted(comparisons, key=lambda each: order.index(each.name)):
        rates = (quantity(value, each.unit) for value in (each.host, each.guest, each.bridge))
        rows.append(f"| {' | '.join((NETWORK[each.name].what, *rates, f'{each.ratio:.3f}'))} |")
    return "\n".join(
        (
            *rows,
            "",
            "Client and server on one processor, so all the work for a packet counts. Medians of alternating rounds; "
            f"more is better. {where}.",
        )
    )


def replaced(document: str, section: str, content: str) -> str:
    """``document`` with ``content`` between the section's markers (pure). Raises :class:`MarkersMissing`."""
    begins, ends = marker(section, "begin"), marker(section, "end")
    before, begin, rest = document.partition(begins)
    _ignored, end, after = rest.partition(ends)
    if not begin or not end:
        raise MarkersMissing(f"{begins} and, below it, {ends} are missing")
    return f"{before}{begin}\n{content}\n{end}{after}"


def results_of(text: str) -> tuple[list[Figure], list[Comparison]]:
    """The results in JSON lines; of two with one name, the later (pure)."""
    figures: dict[str, Figure] = {}
    comparisons: dict[str, Comparison] = {}
    for line in filter(str.strip, text.splitlines()):
        name = json.loads(line)["name"]
        if name in NETWORK:
            comparisons[name] = Comparison.of_line(line)
        else:
            figures[name] = Figure.of_line(line)
    return list(figures.values()), list(comparisons.values())


def rewrite(document: Path, lines: str) -> None:
    """Put the tables of the results in ``lines`` into ``document``; without any of one table's, that one stays.

    Raises :class:`MarkersMissing`.
    """
    figures, comparisons = results_of(lines)
    text = document.read_text()
    if figures:
        text = replaced(text, PERFORMANCE, table(figures, machine()))
    if comparisons:
        text = replaced(text, NETWORKING, network_table(comparisons, machine()))
    document.write_text(text)
