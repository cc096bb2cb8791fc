# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measuring itself, in the namespaces that the harness has made: names as arguments, JSON lines out."""

from __future__ import annotations

import sys
import time

from . import ground, network
from .catalogue import CATALOGUE, NETWORK, Entry
from .figures import MEASURES
from .measure import Comparison, Figure


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _line(name: str, entry: Entry, place: ground.Ground) -> str:
    def detail(line: str) -> None:
        say(f"  {line}")

    if name in NETWORK:
        return Comparison.of_rounds(name, entry.unit, network.MEASURES[name](place, entry.rounds, detail)).line()
    values = MEASURES[name](place, entry.rounds, detail)
    return Figure(name, values.ours, entry.unit, values.peer, values.peers).line()


def main() -> int:
    status = 0
    with ground.opened(say) as place:
        for name in sys.argv[1:]:
            entry = CATALOGUE.get(name) or NETWORK[name]
            began = time.monotonic()
            say(f"{name}: {entry.what} ({entry.unit})")
            try:
                line = _line(name, entry, place)
            except Exception as error:  # whatever it is, the other figures can still be had
                say(f"{name}: failed: {type(error).__name__}: {error}")
                status = 1
                continue
            finally:
                place.clear()
            print(line, flush=True)
            say(f"{name}: {time.monotonic() - began:.1f} s")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
