# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of ``vserver``: what it takes, and what its tables, its JSON and its completion look like."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import cli, usage
from ansible_collections.linux.vserver.plugins.module_utils._engine.accounting import Account
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.traffic_counter import SLOTS, Traffic
from ansible_collections.linux.vserver.plugins.module_utils._engine.cli import (
    activity,
    completion,
    inside,
    life,
    look,
    parser,
    run,
    service,
    table,
    task,
    watch,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

TOP = parser.parser("test")
COMMANDS = completion.commands(TOP)


def test_every_command_is_done_by_its_group_and_every_group_is_known() -> None:
    modules = (activity, inside, life, look, run, service, watch)
    groups = {module.__name__.rpartition(".")[2]: module for module in modules}
    assert tuple(groups) == parser.GROUPS
    said = {name: command.get_default("group") for name, command in COMMANDS.items()}
    done = {name: group for group, module in groups.items() for name in module.COMMANDS}
    assert {name: group for name, group in said.items() if group} == done
    for group, module in groups.items():
        assert cli._group(group) is module.COMMANDS
    assert tuple(activity._STAT_DISK.sorts) == parser.SORTS and tuple(activity._TOP.sorts) == parser.TOP_SORTS
    for view in (activity._STAT, activity._STAT_DISK, activity._TOP):
        letters = [name[0] for name in view.sorts]
        assert len(set(letters)) == len(letters) and "q" not in letters


def test_a_task_reads_next_to_nothing() -> None:
    assert str(Site().run) == task.RUN
    script = f"import sys; from {cli.__name__} import task; print(*sys.modules)"
    read = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True).stdout
    ours = {name.rpartition("._engine.")[2] for name in read.split() if "._engine." in name}
    assert {"caller", "entrance", "joiner"} <= ours
    assert not ours & {"accounts", "enter", "files", "kernel.cgroup", "model", "running", "seccomp", "site"}
    assert not {"dataclasses", "inspect", "json", "pathlib", "re", "typing"} & set(read.split())


def test_who_enters_a_guest_does_not_wait_for_what_is_not_needed_to() -> None:
    script = f"import sys; from {cli.__name__} import inside; print(*sys.modules)"
    read = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    ours = {name.rpartition("._engine.")[2] for name in read.split() if "._engine." in name}
    assert {"enter", "facets.capabilities", "kernel.cgroup"} <= ours
    assert not ours & {"facets.binding", "facets.limits", "facets.root", "lifecycle", "runtime", "store"}
    assert not {"argparse", "subprocess", "secrets", "shutil", "socket"} & set(read.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("start a b", {"names": ["a", "b"], "all": False}),
        ("stop --all", {"names": [], "all": True}),
        ("kill --signal term a", {"names": ["a"], "signal": signal.SIGTERM}),
        ("kill --signal SIGHUP a", {"signal": signal.SIGHUP}),
        ("kill --signal 9 a", {"signal": signal.SIGKILL}),
        ("kill a", {"signal": None}),
        ("ps", {"names": [], "host": False}),
        ("stat --sort memory --once --interval 0.5 a", {"sort": "memory", "once": True, "interval": 0.5}),
        ("logs --lines 7 a", {"lines": 7, "follow": False}),
        ("exec a -- ls -l --json", {"name": "a", "argv": ["ls", "-l", "--json"]}),
        ("exec --uid 33 a ls", {"uid": 33, "argv": ["ls"]}),
    ],
)
def test_what_is_written_is_meant(words: str, expected: dict[str, Any]) -> None:
    arguments = vars(TOP.parse_args(words.split()))
    if arguments.get("argv", [])[:1] == ["--"]:  # some versions of argparse leave it there
        del arguments["argv"][0]
    assert {key: arguments[key] for key in expected} == expected


