# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in children of the process, and which lists of guests cannot be meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import children, files, fleet, lifecycle, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish


@pytest.mark.parametrize("parallel", [1, 2, 9])
def test_answers_and_errors_come_back_in_order(parallel: int) -> None:
    def act(item: str) -> Any:
        if item == "taken":
            raise Conflict("start it", "xid taken", "Choose another.")
        if item == "defect":
            raise KeyError("x")
        if item == "killed":
            os.kill(os.getpid(), 9)
        return {"item": item, "pid": os.getpid()}

    items = ["a", "taken", "defect", "killed", "z"]
    answers = children.each(items, parallel, act)
    assert [item for item, _answer in answers] == items
    good, taken, defect, killed, last = (answer for _item, answer in answers)
    assert good["item"] == "a" and last["item"] == "z" and os.getpid() not in (good["pid"], last["pid"])
    assert isinstance(taken, Conflict) and str(taken) == "start it: xid taken. Choose another."
    assert isinstance(defect, VserverError) and "KeyError" in str(defect)
    assert isinstance(killed, VserverError) and "status 9" in str(killed)


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize(("call", "before"), [("pread", True), ("write", True), ("pwrite", True), ("pwrite", False)])
def test_one_killed_at_taking_work_is_replaced(
    parallel: int, call: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when it looks for the next number, notes it, is about to take it, and has taken it: once."""
    parent, real = os.getpid(), getattr(os, call)

    def dying(*arguments: Any) -> Any:
        answer = None if before else real(*arguments)
        if os.getpid() != parent and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), 9)
        return real(*arguments) if before else answer

    monkeypatch.setattr(os, call, dying)
    answers = children.each(range(9), parallel, lambda number: number)
    assert (tmp_path / "died").exists()
    # Only of one that has taken the number, and so may have begun, nobody can say what became of it.
    assert [isinstance(answer, VserverError) for _item, answer in answers].count(True) == (0 if before else 1)
    assert [answer for _item, answer in answers if not isinstance(answer, VserverError)] == [
        item for item, answer in answers if not isinstance(answer, VserverError)
    ]


def test_children_that_are_killed_at_once_are_not_made_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, real = os.getpid(), os.pread
    monkeypatch.setattr(os, "pread", lambda *words: real(*words) if os.getpid() == parent else os.kill(os.getpid(), 9))
    answers = children.each(range(3), 2, lambda number: number)
    assert all(isinstance(answer, VserverError) for _item, answer in answers) and len(answers) == 3


def test_no_work_is_done_twice_however_many_processes_do_it() -> None:
    answers = children.each(range(300), 4, lambda number: (number, os.getpid()))
    assert [answer[0] for _item, answer in answers if isinstance(answer, tuple)] == list(range(300))
    assert 1 <= len({answer[1] for _item, answer in answers if isinstance(answer, tuple)}) <= 4
    assert children.each([], 4, str) == [] and children.each([1], 0, lambda _item: None) == [(1, None)]


def test_large_answers_do_not_block() -> None:
    answers = children.each(range(3), 3, lambda number: bytes([number]) * (1 << 20))
    assert [answer[:1] for _item, answer in answers if isinstance(answer, bytes)] == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ([Wish("a"), Wish("a")], "guest a is listed twice"),
        ([Wish("a", {"context": {"xid": 7}}), Wish("b", {"context": {"xid": 7}})], "a and b both ask for xid 7"),
        (
            [Wish(name, {"binding": {"addresses": ["192.0.2.1"]}}) for name in ("a", "b")],
            "guests a and b ask for address 192.0.2.1, and not all of them say shared",
        ),
        ([Wish("a"), Wish("b", {"limits": {"memory": "much"}})], "guest b: "),
    ],
)
def test_a_list_that_cannot_be_meant_changes_nothing(tmp_path: Path, wishes: list[Wish], complaint: str) -> None:
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    with pytest.raises(InvalidInput) as refused:
        fleet.bring_all(site, wishes, parallel=1, check=False)
    assert complaint in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "state"), [("a/b", "present"), ("", "present"), ("a", "gone")])
def test_a_wish_that_cannot_be_meant(name: str, state: str) -> None:
    with pytest.raises(InvalidInput):
        Wish(name, state=state)


def test_who_is_made_for_one_command_is_not_purged(tmp_path: Path) -> None:
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    for number, name in enumerate(("kept", "gone", "run-1")):
        store.save(site, Guest(name, context=Context(xid=28672 + number)))
    (site.guest("run-1") / store.THROWAWAY).touch()
    results = fleet.bring_all(site, [Wish("kept")], purge=True, keep_data=False, parallel=1, check=True)
    assert [(result.name, result.outcome.after) for result in results] == [("kept", {}), ("gone", {"state": "absent"})]


def test_who_records_a_list_clears_up_behind_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    store.prepare(site)
    for number, name in enumerate(["whole", "half", "rebuilt"]):
        store.save(site, Guest(name, context=Context(xid=28672 + number)))
    (site.guest("half") / f"{files.PENDING}clone").mkdir()
    (site.guest("rebuilt") / "root").mkdir()
    store.prepare_record(site.guest("rebuilt") / "root", Guest("rebuilt", context=Context(xid=28674, timeout=3)))

    def slow(path: Path) -> None:
        raise AssertionError(f"{path} is removed while nobody else can record anything")

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove_tree", slow)
        noted = lifecycle.note(site, [Wish(name, {"context": {"hostname": "x"}}) for name in store.names(site)])
    assert list(noted) == ["whole"]
    # Each call for a guest alone does, and then builds on what it has found.
    for name in ("half", "rebuilt"):
        lifecycle.configure(site, name, "context", {"hostname": "x"})
    assert not files.pending(site.guest("half"))
    assert store.require(site, "rebuilt").context == Context(xid=28674, timeout=3, hostname="x")
