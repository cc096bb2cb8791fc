# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each figure is taken, by its name in the catalogue."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle, runtime, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import binding, root
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup

from ..integration.guests import SLEEP, become
from . import connection, fleets, molecule, rivals
from .catalogue import CROWD
from .ground import Ground
from .measure import Say, Stopwatch
from .memory import MemoryOf
from .peers import copy
from .sides import Measure, Values, call, side_by_side, task

_BOOT_PATIENCE = 60.0
#: Starts a guest as a module does: in a process of its own, which ends.
_START = """
import sys
from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
lifecycle.set_state(Site(cgroup=sys.argv[1]), sys.argv[2], "started", {})
"""


def clone(ground: Ground, rounds: int, say: Say) -> Values:
    target = ground.site.state / "copy"

    def ours() -> float:
        ground.guests.made.append("clone")
        os.sync()
        took = call(ground, "lifecycle.configure", "clone", "root", {"template": ground.guests.template})
        ground.guests.remove_all()
        return took

    def peer() -> float:
        watch = Stopwatch()
        os.sync()
        with watch.running():
            copy(ground.guests.template_root(), target)
        subprocess.run(["rm", "-rf", "--", str(target)], check=True)
        return watch.milliseconds

    return side_by_side(ours, peer, "cp -a", rounds, say)


def _cycle(ground: Ground, rounds: int, say: Say, of_start: bool) -> Values:
    """Starting and stopping, of which one is measured."""
    ground.crowd("cycle", 1)
    ground.peers.define("peer", SLEEP)

    def ours() -> float:
        start = call(ground, "lifecycle.set_state", "cycle1", "started", {})
        stop = call(ground, "lifecycle.set_state", "cycle1", "stopped", {})
        return start if of_start else stop

    def peer() -> float:
        start, stop = Stopwatch(), Stopwatch()
        with start.running():
            ground.peers.run("peer")
        with stop.running():
            ground.peers.delete("peer")
        return (start if of_start else stop).milliseconds

    verb = "run" if of_start else "delete --force"
    return side_by_side(ours, peer, f"{ground.peers.name} {verb}", rounds, say)


def start(ground: Ground, rounds: int, say: Say) -> Values:
    return _cycle(ground, rounds, say, of_start=True)


def stop(ground: Ground, rounds: int, say: Say) -> Values:
    return _cycle(ground, rounds, say, of_start=False)


def boot(ground: Ground, rounds: int, say: Say) -> Values:
    # Without a binding, a container's nginx may have port 80 only when everybody may.
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    ground.guests.define("boot", addresses=["127.200.0.1"])
    ground.peers.define("peer", ["/sbin/init"])

    def ours() -> float:
        watch = Stopwatch()
        with watch.running():
            _wait_booted(become(ground.site, "boot")["pid"])
        lifecycle.set_state(ground.site, "boot", "stopped", {})
        return watch.milliseconds

    def peer() -> float:
        watch = Stopwatch()
        with watch.running():
            ground.peers.boot("peer")
            _wait_booted(ground.peers.pid("peer"))
        ground.peers.delete("peer")
        return watch.milliseconds

    return side_by_side(ours, peer, f"{ground.peers.name} create, start", rounds, say)


def _wait_booted(pid: int) -> None:
    """Wait until the systemd that is process ``pid`` says ``running``."""
    ask = ["nsenter", f"--target={pid}", "--all", "--", "systemctl", "is-system-running", "--wait"]
    deadline = time.monotonic() + _BOOT_PATIENCE
    while True:
        answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        if answer == "running":
            return
        if answer == "degraded" or time.monotonic() > deadline:
            failed = subprocess.run([*ask[:4], "systemctl", "--failed"], capture_output=True, text=True, check=False)
            raise RuntimeError(f"systemd says {answer or 'nothing'}: {failed.stdout}")
        time.sleep(0.005)


def configure_noop(ground: Ground, rounds: int, say: Say) -> Values:
    (name,) = ground.crowd("noop", 1)
    lifecycle.set_state(ground.site, name, "started", {})

    options = {"addresses": ["127.200.0.1"]}
    assert not lifecycle.configure(ground.site, name, "binding", options).changed

    def ours() -> float:
        return call(ground, "lifecycle.configure", name, "binding", options)

    return side_by_side(ours, None, None, rounds, say)


