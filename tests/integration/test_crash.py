# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill the engine at every step: whatever step it was, the same call again completes the work, and nothing is lost."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import faults, info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import process
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog, spec

from . import templates
from .guests import SLEEP, Guests, become, eventually

ADDRESS = "198.51.100.30"


def in_child(act: Callable[[], object], reached: Callable[[str], None]) -> int:
    """Run ``act`` in its own process, whose supervisors have the same ``faults.reached``; returns the exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            faults.reached = reached
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def points_of(act: Callable[[], object], log: Path) -> list[str]:
    """The fault points that ``act`` comes by, in order, each once."""

    def note(point: str) -> None:
        with log.open("a") as file:
            file.write(point + "\n")

    log.unlink(missing_ok=True)
    assert in_child(act, note) == 0
    return list(dict.fromkeys(log.read_text().split()))


def kill_at(wanted: str) -> Callable[[str], None]:
    def reached(point: str) -> None:
        if point == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def crash_everywhere(act: Callable[[], object], prepare: Callable[[], object], log: Path) -> list[str]:
    """For every point: ``prepare``, ``act`` killed at that point, and ``act`` again. Returns the points."""
    prepare()
    points = points_of(act, log)
    for point in points:
        prepare()
        in_child(act, kill_at(point))
        act()
    return points


@pytest.mark.parametrize("method", ["overlay", "copy"])
def test_clone(site: Site, tmp_path: Path, method: str) -> None:
    small = Site(tmp_path / "state", tmp_path / "run", site.cgroup)
    tree = templates.tiny_tree(tmp_path / "tree", [])
    catalog.ensure(small, spec.parse({"name": "tiny", "method": "directory", "source": str(tree)}))

    def clone() -> None:
        lifecycle.configure(small, "crash", "root", {"template": "tiny", "method": method})
        root = small.guest("crash") / "root"
        assert (root / ("upper" if method == "overlay" else "rootfs/var/log")).is_dir()
        assert not [entry for entry in os.listdir(small.guest("crash")) if entry.startswith(".pending-")]

    def nothing() -> None:
        lifecycle.remove_root(small, "crash")

    points = crash_everywhere(clone, nothing, tmp_path / "points")
    assert points[-5:] == ["clone:begun", "clone:filled", "clone:built", "clone:placed", "configure:applied"]


def test_start(guests: Guests, site: Site, tmp_path: Path) -> None:
    def start() -> None:
        lifecycle.set_state(site, "crash", "started", {})
        guest = info.guest(site, "crash")
        assert guest["state"] == "running"
        assert guest["processes"] == 1, "an earlier attempt's processes are still there"
        assert guest["binding"]["programs"]
        assert guests.run("crash", "cat", "/data") == "precious"

    def stopped() -> None:
        lifecycle.set_state(site, "crash", "stopped", {})
        assert not guests.traces("crash")

    guests.define("crash", init=SLEEP, addresses=[ADDRESS])
    (site.guest("crash") / "root/upper/data").write_text("precious\n")
    points = crash_everywhere(start, stopped, tmp_path / "points")
    assert {"start:cgroup-made", "start:bound", "start:addresses-noted", "start:created", "start:started"} <= {*points}
    assert len(points) >= 8


@pytest.mark.parametrize("init", [SLEEP, None])
def test_stop(guests: Guests, site: Site, tmp_path: Path, init: tuple[str, ...] | None) -> None:
    def stop() -> None:
        lifecycle.set_state(site, "crash", "stopped", {})
        assert not guests.traces("crash")
        assert ADDRESS not in Path("/proc/net/fib_trie").read_text()
        assert (site.guest("crash") / "root/upper/data").read_text() == "precious\n"

    def running() -> None:
        assert become(site, "crash")["state"] == "running"

    guests.define("crash", init=init, addresses=[ADDRESS])
    (site.guest("crash") / "root/upper/data").write_text("precious\n")
    points = crash_everywhere(stop, running, tmp_path / "points")
    assert {"stop:waited", "stop:killed", "stop:deleted", "stop:addresses-down", "stop:released"} <= {*points}


def test_destroy(guests: Guests, site: Site, tmp_path: Path) -> None:
    def destroy() -> None:
        assert {guest["name"] for guest in info.guests(site)} <= {"crash"}, "what is being removed is told of"
        lifecycle.set_state(site, "crash", "absent", {})
        lifecycle.remove_root(site, "crash")
        assert not [entry for entry in os.listdir(site.guests) if "crash" in entry]
        assert not site.bundle("crash").exists()
        assert not guests.traces("crash")

    points = crash_everywhere(destroy, lambda: guests.start("crash", init=SLEEP), tmp_path / "points")
    assert {"clone:removed", "tree:doomed"} <= {*points}


def test_live_change(guests: Guests, site: Site, tmp_path: Path) -> None:
    options = {"addresses": [ADDRESS, "198.51.100.31"]}

    def change() -> None:
        lifecycle.configure(site, "crash", "binding", options)
        assert not lifecycle.configure(site, "crash", "binding", options, check=True).changed
        assert "198.51.100.31" in Path("/proc/net/fib_trie").read_text()

    def before() -> None:
        lifecycle.configure(site, "crash", "binding", {"addresses": [ADDRESS]})
        assert "198.51.100.31" not in Path("/proc/net/fib_trie").read_text()

    guests.start("crash", init=SLEEP, addresses=[ADDRESS])
    points = crash_everywhere(change, before, tmp_path / "points")
    assert {"configure:recorded", "configure:applied"} <= {*points}


def test_a_killed_supervisor_is_not_needed(guests: Guests, site: Site) -> None:
    guest = guests.start("orphan", init=SLEEP)
    supervisor = int(guests.host_status(guest["pid"])["PPid"])
    assert guests.host_status(supervisor)["Name"] == "vserver:guests"
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: process.start_ticks(supervisor) is None, "the supervisor did not die")
    assert info.guest(site, "orphan")["pid"] == guest["pid"]
    assert not lifecycle.set_state(site, "orphan", "started", {}).changed
    assert lifecycle.set_state(site, "orphan", "restarted", {}).changed
    lifecycle.set_state(site, "orphan", "stopped", {})
    assert not guests.traces("orphan")
