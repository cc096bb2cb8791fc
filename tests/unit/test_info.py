# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of guests that end, or vanish, while they are looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, store, usage
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets.order import FACETS
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.running import Running
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


@pytest.fixture(name="site")
def made_site(tmp_path: Path) -> Site:
    return Site(state=tmp_path / "state", run=tmp_path / "run")


def test_of_a_guest_that_ends_meanwhile_nothing_is_in_force(site: Site) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    guest = Guest("web1", context=Context(xid=28672))
    ended = Running(child, 1, "/usr/bin/crun", "2026-01-01T00:00:00+00:00", guest)
    assert info.observe(site, guest, ended) == dict.fromkeys(FACETS)


def test_a_guest_that_vanishes_meanwhile_is_left_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "names", lambda _site: ["gone"])
    assert usage.gathered(site, None, ("disk", "usage")) == []
