# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to guests: found by looking again and again, so that nothing of ours has to be in their way."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import accounting, info, last_end, running, usage
from .event import Event
from .host import filesystem
from .kernel import quota
from .last_end import End
from .running import Running
from .site import Site

#: A fork bomb, or a guest with much in the page cache, is at its limit again and again: told at most so often.
CONTINUING = ("memory-high", "memory-max", "processes-refused", "sockets-refused")
CALM_SECONDS = 60.0
#: For how many looks a run that is over is waited for to be cleared up.
_CLEARING = 10
#: How much of a limit of disk space is all of it: what is written is refused some blocks before.
_FULL = 0.99


@dataclass(frozen=True)
class Seen:
    """A running guest at one moment.

    * run: its process 1: pid and start
    * counters: kind of event → how often it has happened in this run
    * over: for how many looks it has been over, and nobody has said how it ended
    """

    run: tuple[int, int]
    state: str = "running"
    counters: Mapping[str, int] = field(default_factory=dict)
    disk_full: bool = False
    over: int = 0


@dataclass(frozen=True)
class Look:
    """All guests at one moment.

    * running: those that run, or are just being cleared up behind, by name
    * ends: how the last run ended of those where that is known
    """

    running: Mapping[str, Seen]
    ends: Mapping[str, End]


def look(site: Site, before: Look | None = None) -> Look:
    """The guests that run, and the ends of those that ran ``before``."""
    present = list(usage.running_guests(site))
    full = _full(site, present)
    found = {
        now.guest.name: Seen(
            (now.pid, now.start),
            info.running_state(site, now.guest.name),
            accounting.incidents(site, now.guest.name),
            now.guest.name in full,
        )
        for now in present
    }
    earlier = {} if before is None else before.running
    ends = {}
    for name, seen in earlier.items():
        if name not in found and seen.over < _CLEARING and running.left(site, name) is not None:
            found[name] = dataclasses.replace(seen, over=seen.over + 1)  # whoever clears up will say how it ended
        elif name not in found or found[name].run != seen.run:
            ends[name] = last_end.read(site, name)
    return Look(found, {name: end for name, end in ends.items() if end is not None})


def _full(site: Site, present: Sequence[Running]) -> set[str]:
    """Those that are at their limit of disk space or inodes."""
    limited = [now.guest for now in present if now.guest.limits.disk or now.guest.limits.inodes]
    found = set()
    with contextlib.suppress(OSError):
        device = filesystem.storage(site).source if limited else ""
        for guest in limited:
            of = quota.read(device, guest.base_id)
            space = of.space is not None and of.space_used >= _FULL * of.space
            if space or (of.inodes is not None and of.inodes_used >= of.inodes):
                found.add(guest.name)
    return found


def between(before: Look, after: Look) -> list[Event]:
    """What has happened from one look to the next, in the order of the guests' names (pure)."""
    found: list[Event] = []
    for name in sorted({*before.running, *after.running}):
        old, new, end = before.running.get(name), after.running.get(name), after.ends.get(name)
        same = old is not None and new is not None and old.run == new.run
        if old is not None and not same:
            if end is not None and (end.pid, end.start) == old.run:
                found.append(Event(name, end.kind, detail=end.detail))
            else:
                found.append(Event(name, "ended"))
        if new is not None:
            if not same:
                found.append(Event(name, "started"))
            found += _within(name, old if same and old is not None else Seen(new.run), new)
    return found


def _within(name: str, old: Seen, new: Seen) -> list[Event]:
    """What has happened within one run (pure)."""
    found = []
    if old.state != new.state:
        found.append(Event(name, "frozen" if new.state == "frozen" else "thawed"))
    for kind, count in new.counters.items():
        if count > old.counters.get(kind, 0):
            found.append(Event(name, kind, count - old.counters.get(kind, 0)))
    if new.disk_full and not old.disk_full:
        found.append(Event(name, "disk-full"))
    return found


class Calm:
    """Passes events on; of what goes on for long the first, and then one a minute with all that came since."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}
        self._held: Counter[tuple[str, str]] = Counter()

    def pass_on(self, found: Sequence[Event], now: float) -> list[Event]:
        """What is to be told at the moment ``now``, in seconds of CLOCK_MONOTONIC."""
        passed = [event for event in found if event.kind not in CONTINUING]
        for event in found:
            if event.kind in CONTINUING:
                self._held[event.guest, event.kind] += event.count
        for key in [key for key in self._held if now - self._told.get(key, -CALM_SECONDS) >= CALM_SECONDS]:
            passed.append(Event(*key, self._held.pop(key)))
            self._told[key] = now
        return passed
