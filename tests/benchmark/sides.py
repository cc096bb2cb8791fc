# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both sides of a figure, and how ours is called."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .ground import Ground
from .measure import Sample, Say, Stopwatch, alternate

_CALL = f"{__package__}.call"


@dataclass(frozen=True)
class Values:
    """What both sides took, and what the other one was."""

    ours: float
    peers: float | None = None
    peer: str | None = None


Measure = Callable[[Ground, int, Say], Values]


def call(ground: Ground, function: str, *arguments: object) -> float:
    """The milliseconds that one call into the engine takes. A failed one says why on standard error."""
    command = [sys.executable, "-m", _CALL, ground.site.cgroup, function, json.dumps(arguments)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def side_by_side(ours: Sample, peer: Sample | None, doing: str | None, rounds: int, say: Say) -> Values:
    value, other = alternate(ours, peer, rounds, say)
    return Values(value, other, doing)


def task(module: str, arguments: Mapping[str, Any]) -> float:
    """The milliseconds that a playbook of one task on this host takes, Ansible itself included. It changes nothing."""
    watch = Stopwatch()
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{module: arguments}]}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as book:
        json.dump([play], book)
        book.flush()
        command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", book.name]
        # Finding an interpreter is Ansible's business, not the module's.
        command += ["--extra-vars", f"ansible_python_interpreter={sys.executable}"]
        with watch.running():
            result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"ok=1 +changed=0 .* failed=0 ", result.stdout), result.stdout[:2000] + result.stderr
    return watch.milliseconds
