# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new user types first: ./quickstart in a fresh copy, again, and ./quickstart destroy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_processes
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import Guests

REPOSITORY = Path(__file__).resolve().parents[2]
STATE, RUN = Path("/var/lib/vserver"), Path("/run/vserver")


def traces(online: Sequence[str]) -> set[str]:
    """What quickstart could leave on the host."""
    addresses = subprocess.run([*online, "ip", "-o", "address"], capture_output=True, text=True, check=True).stdout
    return {
        *(f"mount {line.split(' ')[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        *(f"cgroup {path}" for path in cgroup.hierarchies(cgroup.layout(), "vserver")),
        *(" ".join(line.split()[1:4]) for line in addresses.splitlines()),
        *(f"file {place / name}" for place in (STATE, RUN) for name in os.listdir(place)),
        *(f"file {program}" for program in [str(Site().program)] if os.path.exists(program)),
    }


def test_quickstart(tmp_path: Path, online: tuple[str, ...]) -> None:
    for name in ("web1", "web2"):
        groups = cgroup.hierarchies(cgroup.layout(), f"vserver/{name}")
        busy = [pid for group in groups for pid in cgroup_processes.ids(group)]
        assert not busy, f"this machine runs a guest {name} of its own; destroy it first"
    clone = tmp_path / "clone"
    shutil.copytree(REPOSITORY, clone, symlinks=True, ignore=shutil.ignore_patterns(".git", ".quickstart", ".cache"))
    before = traces(online)

    def quickstart(*arguments: str) -> str:
        command = [*online, str(clone / "quickstart"), *arguments]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert result.returncode == 0, result.stdout
        return result.stdout

    first, second = quickstart(), quickstart()
    assert " changed=0" in second
    assert "\033" not in first, "colours are for terminals"
    for output in (first, second):
        table = [line.split() for line in output.splitlines() if re.match(r"GUEST|web\d ", line)]
        assert [row[0] for row in table] == ["GUEST", "web1", "web2"]
        for number, row in enumerate(table[1:], 1):
            assert row[2:4] == [f"127.0.80.1{number}", "running"], row
            assert int(row[1]) >= 28672 and int(row[4]) >= 3 and re.fullmatch(r"[\d.]+[KMG]", row[5]), row
            assert f"web{number}, at home on 127.0.80.1{number}" in output
    quickstart("destroy")
    assert traces(online) - before == set()
    assert not (clone / ".quickstart").exists()
    assert Guests.fetch("http://127.0.80.11/") is None
