# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has happened between two looks at the guests, how it is told, and to whom."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import syslog
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import event, events, last_end
from ansible_collections.linux.vserver.plugins.module_utils._engine.cli import watch
from ansible_collections.linux.vserver.plugins.module_utils._engine.event import ENDS, WORDS, Event
from ansible_collections.linux.vserver.plugins.module_utils._engine.events import Calm, Look, Seen, between
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import journal
from ansible_collections.linux.vserver.plugins.module_utils._engine.last_end import End
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.running import Running
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def seen(pid: int = 7, state: str = "running", disk_full: bool = False, **counters: int) -> Seen:
    return Seen((pid, 1), state, {kind.replace("_", "-"): count for kind, count in counters.items()}, disk_full)


CRASHED = {"a": End(7, 1, "crashed", "killed by SIGSEGV")}


@pytest.mark.parametrize(
    ("before", "after", "ends", "found"),
    [
        ({}, {}, {}, []),
        ({"a": seen()}, {"a": seen()}, {}, []),
        ({}, {"a": seen()}, {}, [Event("a", "started")]),
        ({"a": seen()}, {}, {}, [Event("a", "ended")]),
        ({"a": seen()}, {}, CRASHED, [Event("a", "crashed", detail="killed by SIGSEGV")]),
        ({"a": seen(6)}, {}, CRASHED, [Event("a", "ended")]),
        ({"b": seen()}, {"a": seen()}, {}, [Event("a", "started"), Event("b", "ended")]),
        ({"a": seen(out_of_memory=5)}, {"a": seen(8)}, {}, [Event("a", "ended"), Event("a", "started")]),
        (
            {"a": seen()},
            {"a": seen(8)},
            {"a": End(7, 1, "rebooted")},
            [Event("a", "rebooted"), Event("a", "started")],
        ),
        (
            {"a": seen(out_of_memory=5)},
            {"a": seen(8, out_of_memory=2)},
            {},
            [Event("a", "ended"), Event("a", "started"), Event("a", "out-of-memory", 2)],
        ),
        ({}, {"a": seen(state="frozen")}, {}, [Event("a", "started"), Event("a", "frozen")]),
        ({"a": seen()}, {"a": seen(state="frozen")}, {}, [Event("a", "frozen")]),
        ({"a": seen(state="frozen")}, {"a": seen()}, {}, [Event("a", "thawed")]),
        ({"a": seen(out_of_memory=1)}, {"a": seen(out_of_memory=3)}, {}, [Event("a", "out-of-memory", 2)]),
        ({"a": seen(processes_refused=1)}, {"a": seen(processes_refused=9)}, {}, [Event("a", "processes-refused", 8)]),
        ({"a": seen(memory_high=1)}, {"a": seen(memory_high=2, memory_max=3)}, {}, [
            Event("a", "memory-high"),
            Event("a", "memory-max", 3),
        ]),
        ({"a": seen()}, {"a": seen(disk_full=True)}, {}, [Event("a", "disk-full")]),
        ({"a": seen(disk_full=True)}, {"a": seen(disk_full=True)}, {}, []),
    ],
)  # fmt: skip
def test_between(
    before: Mapping[str, Seen], after: Mapping[str, Seen], ends: Mapping[str, End], found: list[Event]
) -> None:
    assert between(Look(before, {}), Look(after, ends)) == found
    assert all(one.kind in WORDS and one.guest in one.words for one in found)


def test_what_goes_on_is_told_at_once_and_then_once_a_minute() -> None:
    calm, refused, killed = Calm(), Event("a", "processes-refused", 3), Event("a", "out-of-memory")
    assert calm.pass_on([refused, killed], 100) == [killed, refused]
    assert calm.pass_on([refused, killed], 101) == [killed]
    assert calm.pass_on([refused, Event("b", "processes-refused", 1)], 102) == [Event("b", "processes-refused", 1)]
    assert calm.pass_on([], 159) == []
    assert calm.pass_on([], 160) == [Event("a", "processes-refused", 6)]
    assert calm.pass_on([], 1000) == []
    assert calm.pass_on([refused], 1000) == [refused]
    assert {*events.CONTINUING} < {*WORDS}


@pytest.mark.parametrize(
    ("status", "unit", "found"),
    [
        (signal.SIGHUP, ("killed", "HUP"), ("rebooted", "")),
        (signal.SIGINT, ("killed", "INT"), ("powered-off", "")),
        (0, ("exited", "0"), ("exited", "")),
        (3 << 8, ("exited", "3"), ("crashed", "exit status 3")),
        (signal.SIGSEGV | 0x80, ("dumped", "SEGV"), ("crashed", "killed by SIGSEGV")),
        (signal.SIGKILL, ("killed", "KILL"), ("crashed", "killed by SIGKILL")),
        (40, None, ("crashed", "killed by signal 40")),
        (None, ("", ""), ("stopped", "")),
        (None, ("killed", "RTMIN+3"), ("crashed", "killed RTMIN+3")),
    ],
)
def test_how_a_run_ended(status: int | None, unit: tuple[str, str] | None, found: tuple[str, str]) -> None:
    assert status is None or last_end.of_status(status) == found
    assert unit is None or last_end.of_unit({"EXIT_CODE": unit[0], "EXIT_STATUS": unit[1]}) == found
    assert found[0] in ENDS


