# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests with real guests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import store
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import neighbour, templates
from .guests import Guests
from .neighbour import Neighbours
from .templates import debian_template, debootstrap_template, peers_template, programs_template, rpms_template

__all__ = ["debian_template", "debootstrap_template", "peers_template", "programs_template", "rpms_template"]

Tell = Callable[[str], None]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuses to run where the machine's own guests are within reach."""
    if "VSERVER_TEST_HOST_NETWORK" not in os.environ:
        pytest.exit("these tests make and destroy guests: run them with tests/run integration, as root", returncode=2)


@pytest.fixture(scope="session")
def template_cache() -> Path:
    """A directory that outlives the run, for what takes long to build."""
    return Path(os.environ["VSERVER_TEST_CACHE"])


@pytest.fixture(scope="session")
def online() -> tuple[str, ...]:
    """Words to put before a command that has to fetch something: the tests' own network ends at its loopback."""
    return ("nsenter", f"--net={os.environ['VSERVER_TEST_HOST_NETWORK']}", "--")


@pytest.fixture(scope="session")
def site(debian_template: Path) -> Iterator[Site]:
    """The places of this run's guests, with the template ``debian``."""
    run = Path("/run/vserver")
    run.chmod(0o711)
    place = Site(Path("/var/lib/vserver/tests"), run / "tests", "vserver-tests")
    store.prepare(place)
    with templates.provided(place, debian_template):
        yield place


@pytest.fixture
def guests(site: Site) -> Iterator[Guests]:
    """Guests of this test, gone when it ends."""
    made = Guests(site, templates.NAME)
    yield made
    made.remove_all()


@pytest.fixture(scope="module")
def neighbours(site: Site) -> Iterator[Neighbours]:
    """A guest beside those of the tests of a module, and the host, which tell what they feel of them."""
    guests = Guests(site, templates.NAME)
    try:
        with neighbour.living(guests) as probes:
            yield probes
    finally:
        guests.remove_all()


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Say what was measured, in a line with the test's name, also when the test passes."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {request.node.name}: {line}", end=" ")

    return say
