# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task costs in a guest that is reached through an sshd of its host, beside the same task on that host.

Both have one ssh connection that is open already, pipelining, and the distribution's Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from ..integration import ssh_host
from ..integration.guests import SLEEP, Guests
from .ground import Ground
from .measure import Say, Stopwatch
from .sides import Values, side_by_side

TASKS = 20
_GUEST = "connected"
_PYTHON = {"ansible_python_interpreter": "/usr/bin/python3"}


@dataclass(frozen=True)
class Controller:
    """Runs plays from a directory of its own."""

    place: Path

    def milliseconds(self, hosts: str) -> float:
        """What one of a play's tasks takes on ``hosts``; the task that makes the connection is not among them."""
        play = self.place / f"{hosts}.json"
        tasks = [{"name": "connect", "ansible.builtin.ping": {}}]
        tasks += [{"name": f"task {number}", "ansible.builtin.ping": {}} for number in range(TASKS)]
        play.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": tasks}]))
        variables = {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.place / "cp"),
        }
        words = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.place / "hosts.json"), play]
        said, watch = [], Stopwatch()
        with subprocess.Popen(words, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            said += _until("TASK [task 0]", running.stdout)
            with watch.running():
                said += _until("PLAY RECAP", running.stdout)
            said += running.stdout
        assert running.returncode == 0 and f"ok={TASKS + 1}" in said[-2], said
        return watch.milliseconds / TASKS


def _until(beginning: str, lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if line.startswith(beginning):
            return


@contextmanager
def controlled(ground: Ground) -> Iterator[tuple[Controller, str, str]]:
    """A controller, and the names of a host and of a guest. It is where the program looks for guests."""
    site = Site()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        guests = Guests(site, ground.guests.template)
        try:
            with ssh_host.sshd(place) as key:
                guests.start(_GUEST, init=SLEEP, timeout=0)
                hosts = ssh_host.inventory("ssh", key, [_GUEST], **_PYTHON)
                hosts["vserver_hosts"]["hosts"][ssh_host.HOST].update(_PYTHON)
                (place / "hosts.json").write_text(json.dumps({"all": {"children": hosts}}))
                yield Controller(place), ssh_host.HOST, _GUEST
        finally:
            ssh_host.end_masters(place / "cp")
            guests.remove_all()


def task(ground: Ground, rounds: int, say: Say) -> Values:
    with controlled(ground) as (controller, host, guest):
        return side_by_side(
            lambda: controller.milliseconds(guest),
            lambda: controller.milliseconds(host),
            "the same on the host",
            rounds,
            say,
        )