@pytest.mark.parametrize(
    "words",
    ["", "start", "start --all a", "nothing", "kill --signal NO a", "kill --signal 99 a", "stat --interval 0", "status",
     "logs", "logs --lines 0 a", "stat --sort xid", "completion fish"],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        TOP.parse_args(words.split())
    assert ended.value.code == 2 and "usage: vserver" in capsys.readouterr().err


@pytest.mark.parametrize(("columns", "wide"), [("200", True), ("60", False), ("", False), ("much", False)])
def test_help_is_as_wide_as_it_may(columns: str, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal() -> None:
        raise OSError

    monkeypatch.setattr("os.get_terminal_size", no_terminal)
    monkeypatch.setenv("COLUMNS", columns)
    assert (max(map(len, TOP.format_help().splitlines())) > 100) is wide


COLUMNS = (
    table.Column("NAME", "name"),
    table.Column("STATE", "state", colour=table.state_colour),
    table.Column("N", "n", right=True),
)
ROWS = [{"name": "a", "state": "running", "n": 10}, {"name": "longer", "state": "odd", "n": None}]


def test_a_table_is_aligned_and_ends_lines_without_blanks() -> None:
    assert table.lines(COLUMNS, ROWS) == ["NAME    STATE     N", "a       running  10", "longer  odd       -"]
    assert table.lines(COLUMNS, iter(ROWS[:0])) == ["NAME  STATE  N"]


def test_colours_change_no_width() -> None:
    plain, coloured = (table.lines(COLUMNS, ROWS, colours=colours) for colours in (False, True))
    assert coloured[1] == plain[1].replace("running", "\033[32mrunning\033[0m")
    assert coloured[2] == plain[2] and coloured[0] != plain[0]


def test_a_guest_cannot_steer_the_terminal() -> None:
    assert table.command(["sh", "-c", "\033]0;x\007\n\u202e"]) == "sh -c ?]0;x???"
    assert table.text("\x9b2J") == "?2J"


@pytest.mark.parametrize(
    ("show", "value", "expected"),
    [
        (table.size, None, "-"), (table.size, 0, "0B"), (table.size, 1536, "1.5K"), (table.size, 23 << 20, "23M"),
        (table.size, 1 << 50, "1024T"), (table.words, [], "-"), (table.words, ["a", "b"], "a,b"),
        (table.percent, None, "-"), (table.percent, 99.96, "100.0%"), (table.duration, 5, "0:05"),
        (table.duration, 3905, "1:05:05"), (table.duration, 2 * 86400 + 3600, "2d01h"), (table.duration, None, "-"),
        (table.moment, "2026-08-01T12:00:00+00:00", "2026-08-01 12:00:00"), (table.moment, None, "-"),
        (table.command, [], "-"), (table.age, None, "-"),
    ],
)  # fmt: skip
def test_how_a_value_is_written(show: Any, value: Any, expected: str) -> None:
    assert show(value) == expected


def sample(guest: str, moment: float, processor: float, started_at: str = "then") -> usage.Sample:
    account = Account(cpu_seconds=processor, memory_bytes=5, processes=2, written_bytes=int(processor * 10))
    return usage.Sample(guest, 9, "running", moment, account, started_at)


def test_a_rate_is_what_was_used_since_by_the_same_run_of_a_guest() -> None:
    before = [sample("a", 10, 1), sample("b", 10, 7), sample("gone", 10, 1)]
    after = [sample("a", 12, 4), sample("b", 12, 0.5, "anew"), sample("new", 12, 1)]
    rows = usage.rates(before, after)
    assert [(row["name"], row["cpu_percent"]) for row in rows] == [("a", 150.0), ("b", None), ("new", None)]
    assert json.loads(json.dumps(rows)) == rows
    assert [row["name"] for row in activity._STAT.by(rows, "cpu")] == ["a", "b", "new"]
    assert [row["name"] for row in activity._STAT.by(rows[::-1], "name")] == ["a", "b", "new"]


def traffic(received: int, sent: int) -> Account:
    outside = Traffic(received, 1, sent, 1)
    return Account(network={**dict.fromkeys(SLOTS, Traffic(99, 9, 99, 9)), "ipv4": outside, "ipv6": outside})


def test_traffic_a_second_is_what_passed_an_interface() -> None:
    before, after = ([usage.Sample("a", 9, "running", at, traffic(at, 3 * at), "then")] for at in (10, 12))
    (row,) = usage.rates(before, after)
    assert (row["received_bytes_per_second"], row["sent_bytes_per_second"]) == (2, 6)
    assert json.loads(json.dumps(row))["network"]["local_ipv6"]["sent_packets"] == 9
    (unbound,) = usage.rates([sample("b", 1, 1)], [sample("b", 2, 1)])
    assert unbound["received_bytes_per_second"] is None


def process(guest: str | None, pid: int, processor: float, started: float = 5.0) -> dict[str, Any]:
    return {"guest": guest, "pid": pid, "cpu_seconds": processor, "started": started, "memory_bytes": pid}


def test_top_tells_what_each_process_has_used_since() -> None:
    before = [process("a", 1, 5.0), process("a", 2, 1.0), process("b", 3, 9.0)]
    after = [process("a", 1, 6.0), process("b", 3, 0.5, 8.0), process(None, 4, 0.25)]
    rows = usage.process_rates(before, after, 2.0)
    assert [(row["pid"], row["cpu_percent"]) for row in rows] == [(1, 50.0), (3, 25.0), (4, 12.5)]
    orders = {sort: [row["pid"] for row in activity._TOP.by(rows[::-1], sort)] for sort in activity._TOP.sorts}
    assert orders == {"cpu": [1, 3, 4], "memory": [4, 3, 1], "time": [1, 3, 4], "guest": [4, 1, 3]}


def test_a_table_fits_where_it_is_shown() -> None:
    wide = (*COLUMNS[:1], table.Column("N", "n", right=True), table.Column("COMMAND", "state"))
    rows = [{"name": "guest", "n": 100000, "state": "x" * 100}]
    assert table.lines(wide, rows, width=40)[1] == "guest  100000  " + "x" * 25
    assert table.lines(wide, rows, width=21) == ["NAME        N", "guest  100000"]
    assert table.lines(wide, rows, width=10) == ["NAME", "guest"]
    assert len(table.lines(wide, rows, width=500)[1]) == 115


def complete(*words: str) -> list[str]:
    line = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}"
    script = f"{completion.bash(TOP)}\n{line}; _vserver; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    said = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert not said.stderr
    return said.stdout.split()


def test_bash_completes_commands_and_options() -> None:
    assert complete("vserver", "st") == ["status", "stat", "start", "stop"]
    assert set(complete("vserver", "")) == {*COMMANDS, "--help", "--version"}
    for name, command in COMMANDS.items():
        assert complete("vserver", name, "--") == completion.options(command)
