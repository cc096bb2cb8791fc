# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest is the same with every OCI runtime, whatever control groups the host has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, oci, running, runtime
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import runtimes
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_place
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually

#: Forks until it is refused, at most a hundred times, and says how many children it had.
FORKS = "n=0; while [ $n -lt 100 ] && (sleep 60 & ) 2>/dev/null; do n=$((n+1)); done; echo $n"


@pytest.fixture(params=runtimes.NAMES)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The runtime that starts all guests."""
    (found,) = (path for path in runtimes.runtime_paths() if Path(path).name == request.param)
    monkeypatch.setattr(runtime, "choose", lambda *_asked: found)
    return found


def test_a_guest_boots_is_limited_reboots_and_leaves_nothing(path: str, guests: Guests, site: Site) -> None:
    first = guests.start("anywhere", limits={"processes": "60", "cpuset": "0"})
    guests.wait_booted("anywhere")
    in_all_hierarchies(site, first["pid"], path)
    assert guests.run("anywhere", "nproc") == "1"
    assert guests.run("anywhere", "stat", "--file-system", "--format=%T", "/sys/fs/cgroup") == "cgroup2fs"
    assert int(guests.run("anywhere", "sh", "-c", FORKS)) < 60
    # Whoever enters may be refused as well, as long as all that the guest may have are there.
    eventually(lambda: guests.exec("anywhere", "pkill", "sleep").returncode == 0, "its processes are not ended")

    guests.run("anywhere", "systemctl", "--no-block", "reboot")
    eventually(lambda: info.guest(site, "anywhere")["pid"] not in (None, first["pid"]), "the guest did not reboot")
    in_all_hierarchies(site, info.guest(site, "anywhere")["pid"], path)
    lifecycle.set_state(site, "anywhere", "stopped", {"timeout": 5})
    assert not guests.traces("anywhere")


@pytest.mark.usefixtures("path")
def test_a_runtime_that_shows_a_guest_the_hosts_groups_starts_none(
    guests: Guests, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may where it is refused a mount of their own."""
    usual = oci.config

    def config(*given: Any, **options: Any) -> dict[str, Any]:
        made = usual(*given, **options)
        (groups,) = (mount for mount in made["mounts"] if mount["type"] == "cgroup")
        groups.update(type="none", source="/sys/fs/cgroup", options=["bind", "ro", "nosuid", "nodev", "noexec"])
        return made

    monkeypatch.setattr(oci, "config", config)
    guests.define("curious", init=SLEEP)
    with pytest.raises(VserverError, match="a view of the control groups /, not only of its own"):
        lifecycle.set_state(site, "curious", "started", {})
    assert not guests.traces("curious")


def in_all_hierarchies(site: Site, pid: int, path: str) -> None:
    now = running.read(site, "anywhere")
    assert now is not None and (now.pid, now.runtime) == (pid, path)
    layout, outer = cgroup.layout(), running.outer_group(site, cgroup.layout(), "anywhere")
    # In the v2 tree the guest's systemd may be in a group that it has made itself.
    assert f"{cgroup_place.of_process(pid)}/".startswith(f"/{outer}/guest/")
    assert all(str(pid) in (top / outer / "cgroup.procs").read_text().split() for top in layout.v1)
