# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``vserver`` with real guests: what it shows is so, and what it is told to do is done."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, info, running
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_processes, process
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import SLEEP, Guests, eventually
from .terminals import Terminal

#: One process that computes and one that sleeps, below an init that takes no order.
_LOAD = ("/bin/sh", "-c", "sleep 1000 & while :; do :; done")


@pytest.fixture(scope="module")
def here(debian_template: Path) -> Iterator[Guests]:
    """Two guests at the places the program knows: one idle, one that computes."""
    place = Site()
    with templates.provided(place, debian_template) as name:
        engine_file.ensure(place)
        made = Guests(place, name)
        made.start("idle", init=SLEEP, addresses=["10.99.84.1"])
        made.start("busy", init=_LOAD, limits={"memory": "256M"})
        made.define("down", init=SLEEP)
        yield made
        made.remove_all()
    engine_file.absent(place)


def said(*words: str, status: int = 0, text: str | None = None) -> str:
    result = subprocess.run(
        [Site().program, *words], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == status, result
    return result.stderr if status else result.stdout


def shown(*words: str) -> Any:
    return json.loads(said(*words, "--json"))


def test_list_shows_what_guest_info_tells(here: Guests) -> None:
    assert {guest["name"]: guest["state"] for guest in shown("list")} == {
        "busy": "running", "down": "stopped", "idle": "running"
    }  # fmt: skip
    told = {guest["name"]: guest for guest in info.guests(here.site)}
    for guest in shown("list"):
        assert guest.keys() == told[guest["name"]].keys() and guest["xid"] == told[guest["name"]]["xid"]
    heading, *rows = said("list").splitlines()
    assert heading.split()[:2] == ["GUEST", "XID"] and [row.split()[0] for row in rows] == ["busy", "down", "idle"]
    assert "\033" not in said("list")


def test_status_tells_by_its_exit_status_what_runs(here: Guests) -> None:
    assert "10.99.84.1" in said("status", "idle", "busy")
    subprocess.run([here.site.program, "status", "idle", "down"], check=False, stdout=subprocess.DEVNULL)
    assert subprocess.run([here.site.program, "status", "--all"], check=False, capture_output=True).returncode == 3
    assert [guest["name"] for guest in shown("status", "idle", "busy")] == ["idle", "busy"]
    assert "guest nobody does not exist" in said("status", "nobody", status=1)


def test_ps_shows_the_guests_processes_and_no_other(here: Guests) -> None:
    rows = shown("ps")
    expected = {(name, pid) for name in ("busy", "idle") for pid in cgroup_processes.ids(here.group(name))}
    assert {(row["guest"], row["pid"]) for row in rows} == expected
    for row in rows:
        assert row["uid"] >> 16 == row["xid"] and row["uid_inside"] == 0
    first = [row for row in rows if row["pid_inside"] == 1]
    assert {row["guest"]: row["command"] for row in first} == {"busy": list(_LOAD), "idle": list(SLEEP)}
    assert {row["guest"] for row in shown("ps", "busy")} == {"busy"}
    assert {row["guest"] for row in shown("ps", "--host")} == {None, "busy", "idle"}


def test_stat_tells_who_computes(here: Guests) -> None:
    rows = shown("stat", "--interval", "1")
    assert [row["name"] for row in rows] == ["busy", "idle"]
    busy, idle = rows
    assert 20 < busy["cpu_percent"] < 130 and idle["cpu_percent"] < 5
    assert busy["processes"] == 2 and idle["processes"] == 1
    assert [line.split()[0] for line in said("stat", "--sort", "name", "--interval", "0.1").splitlines()] == [
        "GUEST", "busy", "idle"
    ]  # fmt: skip


def test_top_tells_which_process_computes(here: Guests) -> None:
    rows = shown("top", "--interval", "1")
    assert {row["guest"] for row in rows} == {"busy", "idle"}
    assert rows[0]["guest"] == "busy" and 20 < rows[0]["cpu_percent"] < 130
    assert all(row["cpu_percent"] < 5 for row in rows[1:])
    by_guest = shown("top", "--host", "--sort", "guest", "--interval", "0.5")
    guests = [row["guest"] for row in by_guest]
    assert guests == sorted(guests, key=lambda guest: guest or "") and {None, "busy", "idle"} == set(guests)
    assert "COMMAND" in said("top", "--interval", "0.1").splitlines()[0]


def test_stat_tells_what_is_on_disk_when_it_is_asked(here: Guests) -> None:
    (row,) = shown("stat", "idle", "--disk", "--interval", "0.1")
    assert row["disk_bytes"] > 0 and row["disk_shared_bytes"] > row["disk_bytes"]
    assert "disk_bytes" not in shown("stat", "idle", "--interval", "0.1")[0]
    assert " DISK " in said("stat", "--sort", "disk", "--interval", "0.1").splitlines()[0]


def test_freeze_and_thaw(here: Guests) -> None:
    said("freeze", "busy")
    assert info.state(here.site, "busy") == "frozen"
    time.sleep(0.2)
    assert shown("stat", "busy", "--interval", "0.5")[0]["cpu_percent"] < 1
    said("thaw", "busy")
    assert info.state(here.site, "busy") == "running"
    assert "does not run" in said("freeze", "down", status=1)
    assert info.state(here.site, "down") == "stopped"


def test_kill_sends_signals_and_ends_at_once(here: Guests) -> None:
    here.start("victim", init=("/bin/sh", "-c", "trap 'touch /got' USR1; while :; do sleep 0.05; done"))
    here.run("victim", "test", "!", "-e", "/got")
    eventually(lambda: process.listens(running_pid(here, "victim"), 10), "no handler")
    said("kill", "--signal", "usr1", "victim")
    eventually(lambda: here.exec("victim", "test", "-e", "/got").returncode == 0, "the signal did not arrive")
    began = time.monotonic()
    said("kill", "victim")
    assert time.monotonic() - began < 10 and info.state(here.site, "victim") == "stopped"
    assert not here.traces("victim")
    said("kill", "victim")


def running_pid(here: Guests, name: str) -> int:
    now = running.read(here.site, name)
    assert now is not None
    return now.pid


def test_several_are_started_and_stopped_in_one_call(here: Guests) -> None:
    for name in ("one", "two"):
        here.define(name, init=SLEEP, timeout=0)
    said("start", "one", "two")
    first = running_pid(here, "one")
    said("restart", "one", "two")
    assert running_pid(here, "one") != first
    assert "nobody does not exist" in said("stop", "one", "nobody", status=1)
    assert info.state(here.site, "one") == "running"
    said("stop", "one", "two")
    assert [info.state(here.site, name) for name in ("one", "two")] == ["stopped", "stopped"]


def test_exec_is_as_a_command_here(here: Guests) -> None:
    assert said("exec", "idle", "--", "cat", text="through\n") == "through\n"
    said("exec", "idle", "--", "sh", "-c", "exit 7", status=7)
    assert said("exec", "--uid", "33", "--gid", "34", "idle", "--", "sh", "-c", "id -u; id -g") == "33\n34\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--uid", "33"], "33|0|0|/||/"),
        (["--user", "www-data"], "33|33|33|/var/www|www-data|/"),
        (["--user", "hostile"], "1234|50|50 1000 1001|/home/there|hostile|/"),
        (["--user", "root"], "0|0|0|/root|root|/"),
        (["--user", "www-data", "--cwd", "/var/lib", "--env", "HOME=/x=y"], "33|33|33|/x=y|www-data|/var/lib"),
        (["--env", "HOME=", "--env", "USER=u", "--cwd", "tmp"], "0|0|0||u|/tmp"),
    ],
    ids=["uid", "user", "groups", "root", "all", "relative"],
)
def test_exec_as_a_user_of_the_guest(here: Guests, options: list[str], expected: str) -> None:
    """By the guest's own files: the host has no such users, or others."""
    here.run("idle", "sh", "-c", _USERS)
    script = 'echo "$(id -u)|$(id -g)|$(id -G)|$HOME|$USER|$(pwd)"'
    assert said("exec", *options, "idle", "--", "/bin/sh", "-c", script) == f"{expected}\n"


