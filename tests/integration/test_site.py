# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example inventory of the documentation, with both of its hosts on this one, run as an operator runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish

from . import templates
from .test_modules import ansible

INVENTORY = Path(__file__).parents[2] / "docs" / "inventory"
INIT = ["/bin/sleep", "infinity"]
HOST1 = [f"web{number}" for number in range(101, 111)]
HOST1 += [f"app{number}" for number in range(111, 123)] + [f"db{number}" for number in range(123, 126)]


class Fleet:
    """Runs playbooks on the inventory, and tells what is true on this host."""

    def __init__(self, place: Path) -> None:
        self.place, self.site = place, Site()
        self.said = ""
        tree = templates.tiny_tree(place / "tree", ["sh", "sleep"])
        (tree / "srv").mkdir()
        hosts = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            # What is installed on this machine is enough for it.
            "vserver_host_packages": [],
            "vserver_host_program": False,
            "vserver_host_sysctls": {},
            "vserver_templates": [{"name": "debian-12", "method": "directory", "source": str(tree)}],
        }
        self.variables(vserver_hosts=hosts, vserver_guests={"vserver_init": INIT}, all={"site_network": "127.0.95"})
        # Locked to an address of their own are only services of a systemd.
        self.given = ["--extra-vars", json.dumps({"vserver_host_units": []})]

    def variables(self, **groups: dict[str, Any]) -> None:
        """What is different from the example, for each group."""
        for group, variables in groups.items():
            file = self.place / "inventory" / "group_vars" / f"{group}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(variables))
        (self.place / "inventory" / "none.yml").write_text("{}")

    def play(self, name: str, *words: str, fails: bool = False) -> dict[str, int]:
        """Host → how many tasks changed something there; hosts that did not take part are left out."""
        sources = ["--inventory", str(INVENTORY), "--inventory", str(self.place / "inventory")]
        self.said = ansible(f"linux.vserver.{name}", *sources, *self.given, *words, fails=fails)
        recap = self.said.rpartition("PLAY RECAP")[2].splitlines()[1:]
        return {line.split()[0]: int(line.rpartition("changed=")[2].split()[0]) for line in recap if " : " in line}

    def states(self) -> dict[str, str]:
        return {guest["name"]: guest["state"] for guest in info.guests(self.site)}

    def pids(self) -> dict[str, int]:
        return {guest["name"]: guest["pid"] for guest in info.guests(self.site)}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The inventory, converged on."""
    found = Fleet(tmp_path_factory.mktemp("site"))
    foretold = found.play("site", "--limit", "host1", "--check", "--diff")
    assert foretold["host1"] > 0 and "guest web101" in found.said and found.states() == {}
    try:
        assert found.play("site", "--limit", "host1")["host1"] > 0
        yield found
    finally:
        found.play("destroy")
        assert not list(found.site.guests.iterdir())


def test_all_guests_run_as_the_inventory_says(fleet: Fleet) -> None:
    assert sorted(fleet.states()) == sorted(HOST1) and set(fleet.states().values()) == {"running"}
    guest = info.guest(fleet.site, "db123")
    assert guest["addresses"] == ["127.0.95.123"]
    assert (guest["limits"]["memory"], guest["limits"]["processes"]) == (1 << 30, 300)
    assert guest["context"]["timeout"] == 120 and guest["context"]["autostart"]


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    before = fleet.pids()
    assert fleet.play("site", "--limit", "host1") == {"host1": 0}
    assert fleet.play("site", "--limit", "host1", "--check", "--diff") == {"host1": 0}
    assert fleet.pids() == before


def test_the_other_host_and_one_after_the_other(fleet: Fleet) -> None:
    made = fleet.play("site", "--extra-vars", "vserver_serial=1")
    assert made["host1"] == 0 and made["host2"] > 0
    assert fleet.said.count("PLAY [Make hosts, templates and guests") == 2
    assert len(fleet.states()) == 50
    assert fleet.play("destroy", "--limit", "host2")["host2"] == 1
    assert sorted(fleet.states()) == sorted(HOST1)


@pytest.mark.parametrize(
    ("limit", "who", "changed"),
    [
        ("web101", "web101", ["web101"]),
        ("web101:web102", "web101", ["web101", "web102"]),
        ("web:&on_host1", "web101", HOST1[:10]),
        ("host1:!web101:!app:!db", "host1", HOST1[1:10]),
        ("host1", "host1", HOST1),
    ],
)
def test_a_limit(fleet: Fleet, limit: str, who: str, changed: list[str]) -> None:
    """Guests that it does not name are left alone, although they are not what they should be."""
    fleet.play("stop", "--limit", "host1")
    assert set(fleet.states().values()) == {"stopped"}
    assert fleet.play("site", "--limit", limit, "--diff") == {who: 1}
    assert sorted(name for name, state in fleet.states().items() if state == "running") == sorted(changed)
    fleet.play("start", "--limit", "host1")


def test_a_stage_by_its_tag(fleet: Fleet) -> None:
    fleet.play("stop", "--limit", "web101")
    for tag in ("host", "template"):
        assert fleet.play("site", "--limit", "host1", "--tags", tag) == {"host1": 0}
        assert fleet.states()["web101"] == "stopped"
    assert fleet.play("site", "--limit", "host1", "--tags", "guests") == {"host1": 1}
    assert fleet.states()["web101"] == "running"


def test_states_of_those_that_run(fleet: Fleet) -> None:
    fleet.play("stop", "--limit", "web101")
    before = fleet.pids()
    limit = ("--limit", "web101:web102")
    assert fleet.play("freeze", *limit) == {"web101": 1}
    assert (fleet.states()["web101"], fleet.states()["web102"]) == ("stopped", "frozen")
    assert fleet.play("freeze", *limit) == {"web101": 0}
    assert fleet.play("thaw", *limit) == {"web101": 1}
    assert (fleet.states()["web101"], fleet.states()["web102"]) == ("stopped", "running")
    assert fleet.pids()["web102"] == before["web102"]
    assert fleet.play("restart", *limit) == {"web101": 1}
    after = fleet.pids()
    assert [name for name, pid in after.items() if pid != before[name]] == ["web102"]
    assert fleet.states()["web101"] == "stopped"
    assert fleet.play("start", *limit) == {"web101": 1}


def test_a_guest_that_fails_is_its_hosts_failure(fleet: Fleet) -> None:
    """The others of that host are done; other hosts are, unless more have failed than may."""
    wrong = {"all": {"hosts": {"web103": {"vserver_template": "nosuch"}}}}
    (fleet.place / "inventory" / "none.yml").write_text(json.dumps(wrong))
    only = ("--tags", "guests", "--limit", "host1:web131:web132")
    fleet.play("stop", "--limit", "web103:web104")
    fleet.play("site", *only, "--extra-vars", "vserver_serial=1 vserver_max_fail_percentage=0", fails=True)
    assert "1 of 25 guests failed. web103:" in fleet.said and "nosuch" in fleet.said
    assert (fleet.states()["web103"], fleet.states()["web104"]) == ("stopped", "running")
    assert "web131" not in fleet.states()
    fleet.play("site", *only, fails=True)
    assert fleet.states()["web131"] == fleet.states()["web132"] == "running"
    fleet.play("destroy", "--limit", "web131:web132")
    (fleet.place / "inventory" / "none.yml").write_text("{}")
    assert fleet.play("site", *only[:2], "--limit", "host1") == {"host1": 1}
    assert sorted(fleet.states()) == sorted(HOST1) and set(fleet.states().values()) == {"running"}


def test_a_misspelled_variable_is_refused(fleet: Fleet) -> None:
    before = fleet.pids()
    fleet.play("site", "--limit", "web101", "--extra-vars", "vserver_memroy=1G", fails=True)
    assert "vserver_memroy; is vserver_memory meant?" in fleet.said and fleet.pids() == before


def test_status_is_one_table(fleet: Fleet) -> None:
    fleet.play("freeze", "--limit", "web102")
    limited = ["--extra-vars", json.dumps({"vserver_target": "host1:silent"})]
    silent = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ssh"}
    (fleet.place / "inventory" / "none.yml").write_text(json.dumps({"all": {"hosts": {"silent": silent}}}))
    fleet.play("status", *limited, fails=True)
    lines = [line.strip().strip('",') for line in fleet.said.partition('"msg": [')[2].partition("]")[0].splitlines()]
    heading, *rows = [line for line in lines if line]
    assert heading.split()[:5] == ["HOST", "GUEST", "XID", "ADDRESS", "STATE"]
    assert len({len(row[: heading.index("STATE")]) for row in rows}) == 1
    found = {row.split()[1]: (row.split()[0], row[heading.index("STATE") :].split()[0]) for row in rows}
    assert found["web101"] == ("host1", "running") and found["web102"] == ("host1", "frozen")
    (words,) = [row.split() for row in rows if row.startswith("silent")]
    assert words[:6] == ["silent", "-", "-", "-", "no", "answer"] and set(words[6:]) == {"-"}
    assert len(rows) == len(HOST1) + 1
    (fleet.place / "inventory" / "none.yml").write_text("{}")
    fleet.play("thaw", "--limit", "web102")
    fleet.play("status", "--limit", "web102:web131")
    assert "web102" in fleet.said and "web101" not in fleet.said and "missing" in fleet.said


def test_rebuild(fleet: Fleet) -> None:
    limit = ("--limit", "web101:web102")
    fleet.play("rebuild", *limit, "--extra-vars", '{"vserver_data": null}', fails=True)
    assert "nothing says what of guest web101 is kept" in fleet.said
    before, pids = info.guests(fleet.site, ["web101", "web102"]), fleet.pids()
    for guest in before:
        (fleet.site.guest(guest["name"]) / "root/upper/srv").mkdir()
        (fleet.site.guest(guest["name"]) / "root/upper/srv/data").write_text(guest["name"])
        (fleet.site.guest(guest["name"]) / "root/upper/lost").write_text("")
    assert fleet.play("rebuild", *limit, "--diff") == {"web101": 0}, fleet.said
    refreshed = catalog.recorded(fleet.site, "debian-12")
    assert refreshed is not None
    catalog.ensure(fleet.site, refreshed, refresh=True)
    assert fleet.play("rebuild", *limit, "--check") == {"web101": 1}
    assert fleet.play("rebuild", *limit) == {"web101": 1}
    assert [name for name, pid in fleet.pids().items() if pid != pids[name]] == ["web101", "web102"]
    for guest in info.guests(fleet.site, ["web101", "web102"]):
        assert guest["root"]["version"] != before[0]["root"]["version"] and guest["state"] == "running"
        assert (fleet.site.guest(guest["name"]) / "root/upper/srv/data").read_text() == guest["name"]
        assert not (fleet.site.guest(guest["name"]) / "root/upper/lost").exists()
    assert fleet.play("rebuild", *limit) == {"web101": 0}
    assert fleet.play("site", "--limit", "host1", "--tags", "guests") == {"host1": 0}


def test_what_the_inventory_does_not_say_is_left_alone(fleet: Fleet) -> None:
    lifecycle.bring(fleet.site, Wish("stranger", {"root": {"template": "debian-12"}}, "stopped"))
    try:
        assert fleet.play("site", "--limit", "host1", "--tags", "guests") == {"host1": 0}
        assert fleet.states()["stranger"] == "stopped"
    finally:
        lifecycle.bring(fleet.site, Wish("stranger", state="absent", keep_data=False))