@pytest.fixture(name="told")
def noted_entries(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Mapping[str, str]]]:
    entries: list[tuple[str, int, Mapping[str, str]]] = []
    monkeypatch.setattr(journal, "write", lambda *entry: entries.append(entry))
    return entries


def test_an_end_is_noted_and_told_once_by_who_comes_first(
    tmp_path: Path, told: list[tuple[str, int, Mapping[str, str]]]
) -> None:
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    run = Running(7, 1, "/usr/bin/crun", "2026-01-01T00:00:00+00:00", Guest("web1", context=Context(xid=28672)))
    assert last_end.read(site, "web1") is None
    last_end.note(site, run, "crashed", "killed by SIGSEGV")
    last_end.note(site, run, "stopped")
    assert last_end.read(site, "web1") == End(7, 1, "crashed", "killed by SIGSEGV")
    fields = {"VSERVER_GUEST": "web1", "VSERVER_EVENT": "crashed", "VSERVER_COUNT": "1"}
    words = "guest web1: its init ended unexpectedly, killed by SIGSEGV"
    assert told == [(words, syslog.LOG_WARNING, {**fields, "VSERVER_DETAIL": "killed by SIGSEGV"})]


def test_an_end_that_cannot_be_noted_is_in_the_journal(
    tmp_path: Path, told: list[tuple[str, int, Mapping[str, str]]]
) -> None:
    (tmp_path / "run").write_text("")
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    run = Running(7, 1, "/usr/bin/crun", "2026-01-01T00:00:00+00:00", Guest("web1", context=Context(xid=28672)))
    last_end.note(site, run, "exited")
    assert [words for words, _priority, _fields in told] == ["guest web1: its init ended"]


def test_an_entry_goes_to_journald_with_its_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journal.write("what\nhappened", syslog.LOG_WARNING, {"VSERVER_GUEST": "web1"}, tmp_path / "socket")
        length = (13).to_bytes(8, "little")
        assert journald.recv(4096) == (
            b"MESSAGE\n" + length + b"what\nhappened\nPRIORITY=4\nSYSLOG_IDENTIFIER=vserver\nVSERVER_GUEST=web1\n"
        )


def test_without_journald_it_goes_to_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, message: said.append((priority, message)))
    journal.write("guest web1: started", syslog.LOG_INFO, {}, tmp_path / "nobody")
    assert said == [(syslog.LOG_INFO, "guest web1: started")]


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return str(path)


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text() if path.exists() else "nothing was written"
        time.sleep(0.02)


def test_a_hook_gets_the_event_as_words_and_variables(tmp_path: Path) -> None:
    text = f'echo "$@" "$VSERVER_GUEST $VSERVER_EVENT $VSERVER_COUNT $VSERVER_DETAIL" >>{tmp_path}/told\n'
    hook = watch.Hook(script(tmp_path / "hook", text))
    hook.call(Event("web1", "crashed", detail="exit status 3"))
    hook.call(Event("web1", "out-of-memory", 2))
    wait_for(tmp_path / "told", "out-of-memory")
    assert (tmp_path / "told").read_text().splitlines() == [
        "web1 crashed 1 exit status 3 web1 crashed 1 exit status 3",
        "web1 out-of-memory 2  web1 out-of-memory 2 ",
    ]


def test_a_slow_hook_keeps_nobody_waiting_and_is_ended_with_all_it_started(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        f'if [ "$1" = slow ]; then sleep 333 & echo $! >{tmp_path}/child; sleep 333; fi\necho "$1" >>{tmp_path}/told\n'
    )
    hook, began = watch.Hook(script(tmp_path / "hook", text), timeout=1), time.monotonic()
    hook.call(Event("slow", "started"))
    hook.call(Event("next", "started"))
    assert time.monotonic() - began < 0.5
    wait_for(tmp_path / "told", "next")
    assert (tmp_path / "told").read_text() == "next\n"
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, check=False).stdout[:1] not in (
        b"",
        b"Z",
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "guest slow: has been killed, for it took longer than 1 s" in capfd.readouterr().err


def test_a_hook_that_fails_or_is_missing_is_told_and_the_next_is_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = watch.Hook(script(tmp_path / "hook", f"echo x >>{tmp_path}/told\nexit 7\n"))
    hook.call(Event("web1", "started"))
    hook.call(Event("web2", "started"))
    wait_for(tmp_path / "told", "x\nx\n")
    watch.Hook(str(tmp_path / "missing")).call(Event("web3", "started"))
    said = ""
    deadline = time.monotonic() + 10
    while said.count("\n") < 3 and time.monotonic() < deadline:
        said += capfd.readouterr().err
        time.sleep(0.02)
    assert "guest web1: exit status 7" in said and "guest web2: exit status 7" in said
    assert f"guest web3: {os.strerror(2)}" in said


def test_more_events_than_can_wait_for_a_hook_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "_WAITING", 1)
    hook = watch.Hook(script(tmp_path / "hook", "sleep 1\n"))
    for name in ("a", "b", "c", "d"):
        hook.call(Event(name, "started"))
    assert "is not run, because 1 events wait for it" in capfd.readouterr().err


def test_every_kind_has_words() -> None:
    assert set(ENDS) < set(WORDS)
    assert event.Event("web1", "started").words == "guest web1: started"