#: A user that only the guest has, with groups; before the next a line that is no entry.
_USERS = """
grep -q ^hostile: /etc/passwd || {
    printf 'nonsense\\nhostile:x:1234:50::/home/there:\\ntoo:x:70000:0::/:\\n' >> /etc/passwd
    printf 'one:x:1000:hostile\\ntwo:x:1001:a,hostile\\nnone:x:1002:hostiles\\n' >> /etc/group
}
"""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--user", "nobody-there"], "enter guest idle: its /etc/passwd has no user nobody-there"),
        (["--user", "too"], "user too: id 70000 does not exist in a guest"),
        (["--user", "root", "--uid", "5"], "user is given beside uid or gid"),
        (["--cwd", "/no/where"], "change to its directory /no/where: No such file or directory"),
        (["--user", "www-data", "--cwd", "/root"], "change to its directory /root: Permission denied"),
        (["--env", "=x"], "environment variable '=x' cannot be meant"),
    ],
)
def test_exec_that_cannot_be(here: Guests, options: list[str], reason: str) -> None:
    here.run("idle", "sh", "-c", _USERS)
    assert reason in said("exec", *options, "idle", "--", "true", status=1)


@pytest.mark.parametrize(
    "what", ["mkfifo /etc/passwd", "ln -s /dev/zero /etc/passwd", "truncate -s 9G /etc/passwd", ":"]
)
def test_exec_is_not_held_up_by_what_a_guest_lays_for_it(here: Guests, what: str) -> None:
    here.run("idle", "sh", "-c", f"mv /etc/passwd /etc/kept; {what}")
    try:
        assert "/etc/passwd" in said("exec", "--user", "root", "idle", "--", "true", status=1)
    finally:
        here.run("idle", "mv", "-f", "/etc/kept", "/etc/passwd")


