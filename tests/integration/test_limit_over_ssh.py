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
from .guests import SLEEP, Guests
from .test_modules import ansible

TEMPLATE = "limited"
NAMES = ("far1", "far2", "far3")


class Operator:
    """Runs playbooks for a host behind an sshd, and counts how often somebody has logged in there."""

    def __init__(self, place: Path, key: Path) -> None:
        self._place, self._log = place, key.parent / "log"
        wanted = {"vserver_template": TEMPLATE, "vserver_init": list(SLEEP), "vserver_timeout": 0}
        inventory = ssh_host.inventory("ssh", key, NAMES, **wanted)
        # A connection for each task, so that each is counted.
        inventory["vserver_hosts"]["hosts"][ssh_host.HOST]["ansible_ssh_args"] = (
            "-o ControlMaster=no -o ControlPath=none"
        )
        (place / "inventory.json").write_text(json.dumps(inventory))

    def logins(self) -> int:
        return self._log.read_text().count("Accepted publickey for root")

    def play(self, name: str, limit: str) -> tuple[str, int]:
        """What it says, and how many logins it took."""
        before = self.logins()
        said = ansible(f"linux.vserver.{name}", "-i", str(self._place / "inventory.json"), "--limit", limit)
        return said, self.logins() - before


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
        ("freeze", "far3", {"far1": "running", "far2": "stopped", "far3": "frozen"}),
        ("thaw", "far3", {"far1": "running", "far2": "stopped", "far3": "running"}),
        ("start", "far2", {"far1": "running", "far2": "running", "far3": "running"}),
    ):
        said, logins = operator.play(playbook, limit)
        assert states() == expected, said
        assert logins and f"{ssh_host.HOST} " not in said.rpartition("PLAY RECAP")[2], said
    before = info.guest(Site(), "far1")["pid"], info.guest(Site(), "far2")["pid"]
    operator.play("restart", "far1")
    assert info.guest(Site(), "far1")["pid"] != before[0] and info.guest(Site(), "far2")["pid"] == before[1]
    said, logins = operator.play("site", "far1")
    assert logins and "changed=0 " in said.rpartition("PLAY RECAP")[2], said
    said, logins = operator.play("status", "far2")
    assert logins and "far2" in said and "running" in said
