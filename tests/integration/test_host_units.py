# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that a host has for its guests, under a real systemd."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import templates
from .systemd_host import SystemdHost, booted, tiny_guest

SLICE, GUEST = "vserver.slice", "vserver@.service"
GUESTS, EVENTS, LXCFS = "vserver-guests.service", "vserver-events.service", "vserver-lxcfs.service"
ALL = {"autostart_parallel": 3, "event_hook": "/srv/100% a $HOME 'hook", "lxcfs": True}
UNITS = "etc/systemd/system"
#: lxcfs looks up from its load averages every 5 s, and ends no sooner where it is asked to.
AT_ONCE = "[Service]\nKillSignal=SIGKILL\nSuccessExitStatus=SIGKILL\n"
#: Answers lines of calls of the module's engine, each with options, whether it is check mode, and the number of the
#: point that kills it: by a line of what the module returns, why it failed, or that it was killed. Each is made by a
#: process of its own, as if it were started for it, and all of a line at the same time.
CALLS = """
import dataclasses, json, os, signal, sys, traceback
from ansible_collections.linux.vserver.plugins.module_utils._engine import errors, faults, host_units, site, unit_files
def call(given, check, crash_at):
    def reached(point):
        with open("/run/points", "a") as log:
            log.write(point + "\\n")
            log.flush()
            if sum(1 for _line in open("/run/points")) == crash_at:
                os.kill(os.getpid(), signal.SIGKILL)
    faults.reached = reached
    options = dict.fromkeys(("autostart_parallel", "events", "event_hook"))
    options.update({"lxcfs": False, "state": "present", **given})
    try:
        if options["state"] == "absent":
            outcome = host_units.absent(site.Site(), check=check)
        else:
            outcome = host_units.ensure(site.Site(), unit_files.parse(options), check=check)
    except errors.VserverError as error:
        return {"failed": str(error)}
    return dataclasses.asdict(outcome)
def begun(words):
    child = os.fork()
    if child == 0:
        try:
            with open(f"/run/said-{os.getpid()}", "w") as said:
                json.dump(call(*words), said)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child
def ended(child):
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    with open(f"/run/said-{child}") as said:
        os.unlink(said.name)
        return {"killed": True} if status else json.load(said)
for line in sys.stdin:
    print(json.dumps([ended(child) for child in list(map(begun, json.loads(line)))]), flush=True)
"""


class Host(SystemdHost):
    """A host in which a process stays that makes :data:`CALLS`."""

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        words = self.command(sys.executable, "-c", CALLS)
        environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
        with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
            self._engine = made
            yield

    def ask(self, *calls: tuple[dict[str, object], bool, int]) -> list[dict[str, Any]]:
        """Make calls at the same time; each is its options, whether it is check mode, and which point kills it."""
        (self.root / "run/points").unlink(missing_ok=True)
        to, said = self._engine.stdin, self._engine.stdout
        assert to and said
        to.write(json.dumps(calls) + "\n")
        to.flush()
        return list(json.loads(said.readline()))


@pytest.fixture(name="host", scope="module")
def systemd_host(template_cache: Path) -> Iterator[Host]:
    """A host with the program, and a guest that may start."""
    place = template_cache.parent / f"host-units-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    with booted(place, Host) as made, made.answering():
        templates.tiny_tree(made.root / "srv/tree", ["sh", "sleep"])
        drop_in = made.root / f"run/systemd/system/{LXCFS}.d/at-once.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(AT_ONCE)
        made.play(
            {"linux.vserver.engine": {}},
            {"linux.vserver.template": {"name": "tiny", "method": "directory", "source": "/srv/tree"}},
            tiny_guest("one", init=["/bin/sleep", "infinity"], timeout=0),
        )
        yield made


@pytest.fixture
def bare(host: Host) -> Host:
    """The same, with no unit."""
    host.run("vserver", "stop", "--all")
    assert "failed" not in call(host, state="absent")
    assert not list((host.root / UNITS).glob("**/*vserver[-@.]*[!t]"))
    return host


def call(host: Host, *, check: bool = False, crash_at: int = 0, **options: object) -> dict[str, Any]:
    (said,) = host.ask((options, check, crash_at))
    return said


def points(host: Host) -> list[str]:
    log = host.root / "run/points"
    return log.read_text().split() if log.exists() else []


def show(host: Host, unit: str, key: str) -> str:
    return host.run("systemctl", "show", "--value", f"--property={key}", unit)


