# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to guests: found by looking again and again, so that nothing of ours has to be in their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import usage
from .accounting import Account
from .site import Site

KINDS = ("started", "restarted", "ended", "frozen", "thawed", "out-of-memory", "processes-refused")
#: Counter → the event when it rises. Being at a limit of memory is none: who has much in the page cache always is.
_COUNTED = {"oom_kills": "out-of-memory", "processes_refused": "processes-refused"}


@dataclass(frozen=True)
class Event:
    """One thing that happened to a guest.

    * kind: one of KINDS
    * count: how many processes were killed or refused; 1 otherwise
    """

    guest: str
    kind: str
    count: int = 1


@dataclass(frozen=True)
class Seen:
    """A running guest at one moment."""

    started_at: str
    state: str
    account: Account


def look(site: Site) -> dict[str, Seen]:
    """The guests that run, by name."""
    return {one.guest: Seen(one.started_at, one.state, one.account) for one in usage.samples(site)}


def between(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> list[Event]:
    """What has happened from one look to the next, in the order of the guests' names (pure)."""
    found: list[Event] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if new is None:
            found.append(Event(name, "ended"))
            continue
        if old is None or old.started_at != new.started_at:
            found.append(Event(name, "started" if old is None else "restarted"))
            old = Seen(new.started_at, "running", Account(oom_kills=0, processes_refused=0))
        if old.state != new.state:
            found.append(Event(name, "frozen" if new.state == "frozen" else "thawed"))
        for counter, kind in _COUNTED.items():
            was, now = getattr(old.account, counter), getattr(new.account, counter)
            if was is not None and now is not None and now > was:
                found.append(Event(name, kind, now - was))
    return found
