# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of the documentation: two hosts with 25 guests each, and what an operator does with them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from .laboratory import Lab
from .network import PREFIX4
from .plays import PATIENCE
from .suite import REPOSITORY

HOSTS = ("host1", "host2")
#: Shows those of guests.
ADDRESSES = f"ip -oneline -4 address show | grep -F ' {PREFIX4}.1' | grep -vE '\\.1[0-9]?/' || true"
#: What is different here, for each group: guests only sleep, as an emulated host would boot 25 of systemd for long.
DIFFERENT = {
    "all": {"site_network": PREFIX4},
    "vserver_hosts": {"vserver_templates": [{"name": "debian", "method": "archive", "source": "/root/debian.tar.zst"}]},
    "vserver_guests": {"vserver_template": "debian", "vserver_init": ["/bin/sleep", "infinity"]},
}


@pytest.fixture
def inventories(shared_lab: Lab, tmp_path: Path) -> list[str]:
    """Options that name the documentation's inventory, and what is different here."""
    variables = tmp_path / "inventory" / "group_vars"
    variables.mkdir(parents=True)
    (variables.parent / "none.yml").write_text("{}")
    for group, different in DIFFERENT.items():
        (variables / f"{group}.json").write_text(json.dumps(different))
    return [
        "-i",
        str(REPOSITORY / "docs/inventory"),
        "-i",
        str(shared_lab.remote.inventory),
        "-i",
        str(variables.parent),
    ]


def run(*words: str) -> str:
    """What a command of Ansible says, where it must succeed."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = subprocess.run(words, text=True, timeout=PATIENCE, check=False, **how)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stdout
    return str(result.stdout)


def changes(said: str) -> dict[str, int]:
    """Host → how many tasks of a playbook changed something there."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +: .* changed=(\d+) ", said, re.MULTILINE)}


def test_two_hosts_with_25_guests_each(shared_lab: Lab, inventories: list[str]) -> None:
    first = changes(run("ansible-playbook", *inventories, "linux.vserver.site"))
    assert first.keys() == set(HOSTS) and all(first.values())
    assert changes(run("ansible-playbook", *inventories, "linux.vserver.site")) == dict.fromkeys(HOSTS, 0)
    # In guests of both hosts, by way of these; and each is itself.
    said = run("ansible", *inventories, "db", "-m", "ansible.builtin.raw", "-a", "hostname", "--one-line")
    itself = re.findall(r"^(\w+) \| CHANGED.*\(stdout\) (\w+)", said, re.MULTILINE)
    assert len(itself) == 6 and all(name == found for name, found in itself)
    for host in HOSTS:
        assert len(shared_lab.remote.run(host, ADDRESSES).splitlines()) == 25
    # One guest of the inventory alone; the others stay as they are.
    narrow = ("--limit", "web131")
    assert run("ansible-playbook", *inventories, "linux.vserver.freeze", *narrow)
    status = run("ansible-playbook", *inventories, "linux.vserver.status")
    assert len(re.findall(r"\bfrozen\b", status)) == 1 and len(re.findall(r"\brunning\b", status)) == 49
    run("ansible-playbook", *inventories, "linux.vserver.destroy")
    for host in HOSTS:
        assert shared_lab.remote.run(host, f"ls -A /var/lib/vserver/guests; {ADDRESSES}") == ""