def truth(host: Host) -> dict[str, dict[str, bool]]:
    """What is true of the services, found without the engine."""
    units = [unit for unit in (GUESTS, EVENTS, LXCFS) if (host.root / UNITS / unit).exists()]
    if not units:
        return {}
    enabled, active = (host.exec("systemctl", verb, *units).stdout.split() for verb in ("is-enabled", "is-active"))
    return {
        unit: {"enabled": first == "enabled", "active": second == "active"}
        for unit, first, second in zip(units, enabled, active, strict=True)
    }


def in_order(host: Host, *wanted: str) -> bool:
    """Whether exactly these services are there, run, and are what systemd has read."""
    outdated = host.run("systemctl", "show", "--property=NeedDaemonReload", GUESTS, EVENTS, LXCFS)
    return truth(host) == dict.fromkeys(wanted, {"enabled": True, "active": True}) and "yes" not in outdated


def four_calls(host: Host, **options: object) -> dict[str, Any]:
    """Check mode, the call, the call again, check mode again; returns what the second said."""
    before = truth(host)
    told = call(host, check=True, **options)
    assert truth(host) == before, "check mode changes something"
    made = call(host, **options)
    assert made["changed"] and (told["before"], told["after"]) == (made["before"], made["after"])
    for check in (False, True):
        again = call(host, check=check, **options)
        assert not again["changed"] and not again["before"] and not again["after"], again
        assert again["subject"] == made["subject"]
    return made


def another_version(host: Host) -> None:
    """Have a program that does the same and says it is another version."""
    program = host.root / "usr/sbin/vserver"
    content = program.read_bytes()
    program.write_bytes(content[:-1] + (b"0" if content[-1:] != b"0" else b"1"))


def test_they_come_change_and_go(bare: Host) -> None:
    host = bare
    made = four_calls(host)
    assert in_order(host, GUESTS)
    assert made["subject"][GUESTS] == {"enabled": True, "active": True}
    assert made["subject"][GUEST] == made["subject"][SLICE] == {"enabled": None, "active": None}
    assert made["before"][GUESTS] == {"text": None, "mode": None, "enabled": False, "active": False}
    assert "ExecStop=/usr/sbin/vserver stop --all" in made["after"][GUESTS]["text"]

    host.run("vserver", "start", "one")
    pid, began = (show(host, unit, key) for unit, key in (("vserver@one", "MainPID"), (GUESTS, "InvocationID")))
    made = four_calls(host, **ALL)
    assert set(made["before"]) == {GUESTS, EVENTS, LXCFS} and set(made["after"][GUESTS]) == {"text"}
    assert in_order(host, GUESTS, EVENTS, LXCFS)
    assert "--parallel 3 " in show(host, GUESTS, "ExecStart")
    host.run("systemd-analyze", "verify", *(f"/{UNITS}/{unit}" for unit in (SLICE, GUEST, GUESTS, EVENTS, LXCFS)))
    words = (host.root / "proc" / show(host, EVENTS, "MainPID") / "cmdline").read_bytes().split(b"\0")
    assert words[-2].decode() == ALL["event_hook"], "systemd does not take it literally"

    made = four_calls(host)
    assert set(made["after"]) == {GUESTS, EVENTS, LXCFS}
    assert made["after"][LXCFS] == {"text": None, "mode": None, "enabled": False, "active": False}
    assert in_order(host, GUESTS)
    assert (show(host, "vserver@one", "MainPID"), show(host, GUESTS, "InvocationID")) == (pid, began)

    refused = call(host, state="absent")
    assert "one run" in refused["failed"] and in_order(host, GUESTS)
    told = call(host, state="absent", check=True)  # an earlier task may be what stops it
    assert told["changed"] and "one run" in told["warnings"][0]
    host.run("vserver", "stop", "one")
    assert set(four_calls(host, state="absent")["subject"]) == set()
    assert truth(host) == {} and show(host, GUESTS, "LoadState") == "not-found"


def test_what_was_done_by_hand_is_put_right(bare: Host) -> None:
    host = bare
    call(host, **ALL)
    by_hand = {
        (GUESTS, "mode"): ["chmod", "600", f"/{UNITS}/{GUESTS}"],
        (GUEST, "text"): ["sed", "-i", "s/^OOMPolicy/#&/", f"/{UNITS}/{GUEST}"],
        (EVENTS, "enabled"): ["systemctl", "disable", EVENTS],
        (LXCFS, "active"): ["systemctl", "stop", LXCFS],
        (SLICE, "text"): ["rm", f"/{UNITS}/{SLICE}"],
    }
    for (unit, what), words in by_hand.items():
        host.run(*words)
        made = four_calls(host, **ALL)
        assert list(made["before"]) == [unit] and what in made["before"][unit], made
        assert in_order(host, GUESTS, EVENTS, LXCFS)
    # What somebody has written, and not had read.
    host.run("touch", f"/{UNITS}/{GUESTS}")
    assert four_calls(host, **ALL)["before"] == {GUESTS: {"outdated": True}}


