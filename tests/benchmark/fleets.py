# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of many guests: lists of a hundred, and a thousand on one host."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
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
    memory, before, firsts = used.kibibytes(), _counts(ground.site.cgroup), range(0, LIST * LISTS, LIST)
    taken: dict[str, list[float]] = {}

    def each(step: str, act: Callable[[int], float], hundreds: range) -> None:
        taken[step] = []
        for first in hundreds:
            taken[step].append(act(first))
            say(f"{step} {first + 1} to {first + LIST}: {taken[step][-1]:.1f} ms each")

    _bring(ground, firsts[0], "started")  # fills caches
    _bring(ground, firsts[0], "absent")

    def start(first: int) -> float:
        room = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
        growth = used.kibibytes() - memory
        if growth * LISTS > _SHARE * room * max(first // LIST, 1):
            raise RuntimeError(f"{LIST * LISTS} guests would take {growth * LISTS / 1024:.0f} MiB")
        return _bring(ground, first, "started")

    each("start", start, firsts[:1])
    few = _bring(ground, 0, "started")
    few_told = call(ground, "info.guests", None) / LIST
    (began,) = taken["start"]
    each("start", start, firsts[1:])
    count = LIST * LISTS
    after = _counts(ground.site.cgroup)
    grown = {name: Values((after[name] - before[name]) / count) for name in after}
    kept = Values((used.kibibytes() - memory) / count)
    many = _bring(ground, 0, "started", count)
    many_told = call(ground, "info.guests", None) / count
    say(f"find nothing to change in {LIST}, then {count}: {few:.2f}, {many:.2f} ms each")
    say(f"tell of {LIST}, then {count}: {few_told:.2f}, {many_told:.2f} ms each")
    each("stop", lambda first: _bring(ground, first, "stopped"), firsts)
    each("remove", lambda first: _bring(ground, first, "absent"), firsts)
    left = _counts(ground.site.cgroup)
    assert left == before, (left, before)
    last, stops = taken["start"][-1], taken["stop"]
    return {
        "fleet-start": Values(last, began, f"the first {LIST}"),
        "fleet-noop": Values(many, few, f"{LIST} guests in one call"),
        "fleet-info": Values(many_told, few_told, f"{LIST} guests"),
        "fleet-stop": Values(stops[0], stops[-1], f"the last {LIST}"),
        "fleet-memory": kept,
        **{f"fleet-{name}": value for name, value in grown.items()},
    }


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
