# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from .__main__ import place
from .laboratory import Lab
from .machine import Hardware
from .plays import HOST, begin


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuses to run where nobody said which lab."""
    if "VSERVER_LAB" not in os.environ:
        pytest.exit("these tests end the lab's hosts: run them with tests/run lab, as root", returncode=2)


@pytest.fixture(scope="session")
def running_lab() -> Lab:
    """host1 with Debian 12 and host2 with Debian 13; whoever named the lab takes it down."""
    lab = Lab(place(), os.environ["VSERVER_LAB"], say)
    lab.up(["bookworm", "trixie"], Hardware())
    return lab


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """The lab, with its network whole and all of its hosts on when the test ends."""
    yield running_lab
    running_lab.heal()
    running_lab.power_on(())


@pytest.fixture(scope="session")
def saved_lab(running_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The lab, saved with all hosts ready for guests and a template there."""
    running_lab.reset(())
    log = tmp_path_factory.mktemp("prepared") / "host.log"
    play = begin(running_lab, log, [HOST])
    for host in running_lab.machines():
        with open(os.environ["VSERVER_TEMPLATE_ARCHIVE"], "rb") as archive:
            subprocess.run(running_lab.remote.words(host, "cat >/root/debian.tar.zst"), stdin=archive, check=True)
        assert play.changes(host) > 0
    words = ["ansible", "-i", str(running_lab.remote.inventory), "all", "-m", "linux.vserver.template"]
    subprocess.run([*words, "-a", "name=debian method=archive source=/root/debian.tar.zst"], check=True)
    running_lab.save()
    return running_lab


@pytest.fixture(scope="module")
def shared_lab(saved_lab: Lab) -> Lab:
    """The lab, prepared once for the tests of a module, each of which leaves no guest behind."""
    saved_lab.restore(())
    return saved_lab


@pytest.fixture
def prepared(saved_lab: Lab, lab: Lab) -> Callable[..., Lab]:
    """Answers the lab, with the hosts of these names, or all, ready for guests, a template there, and no guest yet."""

    def restored(*hosts: str) -> Lab:
        lab.restore(hosts)
        return lab

    return restored
