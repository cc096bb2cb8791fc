# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that take all they can get of something: held to their limits, and their neighbours unharmed."""

from __future__ import annotations

import time

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .conftest import Tell
from .deed import Deed, at_work
from .guests import SLEEP, Guests, eventually
from .neighbour import Neighbours
from .test_limits import set_limits
from .trial import NAME, Trial
from .withstand import CASES, RESTLESS, about

#: How long a guest may take to be frozen, in seconds.
FREEZES = 5.0


@pytest.mark.parametrize("name", list(CASES))
def test_it_is_held_and_its_neighbours_go_on(name: str, guests: Guests, neighbours: Neighbours, tell: Tell) -> None:
    trial = Trial(CASES[name], guests, neighbours)
    trial.run()
    tell("; ".join(trial.told))


def test_who_forks_all_the_while_is_frozen_and_killed(
    guests: Guests, site: Site, neighbours: Neighbours, tell: Tell
) -> None:
    trial, slowest = Trial(RESTLESS, guests, neighbours), 0.0
    with trial.going() as (deed, quiet):
        trial.unharmed(quiet)
        for _time in range(3):
            began = time.monotonic()
            lifecycle.set_state(site, NAME, "frozen", {})
            slowest = max(slowest, time.monotonic() - began)
            still = deed.used()["cpu_seconds"]
            time.sleep(0.1)
            assert deed.used()["cpu_seconds"] == still, "it is frozen, and goes on"
            lifecycle.set_state(site, NAME, "started", {})
            eventually(lambda before=still: deed.used()["cpu_seconds"] > before, "it does not go on")
        assert slowest < FREEZES
    tell("; ".join([f"frozen in {slowest:.2f} s", *trial.told]))


def test_processor_time_is_shared_by_weight(guests: Guests, site: Site, tell: Tell) -> None:
    """Within 10 %, in the best of some windows, for others use this machine's processors as well."""
    guests.start("light", init=SLEEP, limits={"cpuset": "0"})
    guests.start("heavy", init=SLEEP, limits={"cpuset": "0", "cpu_weight": 300})

    def shared(light: Deed, heavy: Deed, ratio: float) -> float:
        found: list[float] = []
        where = about(ratio, 0.1)
        while len(found) < 4 and not any(where.above <= one <= where.most for one in found):
            before = [deed.used()["cpu_seconds"] for deed in (light, heavy)]
            time.sleep(2.0)
            used = [deed.used()["cpu_seconds"] - had for deed, had in zip((light, heavy), before)]
            found.append(used[1] / used[0])
        assert where.above <= found[-1] <= where.most, f"{ratio:g} to one was {found}"
        return found[-1]

    with at_work(guests, "light", "spin") as light, at_work(guests, "heavy", "spin") as heavy:
        first = shared(light, heavy, 3)
        set_limits(site, "heavy", cpu_weight=100)
        tell(f"three to one: {first:.2f}; then one to one: {shared(light, heavy, 1):.2f}")
