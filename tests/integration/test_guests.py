# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests in one call, and one guest in one call: they end as the modules of the facets one by one would."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import fleet, info, lifecycle, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, InvalidInput
from ansible_collections.linux.vserver.plugins.module_utils._engine.fleet import Result
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish

from .guests import SLEEP, Guests
from .test_concurrency import at_once
from .test_crash import crash_everywhere
from .test_modules import STATE, TEMPLATE, Ansible, ansible, files, remove, run

__all__ = ["run"]

EMPTY: Mapping[str, Mapping[str, Any]] = {name: {} for name in ("root", "binding", "capabilities", "limits", "context")}


def wish(guests: Guests, name: str, state: str = "started", restart: bool = False, **facets: Mapping[str, Any]) -> Wish:
    guests.made.append(name)
    context = {"init": list(SLEEP), "timeout": 0, **facets.pop("context", {})}
    return Wish(name, {**EMPTY, "root": {"template": guests.template}, **facets, "context": context}, state, restart)


def bring(site: Site, wishes: Sequence[Wish], check: bool = False, **more: Any) -> list[Result]:
    return fleet.bring_all(site, wishes, parallel=2, check=check, **more)


def test_four_calls_of_a_list(guests: Guests, site: Site) -> None:
    wishes = [
        wish(guests, "list1", binding={"addresses": ["127.0.91.1"]}, limits={"processes": 50}),
        wish(guests, "list2", "stopped", capabilities={"drop": ["kill"]}),
        wish(guests, "list3", "frozen"),
    ]
    answers = [bring(site, wishes, check) for check in (True, False, False, True)]
    assert not [result.error for answer in answers for result in answer if result.error]
    assert [[result.outcome.changed for result in answer] for answer in answers] == [[True] * 3] * 2 + [[False] * 3] * 2
    assert [result.outcome.after.keys() for result in answers[0]] == [r.outcome.after.keys() for r in answers[1]]
    told = info.guests(site, [each.name for each in wishes])
    assert [guest["state"] for guest in told] == ["running", "stopped", "frozen"]
    assert len({guest["xid"] for guest in told}) == 3


def test_one_restart_for_all_that_needs_it(guests: Guests, site: Site) -> None:
    lifecycle.bring(site, wish(guests, "once"))
    first = info.guest(site, "once")["pid"]
    asked = wish(guests, "once", restart=True, capabilities={"drop": ["kill"]}, context={"xid": 4800})
    foretold = lifecycle.bring(site, asked, check=True)
    assert foretold.changed and info.guest(site, "once")["pid"] == first
    assert not lifecycle.bring(site, asked).restart_required
    now = info.guest(site, "once")
    assert now["pid"] != first and now["xid"] == 4800
    assert not lifecycle.bring(site, asked).changed


def test_check_mode_foretells_the_restart_that_the_call_makes_necessary(guests: Guests, site: Site) -> None:
    lifecycle.bring(site, wish(guests, "foretold"))
    harder = wish(guests, "foretold", capabilities={"drop": ["kill"]})
    for restart in (False, True):
        asked = dataclasses.replace(harder, restart=restart)
        for check in (True, False, True):
            before = info.guest(site, "foretold")
            ((alone), (listed,)) = lifecycle.bring(site, asked, check=True), bring(site, [asked], check=True)
            outcome = lifecycle.bring(site, asked, check=check)
            assert outcome.restart_required == alone.restart_required == listed.outcome.restart_required
            assert bool(outcome.restart_required) is not restart
            assert (outcome.changed, outcome.before, outcome.after) == (alone.changed, alone.before, alone.after)
            if check:
                standing = info.guest(site, "foretold")
                assert standing == {**before, "memory_bytes": standing["memory_bytes"]}
    for state in ("restarted", "stopped"):
        weaker = wish(guests, "foretold", state, capabilities={"drop": []})
        assert not lifecycle.bring(site, weaker, check=True).restart_required
        assert not lifecycle.bring(site, weaker).restart_required


