# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module and playbook as Ansible runs it, on this host: check → run → run → check, and then what is really true.

What is true is read from the kernel and the file system, not asked of the modules.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, installed, lifecycle, source
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish

from . import templates

STATE = Path("/var/lib/vserver")
TEMPLATE = "tiny"
GUEST = "subject"
ADDRESS = "192.0.2.81"
#: A process 1 that lasts, and takes SIGTERM for an answer.
INIT = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]


def ansible(*words: str, fails: bool = False) -> str:
    """Run ansible-playbook on this host; returns what it says."""
    program = Path(sys.executable).parent / "ansible-playbook"
    quiet = {
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(program), *words]
    result = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    assert (result.returncode != 0) is fails, result.stdout + result.stderr
    return result.stdout


class Ansible:
    """Runs tasks one after another in one play, and returns their results."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def tasks(self, *tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run tasks; one that fails has a result like the others."""
        registered = [
            {"name": f"Task {number}", "register": f"answer_{number}", "ignore_errors": True, "diff": True, **task}
            for number, task in enumerate(tasks)
        ]
        names = ", ".join(task["register"] for task in registered)
        tell = {"name": "Tell", "ansible.builtin.debug": {"msg": f"{{{{ [{names}] | to_json }}}}"}}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [*registered, tell]}
        file = self._place / "play.yml"
        file.write_text(json.dumps([play]))
        said = ansible(str(file)).rpartition("TASK [Tell]")[2]
        answers = json.JSONDecoder().raw_decode(said, said.index("=> {") + 3)[0]["msg"]
        assert "Traceback" not in answers
        return list(json.loads(answers))

    def do(self, module: str, **options: Any) -> dict[str, Any]:
        """Run one module that has to succeed."""
        (result,) = self.tasks({f"linux.vserver.{module}": options})
        assert not result["failed"], result["msg"]
        return result

    def four_calls(self, module: str, before: Callable[[], Any], **options: Any) -> list[dict[str, Any]]:
        """Check, run, run, check; the first check must leave what ``before`` sees as it is."""
        task = {f"linux.vserver.{module}": options}
        seen = before()
        (first,) = self.tasks({**task, "check_mode": True})
        assert before() == seen, "check mode changed something"
        results = [first, *self.tasks(task, task, {**task, "check_mode": True})]
        assert not [result["msg"] for result in results if result["failed"]]
        assert [result["changed"] for result in results] == [True, True, False, False]
        foretold, made = results[0]["diff"], results[1]["diff"]
        assert foretold["before"] == made["before"] and foretold["after"].keys() == made["after"].keys()
        assert results[2]["diff"] == {"before": {}, "after": {}}
        return results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ansible]:
    """Ansible, and a template to clone."""
    place = tmp_path_factory.mktemp("modules")
    tree = templates.tiny_tree(place / "tree", ["sh", "sleep"])
    runs = Ansible(place)
    runs.do("template", name=TEMPLATE, method="directory", source=str(tree))
    yield runs
    runs.do("template", name=TEMPLATE, state="absent")


def remove(*names: str) -> None:
    for name in names:
        lifecycle.bring(Site(), Wish(name, state="absent", keep_data=False))
    assert not [name for name in names if (STATE / "guests" / name).exists()]


@pytest.fixture
def stopped(run: Ansible) -> Iterator[str]:
    """A guest that has not been started."""
    lifecycle.bring(Site(), Wish(GUEST, {"root": {"template": TEMPLATE}}))
    yield GUEST
    remove(GUEST)


@pytest.fixture
def running(stopped: str) -> dict[str, Any]:
    """A guest that runs, as modules report it."""
    lifecycle.set_state(Site(), stopped, "started", {"init": INIT, "timeout": 5})
    return info.guest(Site(), stopped)