# --- on a terminal ---------------------------------------------------------------------------------------------------


def test_stat_goes_on_until_q_and_sorts_as_it_is_told(here: Guests) -> None:
    here.start("another", init=SLEEP)
    with Terminal("env", "NO_COLOR=", here.site.program, "stat", "--interval", "0.2", "another", "busy") as terminal:
        terminal.wait_for(r"busy .*\n.*another .*\n", "not sorted by what is used")
        terminal.type("n")
        terminal.wait_for(r"another .*\n.*busy .*\n", "not sorted by name")
        terminal.wait_for("q ends", since=len(terminal.shown))
        terminal.type("q")
        assert terminal.ended() == 0
    assert "\033[H" in terminal.shown and "\033[32mrunning" in terminal.shown


def test_top_goes_on_until_q(here: Guests) -> None:
    with Terminal("env", "NO_COLOR=", here.site.program, "top", "--interval", "0.2", "busy", "idle") as terminal:
        terminal.wait_for(r"busy .*\n(.*\n)*.*idle .*\n", "not sorted by what is used")
        terminal.type("g")
        terminal.wait_for("q ends; sort by c cpu, m memory, t time, g guest", since=len(terminal.shown))
        terminal.type("q")
        assert terminal.ended() == 0


def test_stat_gives_the_terminal_back_as_it_was(here: Guests) -> None:
    script = f"{here.site.program} stat --interval 0.2; echo status $?; stty -a | tr ';' '\\n'"
    with Terminal("/bin/sh", "-c", f"stty -a >/dev/null; trap : INT; {script}") as terminal:
        terminal.wait_for("q ends")
        terminal.type("\x03")
        terminal.wait_for("status 130")
        terminal.wait_for(r"(?s)status 130.* icanon.* echo ")
        assert terminal.ended() == 0


def test_list_has_colours_only_for_who_wants_them(here: Guests) -> None:
    for setting, coloured in ("NO_COLOR=", True), ("NO_COLOR=1", False):
        with Terminal("env", setting, here.site.program, "list") as terminal:
            assert terminal.ended() == 0
        assert ("\033[32mrunning\033[0m" in terminal.shown) is coloured


def test_run_on_a_terminal(here: Guests) -> None:
    script = "tty; stty size; echo type; read line; echo got $line; exit 5"
    words = (
        "run",
        "--template",
        here.template,
        "--tty",
        "--user",
        "www-data",
        "--cwd",
        "/var",
        "--",
        "sh",
        "-c",
        script,
    )
    with Terminal(here.site.program, *words) as terminal:
        terminal.wait_for("type")
        terminal.type("abc\r")
        assert terminal.ended() == 5
    assert terminal.shown.replace("\r", "").splitlines()[:2] == ["/dev/pts/0", "31 97"]
    assert "got abc" in terminal.shown
    assert not thrown_away(here)


def test_logs_are_the_guests(here: Guests) -> None:
    assert "does not run" in said("logs", "down", status=1)
    here.start("booted", addresses=["127.0.84.2"])
    here.wait_booted("booted")
    here.run("booted", "logger", "a word of the guest")
    eventually(lambda: "a word of the guest" in said("logs", "booted"), "the journal lacks it")
    assert len(said("logs", "--lines", "3", "--json", "booted").splitlines()) == 3


# --- run -------------------------------------------------------------------------------------------------------------


def thrown_away(here: Guests) -> list[str]:
    """What throw-away guests have left: directories, locks, cgroups."""
    found = [*here.site.guests.glob("run-*"), *here.site.run.glob("run-*"), *here.site.locks.glob("*run-*")]
    found += [group for top in cgroup.layout().tops for group in (top / here.site.cgroup).glob("run-*")]
    return [str(path) for path in found]