def test_one_that_fails_keeps_no_other_from_being_done(guests: Guests, site: Site) -> None:
    bad = wish(guests, "part2", root={"template": "nosuch"})
    results = bring(site, [wish(guests, "part1"), bad, wish(guests, "part3")])
    assert [bool(result.error) for result in results] == [False, True, False]
    assert "nosuch" in str(results[1].error)
    assert [info.state(site, name) for name in ("part1", "part3")] == ["running", "running"]


@pytest.mark.parametrize(
    ("one", "other", "complaint"),
    [
        ({"binding": {"addresses": ["127.0.91.9"]}}, {"binding": {"addresses": ["127.0.91.9"]}}, "127.0.91.9"),
        ({"context": {"xid": 4801}}, {"context": {"xid": 4801}}, "4801"),
        ({"limits": {"memory": "lots"}}, {"limits": {"cpus": "0"}}, "sense2"),
    ],
)
def test_a_list_without_sense_changes_nothing(
    guests: Guests, site: Site, one: dict[str, Any], other: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        bring(site, [wish(guests, "sense1", **one), wish(guests, "sense2", **other)])
    with pytest.raises(InvalidInput, match="twice"):
        bring(site, [wish(guests, "sense1"), wish(guests, "sense1")])
    assert store.load(site, "sense1") is None


def test_purge_takes_the_others_and_their_addresses_go_on(guests: Guests, site: Site) -> None:
    address = {"addresses": ["127.0.91.20"]}
    bring(site, [wish(guests, "old", binding=address), wish(guests, "stays")])
    wishes = [wish(guests, "stays"), wish(guests, "new", binding=address)]
    for check in (True, False):
        results = bring(site, wishes, check, purge=True, keep_data=True)
        assert [(r.name, r.outcome.changed, r.error) for r in results if r.name != "stays"] == [
            ("new", True, None),
            ("old", True, None),
        ]
    assert info.state(site, "old") == "stopped" and (site.guest("old") / "root" / "upper").is_dir()
    assert not any(result.outcome.changed for result in bring(site, wishes, purge=True, keep_data=True))
    assert bring(site, wishes, purge=True, keep_data=False)[-1].outcome.after["root"] is None
    assert not site.guest("old").exists() and not guests.traces("old")


def test_an_address_moves_whichever_guest_comes_first(guests: Guests, site: Site) -> None:
    address = {"addresses": ["127.0.91.30"]}
    bring(site, [wish(guests, "giver", binding=address), wish(guests, "taker")])
    moved = [wish(guests, "taker", binding=address), wish(guests, "giver", binding={"addresses": []})]
    assert not [result.error for result in bring(site, moved) if result.error]
    assert store.require(site, "taker").binding.addresses == ("127.0.91.30/32",)


def test_what_another_guest_has_is_a_conflict(guests: Guests, site: Site) -> None:
    bring(site, [wish(guests, "owner", context={"xid": 4810})])
    for check in (True, False):
        (result,) = bring(site, [wish(guests, "rival", context={"xid": 4810})], check)
        assert isinstance(result.error, Conflict) and "owner" in str(result.error)


def test_two_runs_of_one_list(guests: Guests, site: Site) -> None:
    wishes = [wish(guests, f"both{number}") for number in range(6)]
    assert at_once([lambda: not any(result.error for result in bring(site, wishes))] * 2) == [0, 0]
    found = info.guests(site, [each.name for each in wishes])
    assert [(guest["state"], guest["processes"]) for guest in found] == [("running", 1)] * 6


def test_killed_anywhere_the_same_call_completes_it(guests: Guests, site: Site, tmp_path: Path) -> None:
    asked = wish(guests, "crash", binding={"addresses": ["127.0.91.40"]})

    def make() -> None:
        lifecycle.bring(site, asked)
        assert info.guest(site, "crash")["state"] == "running" and not lifecycle.bring(site, asked).changed

    def nothing() -> None:
        lifecycle.bring(site, Wish("crash", state="absent", keep_data=False))
        assert not site.guest("crash").exists() and not guests.traces("crash")

    assert {"configure:recorded", "clone:placed", "start:noted"} <= {*crash_everywhere(make, nothing, tmp_path / "log")}


# ---- as Ansible runs it

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "clone": {"template": TEMPLATE},
    "address_binding": {"addresses": ["127.0.92.1"], "ping": True},
    "capabilities": {"profile": "classic", "drop": ["kill"]},
    "limits": {"memory": "64M", "rlimits": {"core": 0}},
    "context": {"init": ["/bin/sleep", "infinity"], "timeout": 0, "hostname": "same.example", "xid": 4820},
}


