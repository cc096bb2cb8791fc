# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that acts for itself, because ``--limit`` names it and not its host, which is reached by ssh all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog, spec

from . import ssh_host, templates
from .guests import SLEEP, Guests, eventually
from .test_modules import ansible

TEMPLATE = "limited"
NAMES = ("far1", "far2", "far3")


class Operator:
    """Runs playbooks for a host behind an sshd, each with a login of its own there."""

    def __init__(self, place: Path, key: Path) -> None:
        self._place, self._log = place, key.parent / "log"
        wanted = {"vserver_template": TEMPLATE, "vserver_init": list(SLEEP), "vserver_timeout": 0}
        inventory = ssh_host.inventory("ssh", key, NAMES, **wanted)
        inventory["vserver_hosts"]["hosts"][ssh_host.HOST]["ansible_control_path_dir"] = str(place / "cp")
        (place / "inventory.json").write_text(json.dumps(inventory))

    def play(self, name: str, limit: str) -> str:
        """What it says; it has to have been at the host, by ssh."""
        eventually(self._log.exists, "sshd does not start")
        before = self._log.read_text()
        said = ansible(f"linux.vserver.{name}", "-i", str(self._place / "inventory.json"), "--limit", limit)
        ssh_host.end_masters(self._place / "cp")
        assert "Accepted publickey for root" in self._log.read_text()[len(before) :], said
        assert f"{ssh_host.HOST} " not in said.rpartition("PLAY RECAP")[2], said
        return said


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    site = Site()
    tree = templates.tiny_tree(tmp_path / "tree", ["sh", "sleep"])
    catalog.ensure(site, spec.parse({"name": TEMPLATE, "method": "directory", "source": str(tree)}))
    guests = Guests(site, TEMPLATE, list(NAMES))
    try:
        with ssh_host.sshd(tmp_path) as key:
            yield Operator(tmp_path, key)
    finally:
        guests.remove_all()
        catalog.absent(site, TEMPLATE)


def states() -> dict[str, str]:
    return {guest["name"]: guest["state"] for guest in info.guests(Site())}


def test_it_acts_over_ssh_for_itself_alone(operator: Operator) -> None:
    for playbook, limit, expected in (
        ("create", "far1", {"far1": "running"}),
        ("create", "far2:far3", {"far1": "running", "far2": "running", "far3": "running"}),
        ("stop", "far2", {"far1": "running", "far2": "stopped", "far3": "running"}),
    ):
        said = operator.play(playbook, limit)
        assert states() == expected, said
    before = states(), info.guest(Site(), "far1")["pid"]
    assert "changed=0 " in operator.play("site", "far1").rpartition("PLAY RECAP")[2]
    assert (states(), info.guest(Site(), "far1")["pid"]) == before
    said = operator.play("status", "far2")
    assert "far2" in said and "stopped" in said and "far3" not in said
