# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring: two sides in turns, medians, and the line that a figure is."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: Does something once, and tells how much it took, in the figure's unit.
Sample = Callable[[], float]
#: Takes a line for a person who is waiting.
Say = Callable[[str], None]

_DIGITS = 4


@dataclass(frozen=True)
class Figure:
    """A result. ``peer`` says what was done in its place, None where nothing compares."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's, as the line tells them: below 1 is better than the peer."""
        return _rounded(_rounded(self.value) / _rounded(self.peer_value)) if self.peer_value else None

    def line(self) -> str:
        """The figure as one line of JSON."""
        record = {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "peer": self.peer,
            "peer_value": None if self.peer_value is None else _rounded(self.peer_value),
            "ratio": self.ratio,
        }
        return json.dumps(record)

    @classmethod
    def of_line(cls, line: str) -> Figure:
        record: dict[str, Any] = json.loads(line)
        return cls(record["name"], record["value"], record["unit"], record["peer"], record["peer_value"])


@dataclass(frozen=True)
class Comparison:
    """A result of the network: units a second of the host's own process, of a guest, and of one behind a bridge.

    * ratio: the guest's to the host's: the median of the ratios of single rounds, which may differ from that of medians
    """

    name: str
    unit: str
    host: float
    guest: float
    bridge: float
    ratio: float

    def line(self) -> str:
        """The comparison as one line of JSON."""
        record = dataclasses.asdict(self)
        return json.dumps(
            {key: _rounded(value) if isinstance(value, float) else value for key, value in record.items()}
        )

    @classmethod
    def of_line(cls, line: str) -> Comparison:
        return cls(**json.loads(line))

    @classmethod
    def of_rounds(cls, name: str, unit: str, rounds: Sequence[Sequence[float]]) -> Comparison:
        """Out of the rounds of all three: host, guest, bridge."""
        host, guest, bridge = (statistics.median(samples) for samples in zip(*rounds))
        return cls(name, unit, host, guest, bridge, statistics.median(own / plain for plain, own, _bridge in rounds))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def alternate(
    ours: Sample, peer: Sample | None, rounds: int, say: Say = lambda line: None
) -> tuple[float, float | None]:
    """The medians of ``rounds`` samples of each side, taken in turns, so that what else the machine does meets both.

    A round of each comes first and does not count: it fills caches.
    """
    sides = [side for side in (ours, peer) if side is not None]
    taken: list[list[float]] = [[] for _ignored in sides]
    for number in range(rounds + 1 if rounds > 1 else 1):
        values = [side() for side in sides]
        warming = rounds > 1 and number == 0
        if not warming:
            for samples, value in zip(taken, values):
                samples.append(value)
        say(f"{'warm-up' if warming else number or 1}: {', beside '.join(f'{value:.1f}' for value in values)}")
    medians = [statistics.median(samples) for samples in taken]
    return medians[0], medians[1] if peer is not None else None


class Stopwatch:
    """Milliseconds between :meth:`running`'s begin and end."""

    milliseconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.milliseconds = (time.perf_counter() - began) * 1000
