# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken, and by whom: by guests as recorded, and as they still run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import files, running, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import process
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Binding, Context, Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.registry import Registry
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

OLD, NEW = "192.0.2.1/24", "192.0.2.2/24"


def named(name: str, address: str, xid: int = 7) -> Guest:
    return Guest(name, binding=Binding((address,)), context=Context(xid=xid))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "state", tmp_path / "run")
    store.prepare(made)
    return made


def record(site: Site, recorded: Guest, runs: Guest | None, pid: int | None = None) -> None:
    """Record a guest, and that it runs, if need be as another, with this process as its process 1."""
    store.save(site, recorded)
    if runs is not None:
        pid = pid or os.getpid()
        files.make_directory(site.bundle(runs.name))
        running.write(site, running.Running(pid, process.start_ticks(pid) or 1, "crun", "2026-01-01", runs))


def holders(registry: Registry, address: str) -> list[Guest]:
    return registry.rivals(named("asks", address, 9))


def test_a_guest_holds_what_is_recorded_and_what_it_runs_with(site: Site) -> None:
    new, old = named("web", NEW), named("web", OLD)
    record(site, new, old)
    registry = Registry(site)
    assert holders(registry, NEW) == holders(registry, OLD) == [new, old]
    assert registry.recorded("web") == new


def test_one_whose_run_is_over_holds_what_is_recorded_only(site: Site) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    record(site, named("web", NEW), named("web", OLD), ended.pid)
    registry = Registry(site)
    assert holders(registry, OLD) == [] and holders(registry, NEW) == [named("web", NEW)]


def test_one_that_becomes_another_holds_what_it_runs_with_until_it_is_dropped(site: Site) -> None:
    old, new = named("web", OLD), named("web", NEW)
    record(site, old, old)
    registry = Registry(site)
    assert holders(registry, OLD) == [old]
    registry.put(new)
    assert holders(registry, OLD) == holders(registry, NEW) == [new, old]
    registry.drop("web", None)
    assert holders(registry, OLD) == holders(registry, NEW) == []


def test_what_is_being_removed_is_no_guest_and_goes_when_somebody_has_its_lock(site: Site) -> None:
    record(site, named("web", OLD), None)
    record(site, named("web-2", NEW, 8), None)
    doomed = site.guests / ".pending-web"
    site.guest("web").rename(doomed)
    assert store.names(site) == ["web-2"]
    assert holders(Registry(site), OLD) == []
    with store.lock_guest(site, "web-2"):
        assert doomed.exists()
    with store.lock_guest(site, "web"):
        assert not doomed.exists()
    store.forget(site, "web-2")
    assert os.listdir(site.guests) == []


def test_a_record_that_somebody_has_laid_out_anew_says_the_same(site: Site) -> None:
    record(site, named("web", NEW), named("web", NEW))
    path = site.guests / "web" / "guest.json"
    path.write_text(json.dumps(files.read_json(path), indent=2))
    assert holders(Registry(site), NEW) == [named("web", NEW)]