def test_run_tells_a_host_that_has_its_programs_elsewhere(here: Guests) -> None:
    words = [
        "unshare",
        "--mount",
        "--",
        "/bin/sh",
        "-c",
        f"mount --rbind /usr /usr && exec {here.site.program} run -- true",
    ]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and "its /usr is a file system of its own" in result.stderr
    assert "Name a template" in result.stderr and not thrown_away(here)


def test_run_is_as_a_command_here_and_leaves_nothing(here: Guests) -> None:
    assert said("run", "--", "cat", text="through\n") == "through\n"
    said("run", "--template", here.template, "--", "sh", "-c", "exit 7", status=7)
    assert said("run", "--template", here.template, "--hostname", "once", "--", "hostname") == "once\n"
    assert "not found" in said("run", "--", "/no/program", status=127)
    assert not thrown_away(here)


def test_run_over_the_hosts_tree_writes_nothing_and_reads_what_everybody_may(here: Guests, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, mode in (("open", 0o644), ("secret", 0o600), ("anybodys", 0o666)):
        (Path("/tmp") / f"cli-{name}").write_text(name)
        (Path("/tmp") / f"cli-{name}").chmod(mode)
    try:
        script = """
            cat /tmp/cli-open; echo changed > /tmp/cli-anybodys; cat /tmp/cli-anybodys; stat -c %u /tmp/cli-open /usr
            touch /root/mine /tmp/cli-new && ls -A /root
            for file in /tmp/cli-secret /etc/shadow /var/lib/vserver/guests; do ls $file/ ; cat $file; done
            echo > /tmp/cli-open; rm /tmp/cli-open; true > /etc/hosts; chown 0 /etc/hosts; echo done
        """
        result = subprocess.run(
            [here.site.program, "run", "--", "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.stdout.split() == ["openchanged", "65534", "65534", "mine", "done"], result
        assert "secret" not in result.stdout and "root:" not in result.stdout
        assert (Path("/tmp") / "cli-anybodys").read_text() == "anybodys"
        assert not (Path("/tmp") / "cli-new").exists() and not Path("/root/mine").exists()
        assert not thrown_away(here)
    finally:
        for name in ("open", "secret", "anybodys"):
            (Path("/tmp") / f"cli-{name}").unlink()


def test_run_over_the_hosts_tree_reaches_no_socket_in_it(here: Guests) -> None:
    place = Path("/tmp/cli-socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        try:
            place.chmod(0o777)
            listening.listen()
            script = f"import socket; socket.socket(socket.AF_UNIX).connect('{place}')"
            subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
            words = [here.site.program, "run", "--", "/usr/bin/python3", "-c", script]
            result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert "Connection refused" in result.stderr
        finally:
            place.unlink()


def test_run_is_bound_limited_and_has_few_capabilities(here: Guests) -> None:
    script = """
import socket
def bind(address):
    with socket.socket() as made:
        try:
            made.bind((address, 0))
            return "bound"
        except OSError as error:
            return error.strerror
print(bind("10.99.84.9"), "|", bind("10.99.84.1"))
"""
    with socket.socket() as made:
        made.bind(("10.99.84.1", 0))  # the host may
    bound = ("run", "--address", "10.99.84.9", "--", "/usr/bin/python3", "-c", script)
    assert said(*bound).strip() == "bound | Cannot assign requested address"
    words = ("--rlimit", "nofile=64", "--profile", "none", "--", "sh", "-c", "ulimit -n; grep CapBnd /proc/self/status")
    assert said("run", *words).split() == ["64", "CapBnd:", "0" * 16]
    assert not thrown_away(here)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_that_is_told_to_end_removes_what_it_made(here: Guests, number: int) -> None:
    child = begun(here)
    with child:
        child.send_signal(number)
        assert child.wait(timeout=60) == 128 + number
    assert not thrown_away(here)


def test_run_that_was_killed_is_swept_by_the_next_and_never_while_it_runs(here: Guests) -> None:
    child = begun(here)
    assert said("run", "--", "true") == ""
    (name,) = [guest["name"] for guest in shown("list") if guest["name"].startswith("run-")]
    with child:
        child.kill()
    assert info.state(here.site, name) == "running"
    said("start", "idle")
    assert not thrown_away(here)


def begun(here: Guests) -> subprocess.Popen[str]:
    """A run whose command is at work."""
    words = [here.site.program, "run", "--", "sh", "-c", "echo ready; exec sleep 1000"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=plain_signals)
    assert child.stdout and child.stdout.readline() == "ready\n"
    return child


def plain_signals() -> None:
    """Whoever runs the tests may ignore them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
