# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Platforms of molecule: guests that boot systemd, beside containers of podman that sleep.

Theirs are made as molecule-plugins makes them, by a task of ``podman run`` and one that waits for all; Ansible's own
start is part of both.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from ..integration.guests import Guests
from . import rivals
from .call import address
from .catalogue import PLATFORMS
from .ground import Ground
from .measure import Say, Stopwatch
from .sides import Measure, Values

#: Seconds that a playbook may take, on a machine that does a lot beside.
_PATIENCE = 300.0
_STEPS = ("create", "destroy")
_NAMES = [f"platform{number}" for number in range(1, PLATFORMS + 1)]
_RUN = ["podman", "run", "--detach", "--name", "{{ item }}", "--network", "none", "localhost/tree", "sleep", "infinity"]
_REMOVE = ["podman", "rm", "--force", "--time", "0", "{{ item }}"]


def _inventory(template: str) -> dict[str, Any]:
    hosts = {name: {"vserver_addresses": [address(number)]} for number, name in enumerate(_NAMES, 1)}
    variables = {"ansible_connection": "linux.vserver.guest", "vserver_template": template, "vserver_interface": "lo"}
    return {"vserver_guests": {"hosts": hosts, "vars": variables}}


def _of_podman(argv: list[str]) -> list[dict[str, Any]]:
    """A play that runs a command for each container, all at a time."""
    run = {"ansible.builtin.command": {"argv": argv}, "loop": _NAMES, "async": 300, "poll": 0, "register": "begun"}
    wait = {
        "ansible.builtin.async_status": {"jid": "{{ item.ansible_job_id }}"},
        "loop": "{{ begun.results }}",
        "register": "ended",
        "until": "ended.finished",
        "retries": 300,
        "delay": 0.1,
    }
    return [{"hosts": "localhost", "gather_facts": False, "tasks": [run, wait]}]


def _play(place: Path, playbook: str) -> float:
    """The milliseconds that a playbook takes, one of ours or a file of ``place``."""
    watch = Stopwatch()
    words = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(place / "inventory.json"), playbook]
    settings = {
        **rivals.environment(place),
        "ANSIBLE_FORKS": str(PLATFORMS),
        "ANSIBLE_ASYNC_DIR": str(place / "jobs"),
        "PYTHONPATH": os.environ["PYTHONPATH"],
    }
    with watch.running():
        result = subprocess.run(words, env=settings, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    return watch.milliseconds


@contextlib.contextmanager
def _platforms(ground: Ground) -> Iterator[Path]:
    """A directory with an inventory of guests, and the plays of podman."""
    site = Site()  # where the program looks
    guests = Guests(site, ground.guests.template, list(_NAMES))
    with rivals.prepared(ground) as place:
        rivals.import_tree(ground, place)
        (place / "inventory.json").write_text(json.dumps(_inventory(ground.guests.template)))
        for name, argv in (("create", _RUN), ("destroy", _REMOVE)):
            (place / f"{name}.json").write_text(json.dumps(_of_podman(argv)))
        try:
            yield place
        finally:
            guests.remove_all()


@functools.cache
def _taken(_site: str) -> dict[str, Values]:
    """Holds what the one run has found, which both figures are from."""
    return {}


def _step(step: str, ground: Ground, rounds: int, say: Say) -> Values:
    found = _taken(ground.site.cgroup)
    if not found:
        found.update(_measure(ground, rounds, say))
    return found[step]


def _measure(ground: Ground, rounds: int, say: Say) -> dict[str, Values]:
    """Platforms created and destroyed by turns. A round of each comes first and does not count: it fills caches."""
    with _platforms(ground) as place:
        sides = {
            "guests": {step: f"linux.vserver.molecule.{step}" for step in _STEPS},
            "podman": {step: str(place / f"{step}.json") for step in _STEPS},
        }
        taken: dict[tuple[str, str], list[float]] = {(side, step): [] for side in sides for step in _STEPS}
        for number in range(rounds + 1):
            for side, playbooks in sides.items():
                for step, playbook in playbooks.items():
                    took = _play(place, playbook)
                    say(f"{number or 'warm-up'}: {side} {step} {took:.0f}")
                    if number:
                        taken[side, step].append(took)
    return {
        step: Values(*(statistics.median(taken[side, step]) for side in ("guests", "podman")), f"podman {step}")
        for step in _STEPS
    }


MEASURES: Mapping[str, Measure] = {f"molecule-{step}": functools.partial(_step, step) for step in _STEPS}