def guest_info(ground: Ground, rounds: int, say: Say) -> Values:
    names = ground.crowd("crowd", CROWD)
    for name in names:
        lifecycle.set_state(ground.site, name, "started", {})

    def ours() -> float:
        return call(ground, "info.guests", names)

    path = runtime.choose(ground.site)

    def peer() -> float:
        watch = Stopwatch()
        command = runtime.command(ground.site, path, Path(os.devnull), "list", "--format", "json")
        with watch.running():
            answer = subprocess.run(command, capture_output=True, check=True).stdout
        assert len(json.loads(answer)) == len(names), answer
        return watch.milliseconds

    return side_by_side(ours, peer, f"{Path(path).name} list", rounds, say)


def attach(ground: Ground, rounds: int, say: Say) -> Values:
    (name,) = ground.crowd("bound", 1)
    guest = store.require(ground.site, name)
    layout = cgroup.layout()

    def ours() -> float:
        watch = Stopwatch()
        cgroup.create(layout, ground.site.guest_cgroup(name))
        with watch.running():
            binding.attach(ground.site, guest)
        cgroup.remove(layout, ground.site.guest_cgroup(name))
        return watch.milliseconds

    return side_by_side(ours, None, None, rounds, say)


def readdress(ground: Ground, rounds: int, say: Say) -> Values:
    (name,) = ground.crowd("moving", 1)
    lifecycle.set_state(ground.site, name, "started", {})
    addresses = itertools.cycle(["127.200.0.2", "127.200.0.1"])

    def ours() -> float:
        return call(ground, "lifecycle.configure", name, "binding", {"addresses": [next(addresses)]})

    return side_by_side(ours, None, None, rounds, say)


def memory(ground: Ground, rounds: int, say: Say) -> Values:
    names = ground.crowd("idle", CROWD)
    others = [f"peer{number}" for number in range(1, CROWD + 1)]
    for name in others:
        ground.peers.define(name, SLEEP)
    used = MemoryOf(ground.site.cgroup)

    def ours() -> float:
        before = used.kibibytes()
        for name in names:
            # A process that has loaded more, or goes on, would share with the supervisor what a module leaves to it.
            call(ground, "lifecycle.set_state", name, "started", {})
        growth = used.kibibytes() - before
        for name in names:
            lifecycle.set_state(ground.site, name, "stopped", {})
        return growth / CROWD

    def peer() -> float:
        before = used.kibibytes()
        with ground.peers.running(others):
            return (used.kibibytes() - before) / CROWD

    with used.charged():
        return side_by_side(ours, peer, f"{ground.peers.name} run", rounds, say)


def mounts(ground: Ground, rounds: int, say: Say) -> Values:
    names = ground.crowd("mount", CROWD)
    others = [f"peer{number}" for number in range(1, CROWD + 1)]
    for name in others:
        ground.peers.define(name, SLEEP)

    def count() -> int:
        return len(Path("/proc/self/mountinfo").read_text().splitlines())

    def ours() -> float:
        before = count()
        for name in names:
            lifecycle.set_state(ground.site, name, "started", {})
        return (count() - before) / CROWD

    def peer() -> float:
        before = count()
        with ground.peers.running(others):
            return (count() - before) / CROWD

    return side_by_side(ours, peer, f"{ground.peers.name} run", rounds, say)


def disk(ground: Ground, rounds: int, say: Say) -> Values:
    target = ground.site.state / "copy"

    def used(path: Path) -> float:
        os.sync()
        command = ["du", "--summarize", "--block-size=1", "--", str(path)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) / 1024

    def ours() -> float:
        ground.crowd("disk", 1)
        return used(root.directory(ground.site, "disk1"))

    def peer() -> float:
        copy(ground.guests.template_root(), target)
        try:
            return used(target)
        finally:
            subprocess.run(["rm", "-rf", "--", str(target)], check=True)

    return side_by_side(ours, peer, "cp -a", rounds, say)


def module_noop(ground: Ground, rounds: int, say: Say) -> Values:
    (name,) = ground.crowd("module", 1)

    def ours() -> float:
        return task("linux.vserver.context", {"name": name, "state": "stopped", "timeout": 30})

    def peer() -> float:
        return task("ansible.builtin.ping", {})

    return side_by_side(ours, peer, "ansible.builtin.ping", rounds, say)


MEASURES: Mapping[str, Measure] = {
    "clone": clone,
    "start": start,
    "boot": boot,
    "stop": stop,
    "configure-noop": configure_noop,
    "info": guest_info,
    "attach": attach,
    "readdress": readdress,
    "memory": memory,
    "mounts": mounts,
    "disk": disk,
    "module-noop": module_noop,
    "connection": connection.task,
    **fleets.MEASURES,
    **rivals.MEASURES,
    **molecule.MEASURES,
}
