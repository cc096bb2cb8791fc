# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program ``vserver`` with a real guest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, info
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import Guests, eventually


@pytest.fixture
def here(debian_template: Path) -> Iterator[Guests]:
    """Guests at the places the program knows."""
    place = Site()
    with templates.provided(place, debian_template) as name:
        made = Guests(place, name)
        yield made
        made.remove_all()
    engine_file.absent(place)


def vserver(*words: str) -> str:
    said = subprocess.run([Site().program, *words], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said
    return said.stdout


def test_a_guest_it_started_outlives_the_file_and_still_reboots(here: Guests) -> None:
    site = here.site
    engine_file.ensure(site)
    here.define("lasting", addresses=["127.0.83.1"])
    vserver("start", "lasting")
    first = info.guest(site, "lasting")
    assert first["state"] == "running" and first["binding"]["programs"]
    vserver("start", "lasting")
    assert info.guest(site, "lasting")["pid"] == first["pid"]
    here.wait_booted("lasting")
    assert vserver("exec", "lasting", "--", "hostname") == "lasting\n"
    words = [site.program, "exec", "lasting", "--", "sh", "-c", "exit 7"]
    assert subprocess.run(words, check=False, timeout=60).returncode == 7
    entering = subprocess.run(
        [site.program, "enter", "lasting"],
        input="echo $0; exit 3\n",
        text=True,
        timeout=60,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert entering.returncode == 3 and "bash" in entering.stdout, entering
    # Another version: whoever opens the old one by its name now finds other bytes at every offset.
    site.program.write_bytes(os.urandom(100_000))
    here.run("lasting", "systemctl", "--no-block", "reboot")
    eventually(lambda: info.guest(site, "lasting")["pid"] not in (None, first["pid"]), "the guest did not reboot")
    site.program.unlink()
    engine_file.ensure(site)
    vserver("stop", "lasting")
    assert info.state(site, "lasting") == "stopped" and not here.traces("lasting")
    vserver("stop", "lasting")
