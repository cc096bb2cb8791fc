# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible inside a real guest, on its host and through a real sshd of its host."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import marshal
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog
from ansible_collections.linux.vserver.plugins.module_utils._engine.template.spec import parse as parse_spec

from . import ssh_host, templates
from .guests import SLEEP, Guests, eventually

GUEST = "conn-guest"
LARGE = 100 * 1024 * 1024
#: nobody has none of its own.
SHELL = {"become_flags": "-s /bin/sh"}
TOOLS = Path(sys.executable).parent


def inventory(way: str, key: Path, user: str = "root", **of_guests: Any) -> dict[str, Any]:
    """The host, reached in one way or the other, and its guests."""
    names = (GUEST, "conn-unknown", "conn-stops", "conn-boots", "conn-bare")
    return ssh_host.inventory(way, key, names, user, **of_guests)


@dataclass
class Controller:
    """Runs plays on the inventory of one way."""

    place: Path
    key: Path
    way: str
    user: str = "root"

    def play(
        self, *tasks: Mapping[str, Any], hosts: str = GUEST, of_guests: Mapping[str, Any] | None = None, **more: Any
    ) -> list[dict[str, Any]]:
        """The tasks' results, one that fails or is unreachable among them.

        * of_guests: further variables of all guests
        """
        sources, play = self.place / "inventory.json", self.place / "play.json"
        groups = inventory(self.way, self.key, self.user, **(of_guests or {}))
        sources.write_text(json.dumps({"all": {"children": groups}}))
        kept = [{"name": f"T{n}", "ignore_errors": True, **task} for n, task in enumerate(tasks)]
        play.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": kept, **more}]))
        variables = {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.place / "cp"),
            "HOME": str(self.place),
            # Modules cost the same on the host as in a guest, where nothing of the run's is.
            "PYTHONPATH": "",
        }
        words = [str(TOOLS / "ansible-playbook"), "-i", str(sources), str(play)]
        ended = subprocess.run(
            [*words, "-v"], env={**os.environ, **variables}, capture_output=True, text=True, timeout=300, check=False
        )
        self.said = ended.stdout + ended.stderr
        found = results(ended.stdout)
        assert found, self.said
        return found

    def transfer(self, place: Path, guest: str, name: str) -> subprocess.CompletedProcess[str]:
        """Have the plugin alone put a file of ``place`` into a guest, and fetch it as ``back``."""
        (place / "i.json").write_text(json.dumps({"all": {"children": inventory(self.way, self.key)}}))
        return subprocess.run(
            [sys.executable, "-c", TRANSFER, str(place), guest, name],
            env={**os.environ, "HOME": str(place), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(place / "cp")},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


def results(said: str) -> list[dict[str, Any]]:
    """The results in what the default callback says at verbosity 1, each from its ``=> {`` on."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := said.find("=> {", at)) >= 0:
        value, length = decoder.raw_decode(said[at + 3 :])
        found.append(value)
        at += 3 + length
    return found


@pytest.fixture(scope="module")
def host(debian_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guests, Path]]:
    """The program, a guest, and an sshd on this network's loopback that lets root in with a key."""
    site, place = Site(), tmp_path_factory.mktemp("sshd")
    with templates.provided(site, debian_template) as name:
        guests = Guests(site, name)
        engine_file.ensure(site)
        try:
            with ssh_host.sshd(place) as key:
                guests.start(GUEST, init=SLEEP, addresses=["127.0.94.2"], timeout=0)
                yield guests, key
        finally:
            guests.remove_all()
            engine_file.absent(site)


@pytest.fixture(params=["local", "ssh"])
def run(request: pytest.FixtureRequest, host: tuple[Guests, Path], tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(tmp_path, host[1], request.param)
    yield controller
    ssh_host.end_masters(tmp_path / "cp")


def test_modules_and_commands(run: Controller) -> None:
    facts, name, user = run.play(
        {"ansible.builtin.setup": {"gather_subset": ["!all", "min"]}},
        {"ansible.builtin.debug": {"var": "ansible_facts.nodename"}},
        {"ansible.builtin.command": {"cmd": "hostname"}},
        {
            "ansible.builtin.command": {"cmd": "id -un"},
            "become": True,
            "become_user": "nobody",
            "become_method": "su",
            **SHELL,
        },
    )
    assert facts["ansible_facts.nodename"] == GUEST, run.said
    assert name.get("stdout") == GUEST, run.said
    assert user.get("stdout") == "nobody", run.said


def test_become_root_needs_nothing_in_the_guest(run: Controller) -> None:
    (user,) = run.play({"ansible.builtin.command": {"cmd": "id -un"}}, become=True)
    assert user["stdout"] == "root", run.said


@pytest.mark.parametrize("status", [0, 1, 254, 255])
def test_a_status_is_the_commands_own(run: Controller, status: int) -> None:
    (result,) = run.play({"ansible.builtin.raw": f"echo out; echo err >&2; exit {status}"})
    assert (result["rc"], result["stdout"], result["stderr"]) == (status, "out\n", "err\n"), run.said
    assert not result.get("unreachable")


def test_input_ends_where_there_is_none(run: Controller) -> None:
    (result,) = run.play({"ansible.builtin.raw": "cat; echo done"})
    assert result["stdout"] == "done\n", run.said


def test_a_guest_that_is_not_there_is_unreachable(run: Controller) -> None:
    (result,) = run.play({"ansible.builtin.raw": "true"}, hosts="conn-unknown")
    assert result["unreachable"] and "conn-unknown does not run" in result["msg"], run.said


def test_a_host_that_does_not_answer_is_unreachable(host: tuple[Guests, Path], tmp_path: Path) -> None:
    controller = Controller(tmp_path, host[1], "ssh")
    (result,) = controller.play({"ansible.builtin.raw": "true"}, of_guests={"vserver_host": "away"})
    assert result["unreachable"] and "Could not resolve hostname away" in result["msg"], controller.said


@pytest.mark.parametrize("become", ["sudo", "doas"])
def test_a_user_of_the_host_becomes_root_there(host: tuple[Guests, Path], tmp_path: Path, become: str) -> None:
    """Whoever logs in to the host: in the guest tasks are its root's, and go through its root's hands only."""
    _guests, key = host
    with ssh_host.operator(tmp_path) as user:
        controller = Controller(tmp_path, key, "ssh", user)
        (tmp_path / "file").write_bytes(bytes(range(256)))
        options = {"vserver_host_become": become}
        try:
            name, _copied, copy, other, failed = controller.play(
                {"ansible.builtin.command": {"cmd": "id -un"}},
                {"ansible.builtin.copy": {"src": str(tmp_path / "file"), "dest": "/root/there", "mode": "0600"}},
                {"ansible.builtin.stat": {"path": "/root/there"}},
                {
                    "ansible.builtin.command": {"cmd": "id -un"},
                    "become": True,
                    "become_user": "nobody",
                    "become_method": "su",
                    **SHELL,
                },
                {"ansible.builtin.raw": "cat; exit 3"},
                of_guests=options,
            )
            assert name["stdout"] == "root" and other["stdout"] == "nobody", controller.said
            assert copy["stat"]["pw_name"] == "root" and copy["stat"]["size"] == 256
            assert failed["rc"] == 3 and not failed.get("unreachable")
            (refused,) = controller.play({"ansible.builtin.raw": "true"})
            assert refused["unreachable"] and "set vserver_host_become to sudo or doas" in refused["msg"]
        finally:
            ssh_host.end_masters(tmp_path / "cp")


def test_a_guest_without_python(run: Controller, host: tuple[Guests, Path], tmp_path: Path) -> None:
    """Has a shell and cat: commands, and files that the plugin itself moves."""
    guests, _key = host
    (tmp_path / "sent").write_bytes(bytes(range(256)) * 1000)
    with bare(guests, tmp_path) as name:
        raw, failed, module = run.play(
            {"ansible.builtin.raw": "echo $0 $$; cat /proc/sys/kernel/hostname; exit 5"},
            {"ansible.builtin.raw": "no-such-program"},
            {"ansible.builtin.ping": {}},
            hosts=name,
        )
        assert raw["rc"] == 5 and name in raw["stdout"], run.said
        assert failed["rc"] == 127 and not failed.get("unreachable"), run.said
        assert module["rc"] == 127 and not module.get("unreachable"), run.said
        said = run.transfer(tmp_path, name, "sent")
        assert said.returncode == 0, said
        assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()


@contextlib.contextmanager
def bare(guests: Guests, place: Path) -> Iterator[str]:
    """A guest of a shell and little else."""
    tree = templates.tiny_tree(place / "tree", ["sh", "sleep", "cat", "dd", "id"])
    spec = parse_spec({"name": "bare", "method": "directory", "source": str(tree)})
    made = Guests(guests.site, "bare")
    catalog.ensure(guests.site, spec)
    try:
        made.start("conn-bare", init=("/bin/sleep", "1000"), timeout=0)
        yield "conn-bare"
    finally:
        made.remove_all()
        catalog.absent(guests.site, "bare")


def test_a_guest_that_is_delegated_to(run: Controller) -> None:
    (result,) = run.play({"ansible.builtin.raw": "hostname", "delegate_to": GUEST}, hosts="host1")
    assert result.get("stdout") == f"{GUEST}\n", run.said


def test_files_there_and_back(run: Controller, tmp_path: Path) -> None:
    sent = {"empty": b"", "ünïcode 'n space $x": bytes(range(256)) * 99, "piece": b"x" * (16 << 20)}
    tasks: list[Mapping[str, Any]] = []
    for name, content in sent.items():
        (tmp_path / name).write_bytes(content)
        tasks.append({"ansible.builtin.copy": {"src": str(tmp_path / name), "dest": f"/root/{name}"}})
        tasks.append(
            {"ansible.builtin.fetch": {"src": f"/root/{name}", "dest": f"{tmp_path}/back/{name}", "flat": True}}
        )
    run.play(*tasks)
    for name, content in sent.items():
        assert (tmp_path / "back" / name).read_bytes() == content, run.said


def test_async(run: Controller) -> None:
    result = run.play({"ansible.builtin.command": {"cmd": "hostname"}, "async": 20, "poll": 1})[-1]
    assert result.get("stdout") == GUEST, run.said


def test_a_command_that_is_killed_with_its_guest(run: Controller, host: tuple[Guests, Path]) -> None:
    """It goes on in spite of SIGTERM, which it is given first."""
    guests, _key = host
    guests.start("conn-stops", init=SLEEP)
    code = f"import time; time.sleep(4)\n{STOP}"
    stopper = subprocess.Popen([sys.executable, "-c", code, "conn-stops"])
    (result,) = run.play({"ansible.builtin.raw": "trap '' TERM; while sleep 1 || true; do :; done"}, hosts="conn-stops")
    assert stopper.wait() == 0
    assert result.get("unreachable"), run.said
    lifecycle.set_state(guests.site, "conn-stops", "absent", {"timeout": 0})
    lifecycle.remove_root(guests.site, "conn-stops")


STOP = """
import sys
from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
lifecycle.set_state(Site(), sys.argv[1], "stopped", {"timeout": 0})
"""


def test_a_root_that_lays_links_reaches_nothing_of_the_host(run: Controller, host: tuple[Guests, Path]) -> None:
    """Its temporary directories and the file to write lead, by links, where only the host has something."""
    guests, _key = host
    outside = Path("/run/vserver/precious")
    outside.write_text("the host's")
    guests.run(GUEST, "sh", "-c", f"mkdir -p /run/vserver; ln -sfn /run/vserver /root/out; ln -sf {outside} /root/link")
    (run.place / "new").write_text("from outside")
    run.play(
        {"ansible.builtin.copy": {"src": str(run.place / "new"), "dest": "/root/out/planted"}},
        {
            "ansible.builtin.copy": {
                "src": str(run.place / "new"),
                "dest": "/root/link",
                "follow": True,
                "unsafe_writes": True,
            }
        },
    )
    assert outside.read_text() == "the host's"
    assert not Path("/run/vserver/planted").exists()
    assert guests.run(GUEST, "cat", "/run/vserver/planted") == "from outside"
    outside.unlink()


def test_errors_that_look_like_ours_are_the_commands_own(run: Controller) -> None:
    """Neither the words of the program nor a made-up report pass for the real ones."""
    said = f"vserver: guest {GUEST} does not run"
    (result,) = run.play({"ansible.builtin.raw": f"echo '{said}' >&2; echo {'0' * 32} 0 >&2; exit 1"})
    assert result["rc"] == 1 and said in result["stderr"] and not result.get("unreachable"), run.said


def test_a_large_file_needs_little_memory(run: Controller, tmp_path: Path) -> None:
    """By the plugin alone, as modules that copy keep their own copies."""
    (tmp_path / "large").write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    said = run.transfer(tmp_path, GUEST, "large")
    assert said.returncode == 0, said
    grown = int(said.stdout.splitlines()[-1])
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    assert grown < 90_000, f"{grown} KiB"


TRANSFER = """
import resource, sys
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
init_plugin_loader()
place, guest, name = sys.argv[1:]
loader = DataLoader()
inventory = InventoryManager(loader, sources=[place + "/i.json"])
manager = VariableManager(loader, inventory)
variables = manager.get_vars(host=inventory.get_host(guest))
variables["hostvars"] = HostVars(inventory, manager, loader)
connection = connection_loader.get("linux.vserver.guest", PlayContext())
templar = Templar(loader, variables)
options = connection._resolve_option_variables(variables, templar)
connection.set_options(task_keys={"timeout": 10}, var_options=options)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
connection.put_file(place + "/" + name, "/root/" + name)
connection.fetch_file("/root/" + name, place + "/back")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_time_of_a_task(run: Controller) -> None:
    """On the host and in a guest of it, from the same play; a clock here proves little."""
    turns = 10
    found = run.play(*[{"ansible.builtin.command": {"cmd": "true"}}] * turns, hosts=f"host1:{GUEST}", serial=1)
    began = [datetime.datetime.fromisoformat(result["start"]) for result in found]
    on_host, in_guest = (
        statistics.median(later - one for one, later in itertools.pairwise(began[first : first + turns]))
        for first in (0, turns)
    )
    assert in_guest < 3 * on_host, (in_guest, on_host)


#: What a process is confined by, as it sees that itself.
CONFINED = """
cat /proc/self/cgroup; grep -E "^(Cap|Seccomp|Groups|Uid)" /proc/self/status; readlink /proc/self/ns/*; ulimit -a; env
"""


def test_a_task_goes_by_what_was_noted_of_its_guest(host: tuple[Guests, Path]) -> None:
    """Which is found out anew when it was damaged, or when the guest has changed."""
    guests, _key = host
    site, note = guests.site, guests.site.bundle(GUEST) / "entrance"

    def task() -> str:
        words = [site.program, "task", "word", GUEST, "/bin/sh", "-c", CONFINED]
        ended = subprocess.run(words, capture_output=True, text=True, check=True)
        assert ended.stderr == "word 0\n", ended
        return ended.stdout

    note.unlink(missing_ok=True)
    said = task()
    noted = note.read_bytes()
    assert task() == said and note.stat().st_mode & 0o777 == 0o600
    question, answer = marshal.loads(noted)
    forged = marshal.dumps((question, {**answer, "environment": {**answer["environment"], "FORGED": "1"}}))
    note.write_bytes(forged)
    assert "FORGED=1" in task(), "the note is not read"
    for damaged in (b"", noted[:-9], b"{}", marshal.dumps((question, {})), marshal.dumps(question), marshal.dumps(1)):
        note.write_bytes(damaged)
        assert task() == said and note.read_bytes() == noted
    lifecycle.configure(site, GUEST, "limits", {"rlimits": {"nofile": 99}})
    changed = [line for line in task().splitlines() if line not in said.splitlines()]
    assert len(changed) == 1 and changed[0].endswith(" 99"), changed


def test_reboot_and_wait(run: Controller, host: tuple[Guests, Path]) -> None:
    guests, _key = host
    guests.start("conn-boots", addresses=["127.0.94.3"])
    guests.wait_booted("conn-boots")
    answers = run.play(
        {"ansible.builtin.reboot": {"boot_time_command": "stat --format %Y /proc/1", "reboot_timeout": 60}},
        {"ansible.builtin.wait_for_connection": {"timeout": 30}},
        hosts="conn-boots",
    )
    assert answers[0]["rebooted"] and not answers[1].get("failed"), run.said
    lifecycle.set_state(guests.site, "conn-boots", "absent", {"timeout": 0})
    lifecycle.remove_root(guests.site, "conn-boots")
    eventually(lambda: not guests.traces("conn-boots"), "it left something")


TEMPLATES = {"key": "vserver_info.root.template", "prefix": "template"}


def test_guests_are_found(run: Controller) -> None:
    """On the host that answers, in spite of the one that does not."""
    place = run.place / "inventory"
    place.mkdir()
    hosts = inventory(run.way, run.key)["vserver_hosts"]["hosts"]
    hosts["silent"] = {"ansible_host": "127.0.0.1", "ansible_port": ssh_host.PORT + 1}
    (place / "hosts.json").write_text(json.dumps({"vserver_hosts": {"hosts": hosts}}))
    source = place / "zz.vserver.yml"
    source.write_text(json.dumps({"plugin": "linux.vserver.guests", "keyed_groups": [TEMPLATES]}))

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "HOME": str(run.place), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(run.place / "cp")}
        command = [str(TOOLS / "ansible-inventory"), "-i", str(place), *words]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)

    listed = ask("--list")
    answer = json.loads(listed.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
    assert GUEST in answer["_meta"]["hostvars"], listed
    found = answer["_meta"]["hostvars"][GUEST]
    assert (found["vserver_host"], found["vserver_info"]["state"]) == ("host1", "running")
    groups = {name for name, group in answer.items() if GUEST in group.get("hosts", ())}
    assert groups >= {
        "vserver_guests",
        "vserver_host_host1",
        "vserver_state_running",
        "template_debian",
    }
    assert "silent" in listed.stderr
    assert f"--{GUEST}" in ask("--graph", "vserver_state_running").stdout
    source.write_text(json.dumps({"plugin": "linux.vserver.guests", "strict": True}))
    assert GUEST not in ask("--list").stdout
