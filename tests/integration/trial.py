# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a line of the table ``withstand.py`` is tried: held, told of, changed live, and its neighbours go on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._engine import events, info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import neighbour
from .deed import ENDS, PROGRAM, Deed, at_work, usage_now
from .guests import SLEEP, Guests
from .neighbour import Neighbours
from .test_limits import disk_of, in_force, set_limits
from .withstand import COMMON, Case, M, Range

NAME = "hostile"
#: How much others want of what it takes all of.
LITTLE = 5
#: Size of the swap that a line may ask for.
SWAP = 128 * M
#: How long a guest may take to have what it is held to, in seconds.
PATIENCE = 60.0


def limits_of(case: Case, site: Site, change: bool = False) -> dict[str, Any]:
    """The limits of a line's guest, or what becomes of them."""
    chosen = dict(case.change or {}) if change else {**COMMON, **case.limits}
    if "io" in chosen:
        chosen["io"] = [{**entry, "device": disk_of(site.state)} for entry in chosen["io"]]
    return chosen


@contextmanager
def swap(place: Path, size: int) -> Iterator[None]:
    """More swap on the host, in a file in a directory."""
    file = place / "swap"
    file.touch(0o600)
    with file.open("wb") as stream:
        for _time in range(size // M):
            stream.write(bytes(M))  # a file with holes is refused
    subprocess.run(["mkswap", str(file)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["swapon", str(file)], check=True)
    try:
        yield
    finally:
        subprocess.run(["swapoff", str(file)], check=True)
        file.unlink()


@dataclass
class Trial:
    """One line being tried."""

    case: Case
    guests: Guests
    neighbours: Neighbours
    told: list[str] = field(default_factory=list)
    idle: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def going(self) -> Iterator[tuple[Deed, neighbour.Figures]]:
        """The deed, and what neighbours felt before; afterwards its guest has ended, in time and without a trace."""
        site, name = self.guests.site, NAME
        with swap(site.state, SWAP) if self.case.swap else nullcontext():
            self.guests.start(name, init=SLEEP, limits=limits_of(self.case, site))
            quiet, self.idle = self.neighbours.look(), usage_now(site, name)
            with at_work(self.guests, name, self.case.deed) as deed:
                yield deed, quiet
                began = time.monotonic()
            took = time.monotonic() - began
            assert took < ENDS, f"it ended after {took:.1f} s"
            assert not self.guests.traces(name)
            self.told.append(f"ended in {took:.2f} s")

    def run(self) -> None:
        """All that is asked of a line. Raises AssertionError."""
        site, case = self.guests.site, self.case
        seen = events.look(site)
        with self.going() as (deed, quiet):
            self.held(deed, case.held)
            self.unharmed(quiet)
            if case.modest:
                self.modest()
            self.visible(deed, seen)
            if case.change is not None and case.then is not None:
                outcome = set_limits(site, NAME, **limits_of(case, site, change=True))
                assert outcome.changed and not outcome.restart_required and in_force(site, NAME)
                self.held(deed, case.then)

    def held(self, deed: Deed, where: Range) -> None:
        """The figure comes to where it has to be, and never gets above."""
        found: list[float] = []
        deadline = time.monotonic() + PATIENCE
        while not found or not where.above < found[-1] <= where.most:
            assert time.monotonic() < deadline, f"it has {found[-9:]}, not between {where.above:g} and {where.most:g}"
            assert deed.process.poll() is None, f"it has ended: {deed.said()}"
            time.sleep(0.02)
            found.append(self.case.figure(deed))
            assert self.case.rate or found[-1] <= where.most, f"{found[-1]:g} are more than {where.most:g}"
        self.told.append(f"{found[-1]:.4g} of {where.above:.4g} to {where.most:.4g}")

    def unharmed(self, quiet: neighbour.Figures) -> None:
        """The neighbour and the host go on as before, in the best of some looks: others use this machine as well.

        So what is quiet is looked at anew with the guest frozen.
        """
        wrong: list[str] = []
        for again in range(neighbour.LOOKS):
            if again:
                lifecycle.set_state(self.guests.site, NAME, "frozen", {})
                quiet = self.neighbours.look()
                lifecycle.set_state(self.guests.site, NAME, "started", {})
            loaded = self.neighbours.look()
            wrong = neighbour.beyond(quiet, loaded)
            if not wrong:
                break
        assert not wrong, "; ".join(wrong)
        self.told.append(neighbour.ratios(quiet, loaded))

    def modest(self) -> None:
        """Others still get a little of what this guest takes all of."""
        words = ("-c", PROGRAM.read_text(), self.case.deed, str(LITTLE))
        here = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        there = self.guests.exec(neighbour.NAME, "python3", *words)
        assert [here.returncode, there.returncode] == [0, 0], f"the host: {here.stderr}; the neighbour: {there.stderr}"

    def visible(self, deed: Deed, seen: Mapping[str, events.Seen]) -> None:
        """It is told of: in the guest's use, as an event, and as the limits it has."""
        case, site = self.case, self.guests.site
        happened = [event.kind for event in events.between(seen, events.look(site)) if event.guest == NAME]
        assert case.event is None or case.event in happened, happened
        after = deed.used()
        for counter in case.rises:
            assert after[counter] > self.idle[counter], f"{counter} was {self.idle[counter]}, is {after[counter]}"
        assert in_force(site, NAME)
        told = info.guest(site, NAME)["limits"]
        assert all(told[option] for option, value in case.limits.items() if value), told
