# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks on hosts of the lab, and the guests that tests have there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .laboratory import Lab

#: An emulated host on a busy machine takes its time.
PATIENCE = 1800.0
HOST = "linux.vserver.host"
CREATE = "linux.vserver.create"


def sleepers(count: int, first: int) -> list[dict[str, Any]]:
    """Guests that only sleep, with the addresses from 10.86.0.``first`` on."""
    return [
        {
            "name": f"guest{number}",
            "template": "debian",
            "addresses": [f"10.86.0.{first + number}"],
            "init": ["/bin/sleep", "infinity"],
        }
        for number in range(count)
    ]


@dataclass(frozen=True)
class Play:
    """A run of ansible-playbook that has begun, and the file with what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def ends(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def changes(self, host: str) -> int:
        """How many tasks changed something, of a run that has to have succeeded."""
        assert self.ends() == 0, self.said
        # Each playbook ends with the sums so far.
        found = re.findall(rf"^{host} .* changed=(\d+) ", self.said, re.MULTILINE)
        assert found, self.said
        return int(found[-1])


def begin(
    lab: Lab, log: Path, playbooks: Sequence[str], *options: str, limit: str = "all", guests: Sequence[Any] = ()
) -> Play:
    words = ["ansible-playbook", "-i", str(lab.remote.inventory), "--limit", limit, *options, *playbooks]
    words += ["--extra-vars", json.dumps({"vserver_guests": list(guests)})]
    with log.open("wb") as output:
        return Play(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT), log)


def inside(lab: Lab, host: str, guest: str, command: str) -> str:
    """What a shell command prints inside a guest, where it must succeed."""
    return lab.remote.run(host, f"vserver exec {guest} -- {command}")