def test_only_who_watches_is_restarted_for_another_program(bare: Host) -> None:
    host = bare
    call(host, **ALL)
    before = {unit: show(host, unit, "InvocationID") for unit in (GUESTS, EVENTS, LXCFS)}
    another_version(host)
    made = four_calls(host, **ALL)
    assert set(made["before"]) == {EVENTS}
    after = {unit: show(host, unit, "InvocationID") for unit in (GUESTS, EVENTS, LXCFS)}
    assert {unit for unit in before if before[unit] != after[unit]} == {EVENTS}


def test_what_is_of_somebody_else_is_not_touched(bare: Host) -> None:
    host = bare
    theirs = host.root / UNITS / EVENTS
    theirs.write_text("[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    host.run("systemctl", "enable", "--now", EVENTS)
    try:
        for check in (True, False):
            assert EVENTS in call(host, check=check, events=True)["failed"]
            assert not (host.root / UNITS / GUESTS).exists(), "half of it was done"
        assert call(host)["changed"] and EVENTS not in call(host)["subject"]
        call(host, state="absent")
        assert truth(host) == {EVENTS: {"enabled": True, "active": True}}
    finally:
        host.run("systemctl", "disable", "--now", EVENTS)
        theirs.unlink()
        host.run("systemctl", "daemon-reload")
    host.run("systemctl", "mask", EVENTS)
    try:
        assert "unmask" in call(host, events=True)["failed"]
    finally:
        host.run("systemctl", "unmask", EVENTS)
    host.run("systemd-run", f"--unit={EVENTS}", "sleep", "infinity")
    try:
        assert "/run/systemd/transient" in call(host, events=True)["failed"]
        call(host)
        assert host.run("systemctl", "is-active", EVENTS) == "active"
    finally:
        host.run("systemctl", "stop", EVENTS)


def test_without_the_program_or_systemd_it_says_so(bare: Host) -> None:
    host = bare
    program = host.root / "usr/sbin/vserver"
    program.rename(program.with_name("vserver.away"))
    try:
        assert "/usr/sbin/vserver is missing" in call(host)["failed"]
        assert call(host, check=True)["changed"], "check mode cannot know who makes it"
    finally:
        program.with_name("vserver.away").rename(program)
    running = host.root / "run/systemd/system"
    running.rename(running.with_name("away"))
    try:
        assert "not run by systemd" in call(host)["failed"] and "not run by systemd" in call(host, check=True)["failed"]
    finally:
        running.with_name("away").rename(running)
    assert "event_hook" in call(host, event_hook="relative")["failed"]
    assert not (host.root / UNITS / GUESTS).exists()


def test_a_crash_at_any_point(bare: Host) -> None:
    host = bare

    def everything() -> dict[str, Any]:
        return call(host, **ALL)

    def other_program() -> None:
        everything()
        another_version(host)

    steps = [
        (lambda: call(host, state="absent"), ALL, (GUESTS, EVENTS, LXCFS)),
        (other_program, ALL, (GUESTS, EVENTS, LXCFS)),
        (everything, {}, (GUESTS,)),
        (everything, {"state": "absent"}, ()),
    ]
    for prepare, options, wanted in steps:
        prepare()
        call(host, **options)
        passed = points(host)
        assert len(passed) >= 3 and in_order(host, *wanted)
        # The first and the last time that it comes by each.
        for number, point in enumerate(passed, 1):
            if point in passed[: number - 1] and point in passed[number:]:
                continue
            prepare()
            invocation = show(host, EVENTS, "InvocationID")
            assert call(host, crash_at=number, **options) == {"killed": True}
            # systemd reads files for many reasons, also between a run that was killed and the next.
            if number % 2:
                host.run("systemctl", "daemon-reload")
            said = call(host, **options)
            assert "failed" not in said and in_order(host, *wanted), (point, truth(host), said)
            assert not list((host.root / UNITS).glob(".pending-*")), point
            if prepare is other_program:
                assert show(host, EVENTS, "InvocationID") != invocation, f"what runs since {point} is the old one"
            said = call(host, **options)
            assert not said.get("changed", True), (point, said)


def test_several_at_once(bare: Host) -> None:
    said = bare.ask(*[(ALL, False, 0)] * 3)
    assert sorted(one["changed"] for one in said) == [False, False, True]
    assert in_order(bare, GUESTS, EVENTS, LXCFS)