# ---- what is true, from the kernel


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def cgroup_file(pid: int, *names: str) -> str:
    """The first of the files ``names`` that a cgroup of the process, or one above it, has; v1 or v2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    tops = [Path(words[1]) for words in mounts if words[2] in ("cgroup", "cgroup2")]
    groups = [line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for name in names:
        for top in tops:
            for group in groups:
                place = top / group.strip("/")
                while place != top:
                    if (place / name).exists() and (text := (place / name).read_text().strip()) != "max":
                        return text
                    place = place.parent
    raise AssertionError(f"no cgroup of process {pid} has {' or '.join(names)}")


def addresses() -> list[str]:
    links = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, check=True).stdout)
    return [entry["local"] for link in links for entry in link["addr_info"]]


def files() -> list[str]:
    """Everything of ours on disk, with its time of change."""
    return [f"{path} {path.lstat().st_mtime_ns}" for path in sorted(STATE.glob("[gt]*/**/*"))]


def hostname(pid: int) -> str:
    command = ["nsenter", f"--uts=/proc/{pid}/ns/uts", "--", "uname", "--nodename"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# ---- each module


def test_template(run: Ansible, tmp_path: Path) -> None:
    tree = templates.tiny_tree(tmp_path / "tree", ["sh"])
    results = run.four_calls("template", files, name="other", method="directory", source=str(tree))
    version = results[1]["template"]["latest"]
    assert (STATE / "templates" / "other" / version / "rootfs" / "bin" / "sh").exists()
    run.four_calls("template", files, name="other", state="absent")
    assert not (STATE / "templates" / "other").exists()


@pytest.mark.parametrize("method", ["overlay", "copy"])
def test_clone(run: Ansible, method: str) -> None:
    results = run.four_calls("clone", files, name=GUEST, template=TEMPLATE, method=method)
    try:
        assert results[1]["guest"]["root"]["method"] == method
        shared = not (STATE / "guests" / GUEST / "root" / "rootfs").exists()
        assert shared is (method == "overlay")
        run.four_calls("clone", files, name=GUEST, state="absent")
        assert not (STATE / "guests" / GUEST).exists()
    finally:
        remove(GUEST)


def test_context_runs_a_command_once(run: Ansible) -> None:
    shell = ["/bin/sh", "-c", "echo out; echo err >&2; exit ${1:-0}", "sh"]

    def task(*more: str, **options: Any) -> dict[str, Any]:
        return {"linux.vserver.context": {"command": [*shell, *more], **options}}

    before = files()
    skipped, host, template, failed, missing, named, unknown, much = run.tasks(
        {**task(), "check_mode": True},
        task(),
        task(root=TEMPLATE, xid=4711),
        task("7", root=TEMPLATE),
        {"linux.vserver.context": {"command": ["/no/such"], "root": TEMPLATE}},
        {"linux.vserver.context": {"command": ["cat", "/proc/sys/kernel/hostname"], "hostname": "once.example"}},
        task(root="nothing"),
        {"linux.vserver.context": {"command": ["sh", "-c", r"head -c 50000000 /dev/zero | tr '\0' x"]}},
    )
    assert skipped["skipped"] and not skipped["changed"] and "rc" not in skipped
    for ran in (host, template):
        assert (ran["changed"], ran["rc"], ran["stdout"], ran["stderr"]) == (True, 0, "out\n", "err\n"), ran
        assert ran["stdout_lines"] == ["out"] and "guest" not in ran
    assert failed["failed"] and (failed["rc"], failed["stdout"]) == (7, "out\n")
    assert failed["msg"] == "the command ended with exit status 7"
    assert missing["failed"] and missing["rc"] == 127 and "not found" in missing["stderr"]
    assert named["stdout"] == "once.example\n", named
    assert unknown["failed"] and "nothing" in unknown["msg"] and "rc" not in unknown
    assert much["failed"] and much["rc"] == 0 and much["truncated"] == ["stdout"] and len(much["stdout"]) == 4 << 20
    assert "more than 4 MiB to its stdout" in much["msg"]
    assert [line.split()[0] for line in files()] == [line.split()[0] for line in before]
    assert not list(Path("/run/vserver").glob("run-*"))


def test_clone_of_a_running_guest_stays(run: Ansible, running: dict[str, Any]) -> None:
    (result,) = run.tasks({"linux.vserver.clone": {"name": GUEST, "state": "absent"}})
    assert result["failed"] and "runs" in result["msg"] and result["remedy"]
    assert alive(running["pid"]) and (STATE / "guests" / GUEST / "root").exists()


def test_address_binding(run: Ansible, running: dict[str, Any]) -> None:
    options = {"name": GUEST, "addresses": [ADDRESS, "2001:db8::81/128"], "interface": "lo"}
    results = run.four_calls("address_binding", addresses, **options)
    assert {ADDRESS, "2001:db8::81"} <= set(addresses())
    assert results[1]["guest"]["addresses"] == [ADDRESS, "2001:db8::81"]
    assert not results[1]["restart_required"] and alive(running["pid"])
    run.do("context", name=GUEST, state="stopped")
    assert not {ADDRESS, "2001:db8::81"} & set(addresses())


def test_capabilities(run: Ansible, running: dict[str, Any]) -> None:
    kill = 1 << 5
    assert int(status(running["pid"])["CapBnd"], 16) & kill
    results = run.four_calls("capabilities", files, name=GUEST, drop=["kill"])
    assert results[1]["restart_required"] and results[1]["restart_reasons"]
    assert int(status(running["pid"])["CapBnd"], 16) & kill, "a running guest was restarted without being asked"
    guest = run.do("capabilities", name=GUEST, drop=["CAP_KILL"], restart=True)["guest"]
    assert not alive(running["pid"])
    assert not int(status(guest["pid"])["CapBnd"], 16) & kill
    again = run.do("capabilities", name=GUEST, drop=["Kill"], restart=True)
    assert not again["changed"] and again["guest"]["pid"] == guest["pid"]


def test_limits(run: Ansible, running: dict[str, Any]) -> None:
    pid = running["pid"]
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    rlimits = {"nofile": {"soft": 512, "hard": most}, "core": 0}
    more = {
        "memory_swap": 0,
        "cpu_burst": "10ms",
        "cpu_weight": 200,
        "cpuset": 0,
        "io": [],
        "sysctls": {"kernel.shmmni": 99},
    }
    options = {"name": GUEST, "memory": "64M", "cpus": 0.5, "processes": 50, "rlimits": rlimits, **more}
    results = run.four_calls("limits", lambda: Path(f"/proc/{pid}/limits").read_text(), **options)
    assert not results[1]["restart_required"] and alive(pid)
    assert cgroup_file(pid, "memory.max", "memory.limit_in_bytes") == str(64 << 20)
    assert cgroup_file(pid, "pids.max") == "50"
    assert cgroup_file(pid, "cpu.max", "cpu.cfs_quota_us").split()[0] == "50000"
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (512, most)
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    run.do("limits", name=GUEST, processes="max")
    assert cgroup_file(pid, "memory.max", "memory.limit_in_bytes") == str(64 << 20), "what is not given is left alone"


def test_context_settings(run: Ansible, running: dict[str, Any]) -> None:
    pid = running["pid"]
    run.four_calls("context", lambda: hostname(pid), name=GUEST, hostname="other.example")
    assert hostname(pid) == "other.example"
    results = run.four_calls("context", files, name=GUEST, xid=4711)
    assert results[1]["restart_required"] and alive(pid)
    guest = run.do("context", name=GUEST, restart=True)["guest"]
    assert int(status(guest["pid"])["Uid"].split()[0]) >> 16 == 4711
    assert not guest["restart_required"]


def test_context_states(run: Ansible, stopped: str) -> None:
    started = run.four_calls("context", files, name=GUEST, init=INIT, timeout=5, state="started")[1]["guest"]
    assert status(started["pid"])["NSpid"].split()[-1] == "1"
    frozen = run.four_calls("context", lambda: status(started["pid"])["Pid"], name=GUEST, state="frozen")[1]["guest"]
    assert frozen["state"] == "frozen" and frozen["pid"] == started["pid"]
    run.four_calls("context", files, name=GUEST, state="started")
    check, first, second = run.tasks(
        {"linux.vserver.context": {"name": GUEST, "state": "restarted"}, "check_mode": True},
        {"linux.vserver.context": {"name": GUEST, "state": "restarted"}},
        {"linux.vserver.context": {"name": GUEST, "state": "restarted"}},
    )
    assert check["changed"] and first["changed"] and second["changed"]
    assert len({check["guest"]["pid"], first["guest"]["pid"], second["guest"]["pid"]}) == 3
    run.four_calls("context", lambda: alive(second["guest"]["pid"]), name=GUEST, state="stopped")
    assert not alive(second["guest"]["pid"])
    run.four_calls("context", files, name=GUEST, state="absent")
    assert (STATE / "guests" / GUEST / "root").exists(), "the data went with the definition"


def test_guest_info(run: Ansible, running: dict[str, Any]) -> None:
    every, one, unknown = run.tasks(
        {"linux.vserver.guest_info": {}, "check_mode": True},
        {"linux.vserver.guest_info": {"names": GUEST}},
        {"linux.vserver.guest_info": {"names": "nobody"}},
    )
    assert every["guests"][0]["name"] == GUEST and not every["changed"]
    (guest,) = one["guests"]
    assert guest["pid"] == running["pid"] and guest["state"] == "running"
    assert guest["processes"] >= 1 and guest["memory_bytes"] > 0
    assert guest["context"]["init"] == INIT
    assert unknown["failed"] and "nobody" in unknown["msg"]


def test_engine(run: Ansible) -> None:
    program = Path("/usr/sbin/vserver")
    results = run.four_calls("engine", program.exists)
    try:
        engine = results[1]["engine"]
        assert engine["path"] == str(program) and engine["version"] == source.version(source.whole())
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        assert said == f"vserver {engine['version']}\n"
    finally:
        run.four_calls("engine", program.exists, state="absent")
    assert not program.exists()


def test_the_engine_is_the_hosts_where_that_is_the_controllers(run: Ansible, tmp_path: Path) -> None:
    """And else it is brought, also to a task in the background."""
    program, whole = Path("/usr/sbin/vserver"), source.whole()
    told = {**whole, "usage.py": b"def gathered(*_ignored):\n    return [{'name': 'of the program'}]\n"}
    mark = installed.MARK + source.version(whole).encode()
    asked = {"linux.vserver.guest_info": {}}
    behind = {**asked, "async": 60, "poll": 1, "vars": {"ansible_async_dir": str(tmp_path)}}
    program.write_bytes(source.pack(told, {}, mark, zipfile.ZIP_STORED))
    try:
        answers = []
        for mode in (0o755, 0o775):
            program.chmod(mode)
            answers += run.tasks(asked, {**asked, "check_mode": True}, behind)
        program.write_bytes(source.pack(told, {}, installed.MARK + b"0123456789ab", zipfile.ZIP_STORED))
        program.chmod(0o755)
        answers += run.tasks(asked)
    finally:
        program.unlink()
    assert not [answer["msg"] for answer in answers if answer["failed"]]
    assert [bool(answer["guests"]) for answer in answers] == [True, True, *[False] * 5]
    assert not any("'_engine'" in str(answer) or "'_version'" in str(answer) for answer in answers)


# ---- bad input

NAMES = ("a/b", "..", "a\nb", "x" * 300, "", "-a", "a b", "ä")
WRONG: Sequence[tuple[str, dict[str, Any], str]] = [
    *[("context", {"name": name}, "name") for name in NAMES],
    *[
        (module, {"name": ".."}, "name")
        for module in ("address_binding", "capabilities", "clone", "limits", "template")
    ],
    ("guest_info", {"names": ["a/b"]}, "a/b"),
    ("clone", {"name": "new"}, "template"),
    ("clone", {"name": "new", "template": "nosuch"}, "nosuch"),
    ("clone", {"name": "new", "template": "../x"}, "name"),
    ("clone", {"name": "new", "template": TEMPLATE, "version": "1999"}, "1999"),
    ("clone", {"name": "new", "template": TEMPLATE, "method": "btrfs"}, "method"),
    ("template", {"name": "new"}, "suite"),
    ("template", {"name": "new", "method": "directory", "source": "/nonexistent"}, "/nonexistent"),
    ("address_binding", {"name": GUEST, "addresses": ["192.0.2.300"]}, "192.0.2.300"),
    ("address_binding", {"name": GUEST, "addresses": ["192.0.2.1/33"]}, "192.0.2.1/33"),
    ("address_binding", {"name": GUEST, "addresses": ["web1.example.com"]}, "web1.example.com"),
    ("address_binding", {"name": GUEST, "addresses": ["224.0.0.1"]}, "224.0.0.1"),
    ("address_binding", {"name": GUEST, "addresses": ["127.0.0.1"]}, "127.0.0.1"),
    ("address_binding", {"name": GUEST, "addresses": ["0.0.0.0"]}, "0.0.0.0"),
    ("address_binding", {"name": GUEST, "addresses": [{"a": 1}]}, "address"),
    ("address_binding", {"name": GUEST, "addresses": ["192.0.2.1", "192.0.2.1/24"]}, "twice"),
    ("address_binding", {"name": GUEST, "interface": "x" * 16}, "interface"),
    ("address_binding", {"name": GUEST, "interface": "a/b"}, "interface"),
    ("address_binding", {"name": GUEST, "network": "bridge"}, "network"),
    ("capabilities", {"name": GUEST, "profile": "root"}, "profile"),
    ("capabilities", {"name": GUEST, "add": ["CAP_CHWON"]}, "CAP_CHOWN"),
    ("capabilities", {"name": GUEST, "add": ["kill"], "drop": ["CAP_KILL"]}, "CAP_KILL"),
    ("limits", {"name": GUEST, "memory": "lots"}, "memory"),
    ("limits", {"name": GUEST, "memory": "-1"}, "memory"),
    ("limits", {"name": GUEST, "memory": "1"}, "memory"),
    ("limits", {"name": GUEST, "cpus": "two"}, "cpus"),
    ("limits", {"name": GUEST, "cpus": 0}, "cpus"),
    ("limits", {"name": GUEST, "cpus": "nan"}, "cpus"),
    ("limits", {"name": GUEST, "processes": "1.5"}, "processes"),
    ("limits", {"name": GUEST, "processes": 0}, "processes"),
    ("limits", {"name": GUEST, "rlimits": {"nosuch": 1}}, "nosuch"),
    ("limits", {"name": GUEST, "rlimits": {"nofile": {"soft": 1}}}, "nofile"),
    ("limits", {"name": GUEST, "rlimits": {"nofile": {"soft": 2, "hard": 1}}}, "nofile"),
    ("limits", {"name": GUEST, "rlimits": {"nofile": "many"}}, "nofile"),
    ("limits", {"name": GUEST, "rlimits": {"nofile": [1, 2, 3]}}, "nofile"),
    ("context", {"name": GUEST, "xid": 1}, "xid"),
    ("context", {"name": GUEST, "xid": 32768}, "xid"),
    ("context", {"name": GUEST, "xid": "many"}, "xid"),
    ("context", {"name": "new", "xid": 4242}, "4242"),
    ("context", {"name": GUEST, "hostname": "a b"}, "hostname"),
    ("context", {"name": GUEST, "hostname": "x" * 65}, "hostname"),
    ("context", {"name": GUEST, "init": []}, "init"),
    ("context", {"name": GUEST, "init": ["sleep", "1"]}, "init"),
    ("context", {"name": GUEST, "timeout": -1}, "timeout"),
    ("context", {"name": GUEST, "autostart": "perhaps"}, "autostart"),
    ("context", {"name": GUEST, "state": "gone"}, "state"),
    ("context", {"name": GUEST, "colour": "red"}, "colour"),
]


def test_bad_input_is_refused_in_words_and_changes_nothing(run: Ansible, stopped: str) -> None:
    run.do("context", name=stopped, xid=4242)
    before = files()
    results = run.tasks(*({f"linux.vserver.{module}": options} for module, options, _words in WRONG))
    for (module, options, words), result in zip(WRONG, results):
        said = f"{module} {options}: {result.get('msg')}"
        assert result["failed"] and words in result["msg"] and "defect" not in result["msg"], said
    assert files() == before


# ---- playbooks and roles


def changed(said: str) -> int:
    """How many tasks of a run changed something."""
    return int(said.rpartition("changed=")[2].split()[0])


def test_a_guests_life_by_playbooks(run: Ansible, tmp_path: Path) -> None:
    guests = [
        {"name": "first", "addresses": [ADDRESS], "interface": "lo"},
        {"name": "second", "state": "stopped", "memory": "64M", "capabilities_drop": ["kill"]},
    ]
    guests = [{"template": TEMPLATE, "init": INIT, "timeout": 5, **guest} for guest in guests]
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"vserver_target": "localhost", "vserver_guests": guests}))

    def play(name: str, *words: str) -> str:
        return ansible(f"linux.vserver.{name}", "--extra-vars", f"@{settings}", *words)

    def states() -> dict[str, str]:
        return {guest["name"]: guest["state"] for guest in info.guests(Site())}

    try:
        before = files()
        assert changed(play("create", "--check", "--diff")) > 0 and files() == before
        assert changed(play("create")) > 0
        assert states() == {"first": "running", "second": "stopped"}
        assert changed(play("create")) == 0
        said = play("status")
        assert "GUEST" in said and "first" in said and ADDRESS in said and changed(said) == 0
        assert changed(play("start")) == 1
        assert set(states().values()) == {"running"}
        assert changed(play("restart")) == 1
        assert changed(play("stop")) == 1
        assert set(states().values()) == {"stopped"} and ADDRESS not in addresses()
        assert changed(play("destroy", "--check")) > 0 and states().keys() == {"first", "second"}
    finally:
        play("destroy")
    assert states() == {}
    assert changed(play("destroy")) == 0


def test_a_role_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": [
            {"role": "linux.vserver.guest", "vars": {"vserver_guest_name": "new", "vserver_guest_state": "gone"}}
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    assert "value of vserver_guest_state must be one of" in ansible(str(tmp_path / "play.yml"), fails=True)