def test_facets_one_by_one_role_guest_and_guests_end_the_same(run: Ansible, tmp_path: Path) -> None:
    whole = {
        ("capabilities_" if module == "capabilities" else "") + option: value
        for module, options in SETTINGS.items()
        for option, value in options.items()
    }
    steps = [
        {
            f"linux.vserver.{module}": {
                "name": "same",
                **options,
                **({"state": "started"} if module == "context" else {}),
            }
        }
        for module, options in SETTINGS.items()
    ]
    named = {"name": "same", **whole}
    role = {f"vserver_guest_{option}": value for option, value in named.items()}
    play = {"hosts": "localhost", "gather_facts": False, "roles": [{"role": "linux.vserver.guest", "vars": role}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))

    def done(*tasks: Mapping[str, Any]) -> None:
        results = run.tasks(*tasks)
        assert not [result["msg"] for result in results if result["failed"]]

    one, many = {"linux.vserver.guest": named}, {"linux.vserver.guests": {"guests": [named]}}
    found = []
    for way in (
        lambda: done(*steps),
        lambda: ansible(str(tmp_path / "play.yml")),
        lambda: done(one),
        lambda: done(many),
    ):
        try:
            way()
            record = dataclasses.asdict(store.require(Site(), "same"))
            guest = info.guest(Site(), "same")
            for passing in ("pid", "started_at", "memory_bytes"):
                del guest[passing]
            found.append((record, guest))
            again = run.tasks(one, many)
            assert [result["changed"] for result in again] == [False, False]
        finally:
            remove("same")
    assert found[0][1]["state"] == "running"
    assert all(each == found[0] for each in found)


def test_guests_as_a_task(run: Ansible) -> None:
    listed = [{"name": f"task{number}", "template": TEMPLATE, "state": "present"} for number in range(3)]
    calls = {"linux.vserver.guests": {"guests": listed}}
    seen = files()
    (foretold,) = run.tasks({**calls, "check_mode": True})
    assert files() == seen and foretold["changed"]
    first, second, third = run.tasks(calls, calls, {**calls, "check_mode": True})
    assert [first["changed"], second["changed"], third["changed"]] == [True, False, False]
    assert [each["after_header"] for each in first["diff"]] == ["guest task0", "guest task1", "guest task2"]
    assert second["diff"] == [] and [each["name"] for each in second["results"]] == [each["name"] for each in listed]
    wrong = {"name": "task9", "template": "nosuch", "state": "present"}
    undecided, partly, gone = run.tasks(
        {"linux.vserver.guest": {"name": "task0", "state": "absent"}},
        {"linux.vserver.guests": {"guests": [wrong, *listed]}},
        {"linux.vserver.guests": {"guests": [{**each, "state": "absent"} for each in listed], "keep_data": False}},
    )
    assert undecided["failed"] and "keep_data" in undecided["msg"]
    assert partly["failed"] and "1 of 4 guests failed. task9:" in partly["msg"] and "nosuch" in partly["msg"]
    assert [each["failed"] for each in partly["results"]] == [True, False, False, False]
    assert gone["changed"] and not list((STATE / "guests").glob("task*"))
