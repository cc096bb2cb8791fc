# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of many guests: lists of a hundred, and a thousand on one host."""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import address, cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from ..integration.guests import SLEEP
from .call import address as address_of
from .catalogue import LIST, LISTS
from .ground import Ground
from .measure import Say, Stopwatch
from .memory import MemoryOf
from .sides import Measure, Values, call, side_by_side, task

#: The most of the machine's free memory that a fleet may take.
_SHARE = 0.6
#: How often a hundred are started and stopped beside the others: the machine is noisy.
_ROUNDS = 5


def _bring(ground: Ground, first: int, state: str, count: int = LIST) -> float:
    """The milliseconds for each of ``count`` guests, which one call brings to ``state``."""
    ground.guests.made += [f"fleet{number}" for number in range(first, first + count) if state != "absent"]
    return call(ground, "crowd", ground.guests.template, first, count, state) / count


def list_noop(ground: Ground, rounds: int, say: Say) -> Values:
    # The module's own site: only the control group differs.
    there = Ground(Site(), ground.guests, ground.peers)
    _bring(there, 0, "started")
    listed = [
        {
            "name": f"fleet{number}",
            "template": ground.guests.template,
            "addresses": [address_of(number)],
            "interface": "lo",
            "init": list(SLEEP),
            "timeout": 0,
        }
        for number in range(LIST)
    ]

    def ours() -> float:
        return task("linux.vserver.guests", {"guests": listed})

    def peer() -> float:
        return task("ansible.builtin.ping", {})

    try:
        return side_by_side(ours, peer, "ansible.builtin.ping", rounds, say)
    finally:
        _bring(there, 0, "absent")


def list_start(ground: Ground, rounds: int, say: Say) -> Values:
    others = [f"peer{number}" for number in range(1, LIST // 5 + 1)]
    for name in others:
        ground.peers.define(name, SLEEP)

    def ours() -> float:
        took = _bring(ground, 0, "started")
        _bring(ground, 0, "absent")
        return took

    def peer() -> float:
        watch = Stopwatch()
        with watch.running():
            for name in others:
                ground.peers.run(name)
        for name in others:
            ground.peers.delete(name)
        return watch.milliseconds / len(others)

    return side_by_side(ours, peer, f"{ground.peers.name} run, one after the other", rounds, say)


def _counts(group: str) -> dict[str, int]:
    """What of the host's tables guests could fill; of control groups, those below ``group``."""
    tops = (top / group for top in cgroup.layout().tops)
    return {
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "groups": sum(len(directories) for top in tops for _path, directories, _files in os.walk(top)),
        "addresses": sum(map(len, address.addresses().values())),
    }


@functools.cache
def _fleet(site: str) -> dict[str, Values]:
    """Holds what the one run has found, which all figures of the fleet are from."""
    return {}


def _measured(ground: Ground, say: Say) -> dict[str, Values]:
    found = _fleet(ground.site.cgroup)
    if not found:
        used = MemoryOf(ground.site.cgroup)
        with used.charged():
            found.update(_measure(ground, used, say))
    return found


def _measure(ground: Ground, used: MemoryOf, say: Say) -> dict[str, Values]:
    _bring(ground, 0, "started")  # fills caches, and makes what a host has once
    _bring(ground, 0, "absent")
    memory, before, count = used.kibibytes(), _counts(ground.site.cgroup), LIST * LISTS
    start, stop = _hundred(ground, 0, say)
    _bring(ground, 0, "started")
    _require_room(used.kibibytes() - memory)
    noop = _bring(ground, 0, "started")
    told = call(ground, "info.guests", None) / LIST
    for first in range(LIST, count - LIST, LIST):
        say(f"start {first + 1} to {first + LIST}: {_bring(ground, first, 'started'):.1f} ms each")
    last_start, last_stop = _hundred(ground, count - LIST, say)
    _bring(ground, count - LIST, "started")
    after = _counts(ground.site.cgroup)
    grown = {name: Values((after[name] - before[name]) / count) for name in after}
    kept = Values((used.kibibytes() - memory) / count)
    many_noop = _bring(ground, 0, "started", count)
    many_told = call(ground, "info.guests", None) / count
    for state in ("stopped", "absent"):
        say(f"{count} {state}: {_bring(ground, 0, state, count):.1f} ms each")
    left = _counts(ground.site.cgroup)
    assert left == before, (left, before)
    alone = f"{LIST} guests alone"
    return {
        "fleet-start": Values(last_start, start, alone),
        "fleet-noop": Values(many_noop, noop, f"{LIST} guests in one call"),
        "fleet-info": Values(many_told, told, f"{LIST} guests"),
        "fleet-stop": Values(last_stop, stop, alone),
        "fleet-memory": kept,
        **{f"fleet-{name}": value for name, value in grown.items()},
    }


def _hundred(ground: Ground, first: int, say: Say) -> tuple[float, float]:
    """What one of a hundred takes to clone and start, and to stop, beside those that run: medians of a few rounds."""
    starts, stops = [], []
    for _ignored in range(_ROUNDS):
        starts.append(_bring(ground, first, "started"))
        stops.append(_bring(ground, first, "stopped"))
        _bring(ground, first, "absent")
        say(f"{first + 1} to {first + LIST}: start {starts[-1]:.1f}, stop {stops[-1]:.1f} ms each")
    return statistics.median(starts), statistics.median(stops)


def _require_room(growth: float) -> None:
    """Raise RuntimeError where the whole fleet would take too much, given what a hundred take, in KiB."""
    room = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
    if growth * LISTS > _SHARE * room:
        raise RuntimeError(f"{LIST * LISTS} guests would take {growth * LISTS / 1024:.0f} MiB")


def _of_the_fleet(name: str) -> Measure:
    def measure(ground: Ground, rounds: int, say: Say) -> Values:
        return _measured(ground, say)[name]

    return measure


MEASURES: Mapping[str, Measure] = {
    "list-noop": list_noop,
    "list-start": list_start,
    **{
        f"fleet-{what}": _of_the_fleet(f"fleet-{what}")
        for what in ("start", "noop", "info", "stop", "memory", "mounts", "groups", "addresses")
    },
}
