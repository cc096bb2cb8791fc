# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests in one call: state read once, compared in memory, and what differs made so in parallel."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import boot, children, info, lifecycle, power, running, store
from .errors import Conflict, InvalidInput, VserverError
from .model import Context, Guest
from .outcome import Outcome
from .registry import Registry
from .site import Site
from .wish import Wish, check_together


@dataclass(frozen=True)
class Result:
    """What became of one wish: an outcome, or the error that kept it from being done."""

    name: str
    outcome: Outcome
    error: VserverError | None = None


def bring_all(
    site: Site,
    wishes: Sequence[Wish],
    *,
    purge: bool = False,
    keep_data: bool = True,
    parallel: int | None = None,
    check: bool,
) -> list[Result]:
    """Bring every guest to what is asked of it; one that fails keeps no other from being done.

    * parallel: how many at a time; None: twice as many as there are processors, for each waits half of its time
    * purge: guests that no wish names become absent, but throw-away ones; ``keep_data``: whether their data stay

    Returns a result per wish, in their order, then one per purged guest. Raises :class:`InvalidInput` before anything
    has changed when a wish cannot be meant or two of them contradict each other.
    """
    registry = Registry(site)
    if purge:
        wanted = {wish.name for wish in wishes}
        others = (name for name in registry.names() if name not in wanted)
        gone = [name for name in others if not (site.guest(name) / store.THROWAWAY).exists()]  # they go by themselves
        wishes = [*wishes, *(Wish(name, state="absent", keep_data=keep_data) for name in gone)]
    _require_sense(registry, wishes)
    plain = set() if check else {wish.name for wish in wishes if _changes_plainly(site, registry, wish)}
    unsure = [wish for wish in wishes if wish.name not in plain]
    results = {result.name: result for result in _foreseen(site, registry, unsure)}
    if not check:
        at_a_time = parallel or 2 * (os.cpu_count() or 1)
        todo = [wish for wish in wishes if wish.name in plain or _is_due(results[wish.name])]
        # Who leaves goes first, and a second time goes whoever was in the way of another: it may have made room.
        for some in ([w for w in todo if w.state == "absent"], [w for w in todo if w.state != "absent"]):
            results.update(_done(site, some, at_a_time))
        blocked = [wish for wish in todo if isinstance(results[wish.name].error, Conflict)]
        if len(blocked) < len(todo):
            results.update(_done(site, blocked, at_a_time))
    return [results[wish.name] for wish in wishes]


def _require_sense(registry: Registry, wishes: Sequence[Wish]) -> None:
    """Raise :class:`InvalidInput` with everything that is wrong with the wishes by themselves."""
    complaints: list[str] = []
    names: set[str] = set()
    parsed = []
    for wish in wishes:
        if wish.name in names:
            complaints.append(f"guest {wish.name} is listed twice")
        names.add(wish.name)
        if wish.state != "absent":
            try:
                recorded = registry.recorded(wish.name)
            except VserverError:  # its own failure, and no other's
                continue
            try:
                parsed.append(wish.parsed(recorded or Guest(wish.name, context=Context())))
            except VserverError as error:
                complaints.append(f"guest {wish.name}: {error}")
    complaints += check_together(parsed)
    if complaints:
        raise InvalidInput(
            "make the guests what the list says", why="; ".join(complaints), remedy="Nothing is changed."
        )


def _changes_plainly(site: Site, registry: Registry, wish: Wish) -> bool:
    """Whether something is to be done that shows without a look at all that the guest is."""
    with contextlib.suppress(VserverError):  # for who looks
        if wish.state != "absent":
            if registry.recorded(wish.name) is None:
                return True
            was = info.running_state(site, wish.name) if running.found(site, wish.name) else "stopped"
            return power.starts(wish.state, was) or (wish.state == "stopped" and was != "stopped")
    return False


def _is_due(foreseen: Result) -> bool:
    return foreseen.error is not None or foreseen.outcome.changed


def _foreseen(site: Site, registry: Registry, wishes: Iterable[Wish]) -> list[Result]:
    """What each wish would change, in memory: who leaves first, and each guest as those before it will have become."""
    ordered = sorted(wishes, key=lambda wish: wish.state != "absent")
    first = [_attempt(site, registry, wish) for wish in ordered]
    blocked = {result.name for result in first if isinstance(result.error, Conflict)}
    again = {wish.name: _attempt(site, registry, wish) for wish in ordered if wish.name in blocked}
    return [again.get(result.name, result) for result in first]


def _attempt(site: Site, registry: Registry, wish: Wish) -> Result:
    try:
        return Result(wish.name, lifecycle.bring(site, wish, check=True, registry=registry))
    except VserverError as error:
        return Result(wish.name, Outcome(False), error)


def _done(site: Site, wishes: Sequence[Wish], parallel: int) -> dict[str, Result]:
    """Record all of it, then make it true in children, each of which reads only what its own guest has."""
    if not wishes:
        return {}
    noted = lifecycle.note(site, [wish for wish in wishes if wish.state != "absent"])
    failed = {name: answer for name, answer in noted.items() if isinstance(answer, VserverError)}
    known = {name: answer for name, answer in noted.items() if isinstance(answer, lifecycle.Noted)}
    boot.prepare(site)
    rest = [wish for wish in wishes if wish.name not in failed]
    answers = children.each(rest, parallel, lambda wish: lifecycle.bring(site, wish, noted=known.get(wish.name)))
    return {name: _result(name, answer) for name, answer in (*failed.items(), *((w.name, a) for w, a in answers))}


def _result(name: str, answer: Outcome | VserverError) -> Result:
    return Result(name, Outcome(False), answer) if isinstance(answer, VserverError) else Result(name, answer)
