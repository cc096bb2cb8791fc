# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest costs the same, however many there are: what is opened, listed, forked and connected for each is counted."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import (
    fleet,
    info,
    lifecycle,
    store,
    supervisor,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import netlink
from ansible_collections.linux.vserver.plugins.module_utils._engine.running import Running
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish

from .guests import SLEEP, Guests

FEW, MANY = 8, 40
#: What one guest of many may cost more than one of few: what a call does once is shared by more of them, not less.
TOLERANCE = 1.02
#: What a process cannot do without the kernel and the interpreter tells of (library reference, "Audit events table").
COUNTED = frozenset({"open", "os.fork", "os.listdir", "os.mkdir", "os.rename", "os.scandir", "socket.__new__"})


class Counter:
    """Counts in this process and in all that it forks. They work one after the other here, so nothing is lost."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)
        self.on = False

    def add(self) -> None:
        self._memory[:] = (self.value + 1).to_bytes(8, "little")

    @property
    def value(self) -> int:
        return int.from_bytes(self._memory[:], "little")

    @contextmanager
    def counting(self) -> Iterator[Callable[[], int]]:
        """For a ``with`` block; the answer tells how many there have been in it."""
        before, self.on = self.value, True
        try:
            yield lambda: self.value - before
        finally:
            self.on = False


@pytest.fixture(scope="session")
def counter() -> Counter:
    made = Counter()

    def heard(event: str, _arguments: Any) -> None:
        if made.on and event in COUNTED:
            made.add()

    sys.addaudithook(heard)  # for good: there is no way to take it back
    return made


def test_a_guest_of_many_costs_what_one_of_few_does(
    guests: Guests, site: Site, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in answers of netlink, where a list of all addresses is one message for each.

    But for what a supervisor does behind a guest that was stopped: how often it looks is chance.
    """
    told, follow = netlink.messages, supervisor._follow

    def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
        for message in told(data):
            counter.add()
            yield message

    def uncounted(order: supervisor.Order, ended: Running, status: int) -> None:
        counting, counter.on = counter.on, False
        try:
            follow(order, ended, status)
        finally:
            counter.on = counting

    monkeypatch.setattr(netlink, "messages", messages)
    monkeypatch.setattr(supervisor, "_follow", uncounted)

    def crowd(count: int, state: str) -> list[Wish]:
        context = {"init": list(SLEEP), "timeout": 0}
        empty: dict[str, dict[str, Any]] = {"capabilities": {}, "limits": {}}
        return [
            Wish(
                f"flat{number}",
                {
                    **empty,
                    "root": {"template": guests.template},
                    # To find an interface, all addresses have to be looked through.
                    "binding": {"addresses": [f"10.91.{number}.1/32"], "interface": "lo"},
                    "context": context,
                },
                state,
                keep_data=False,
            )
            for number in range(count)
        ]

    def costs(count: int) -> dict[str, float]:
        guests.made += [wish.name for wish in crowd(count, "present")]
        found = {}
        steps = (("present", True), ("started", True), ("started", False), ("stopped", True), ("absent", True))
        for state, changes in steps:
            with counter.counting() as counted:
                results = fleet.bring_all(site, crowd(count, state), parallel=1, check=False)
            assert not [str(result.error) for result in results if result.error]
            assert {result.outcome.changed for result in results} == {changes}
            found[state if changes else "nothing to do"] = counted() / count
            if not changes:
                with counter.counting() as counted:
                    assert len(info.guests(site, [result.name for result in results])) == count
                found["told of"] = counted() / count
        return found

    costs(1)  # what is found out about the host is found out
    few, many = costs(FEW), costs(MANY)
    assert few.keys() == many.keys() and min(few.values()) > 1
    assert {step: cost for step, cost in many.items() if cost > few[step] * TOLERANCE} == {}, f"of {FEW}: {few}"


def test_to_stop_guests_no_others_record_is_read(guests: Guests, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("one", "two", "three")
    for name in names:
        guests.start(name, init=SLEEP, timeout=0)

    def refuse(_site: Site) -> NoReturn:
        raise AssertionError("all records are read")

    with monkeypatch.context() as patched:
        patched.setattr(store, "load_all", refuse)
        outcomes = [lifecycle.set_state(site, "one", "stopped", {}, check=check) for check in (True, False)]
        wishes = [
            Wish("one", state="stopped"),
            *(Wish(name, {"context": {"init": None}}, "stopped") for name in names[1:]),
        ]
        for check in (True, False):
            results = fleet.bring_all(site, wishes, check=check)
            assert not [str(result.error) for result in results if result.error]
            outcomes += [result.outcome for result in results]
    assert [outcome.changed for outcome in outcomes] == [True, True, *(False, True, True) * 2]
    assert not [trace for name in names for trace in guests.traces(name)]
