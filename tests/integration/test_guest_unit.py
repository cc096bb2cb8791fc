# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests as units of a host that systemd runs."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from . import templates
from .guests import eventually
from .systemd_host import SystemdHost, booted, tiny_guest

#: A process 1 that says goodbye, reboots when /reboot is there, and powers off when /poweroff is.
INIT = """
trap 'echo bye > /bye; exit 0' TERM
while :; do
    for how in reboot poweroff; do
        if [ -e /$how ]; then rm /$how; echo $how >> /did; /bin/power $how; fi
    done
    sleep 0.05
done
"""
POWER = """
#include <string.h>
#include <sys/reboot.h>
int main(int count, char **words) { return reboot(strcmp(words[1], "reboot") ? RB_POWER_OFF : RB_AUTOBOOT); }
"""
UNIT = "vserver@web-1.a.service"
NAME = "web-1.a"
#: Runs the engine, killed when it reaches a point.
CRASHING = """
import os, signal, sys
from ansible_collections.linux.vserver.plugins.module_utils._engine import cli, faults
def reached(point):
    with open("/run/points", "a") as log:
        log.write(point + "\\n")
    if os.path.exists("/run/crash-at") and open("/run/crash-at").read() == point:
        os.unlink("/run/crash-at")
        os.kill(os.getpid(), signal.SIGKILL)
faults.reached = reached
sys.exit(cli.main("test", sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def host(template_cache: Path) -> Iterator[SystemdHost]:
    """A host with one guest, whose name has what systemd's rules of escaping could trip over."""
    place = template_cache.parent / f"units-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    with booted(place) as made:
        tree = templates.tiny_tree(made.root / "srv/tree", ["sh", "sleep", "rm"])
        source = made.root / "srv/power.c"
        source.write_text(POWER)
        made.run("cc", "-static", "-o", "/srv/tree/bin/power", "/srv/power.c")
        assert (tree / "bin/power").exists()
        made.play(
            {"ansible.builtin.include_role": {"name": "linux.vserver.host"}, "vars": {"vserver_host_sysctls": {}}},
            {"linux.vserver.template": {"name": "tiny", "method": "directory", "source": "/srv/tree"}},
            tiny_guest(NAME, init=["/bin/sh", "-c", INIT], timeout=10),
        )
        yield made


@pytest.fixture
def stopped(host: SystemdHost) -> SystemdHost:
    host.run("vserver", "stop", NAME)
    for file in ("bye", "did"):
        upper(host, file).unlink(missing_ok=True)
    return host


def upper(host: SystemdHost, file: str) -> Path:
    return host.root / "var/lib/vserver/guests" / NAME / "root/upper" / file


def inside(host: SystemdHost, command: str) -> None:
    """Act in the running guest: what lies below its root must not change behind its back."""
    host.run("vserver", "exec", NAME, "--", "/bin/sh", "-c", command)


def show(host: SystemdHost, key: str) -> str:
    return host.run("systemctl", "show", "--value", f"--property={key}", UNIT)


def state(host: SystemdHost) -> dict[str, Any] | None:
    try:
        return dict(json.loads((host.root / "run/vserver" / NAME / "state.json").read_text()))
    except FileNotFoundError:
        return None


def traces(host: SystemdHost) -> list[str]:
    """What a guest that does not run has left."""
    slice_ = host.group / "vserver.slice"
    found = [str(path) for path in (slice_ / UNIT, host.group / "vserver" / NAME) if path.exists()]
    v1 = (host.root / "run/cgroup").glob(f"*/vserver*/*{NAME}*")
    runtimes = (host.root / "run/vserver/.runtime").glob(f"*/{NAME}")
    return [*found, *map(str, v1), *map(str, runtimes), *(["run state"] if state(host) else [])]


def test_a_guest_is_a_unit_whose_main_process_is_its_own(stopped: SystemdHost) -> None:
    host = stopped
    host.run("vserver", "start", NAME)
    assert show(host, "ActiveState") == "active" and show(host, "Slice") == "vserver.slice"
    now = state(host)
    assert now is not None and show(host, "MainPID") == str(now["pid"])
    group = host.group / "vserver.slice" / UNIT
    assert (group / "bound/guest/cgroup.procs").read_text().split()
    assert not (group / "engine/cgroup.procs").read_text(), "something of ours stays"
    assert "changed=0 " in host.play({"linux.vserver.context": {"name": NAME, "state": "started"}})
    assert "active (running)" in host.run("systemctl", "status", UNIT)
    host.play({"linux.vserver.context": {"name": NAME, "state": "frozen"}})
    assert "frozen 1" in (group / "bound/guest/cgroup.events").read_text()
    host.run("vserver", "stop", NAME)
    assert show(host, "ActiveState") == "inactive" and upper(host, "bye").exists() and not traces(host)


def test_systemctl_by_hand(stopped: SystemdHost) -> None:
    host = stopped
    host.run("systemctl", "start", UNIT)
    first = state(host)
    host.run("vserver", "start", NAME)
    assert first is not None and state(host) == first
    host.run("systemctl", "restart", UNIT)
    second = state(host)
    assert second is not None and second["pid"] != first["pid"] and upper(host, "bye").exists()
    inside(host, "rm /bye")
    host.run("systemctl", "stop", UNIT)
    assert upper(host, "bye").exists() and show(host, "ActiveState") == "inactive" and not traces(host)


def test_reboot_and_poweroff_from_inside(stopped: SystemdHost) -> None:
    host = stopped
    host.run("vserver", "start", NAME)
    for _turn in range(6):
        before = state(host)
        inside(host, ": > /reboot")
        eventually(lambda before=before: state(host) not in (None, before), "the guest did not reboot")  # type: ignore[misc]
        eventually(lambda: show(host, "ActiveState") == "active", "the unit is not active")
    inside(host, ": > /poweroff")
    eventually(lambda: show(host, "ActiveState") == "inactive", "the unit does not end")
    assert upper(host, "did").read_text().split() == ["reboot"] * 6 + ["poweroff"]
    assert show(host, "Result") == "success" and not traces(host)


def test_killed_from_outside(stopped: SystemdHost) -> None:
    host = stopped
    host.run("vserver", "start", NAME)
    host.run("kill", "-9", show(host, "MainPID"))
    eventually(lambda: show(host, "ActiveState") == "failed", "the unit does not end")
    assert not traces(host)
    host.run("vserver", "start", NAME)
    host.run("vserver", "stop", NAME)
    assert show(host, "ActiveState") == "inactive" and not traces(host)


def test_two_at_once(stopped: SystemdHost) -> None:
    host = stopped
    with ThreadPoolExecutor(9) as pool:
        words = [("vserver", "start", NAME)] * 3 + [("vserver", "stop", NAME)] * 3 + [("systemctl", "start", UNIT)]
        said = list(pool.map(lambda argv: host.exec(*argv), words))
    assert [one.returncode for one in said[:6]] == [0] * 6, said
    host.run("vserver", "start", NAME)
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda argv: host.exec(*argv), [("vserver", "start", NAME)] * 3))
    assert [one.returncode for one in said] == [0] * 3 and show(host, "ActiveState") == "active"
    host.run("vserver", "stop", NAME)
    assert not traces(host)


def test_a_start_that_fails_says_why_and_leaves_nothing(stopped: SystemdHost) -> None:
    host = stopped
    host.play(tiny_guest("broken", init=["/bin/nosuch"]))
    said = host.exec("vserver", "start", "broken")
    assert said.returncode == 1 and "nosuch" in said.stderr and "guest broken" in said.stderr
    assert not (host.group / "vserver.slice/vserver@broken.service").exists()
    host.play({"linux.vserver.context": {"name": "broken", "state": "absent"}})
    assert host.run("systemctl", "list-units", "--failed", "--no-legend", "vserver@*") == ""


def test_a_crash_at_any_point(stopped: SystemdHost) -> None:
    host = stopped
    (host.root / "srv/crash.py").write_text(CRASHING)
    collections = os.environ["ANSIBLE_COLLECTIONS_PATH"]
    drop_in = host.root / f"etc/systemd/system/{UNIT}.d/crash.conf"
    drop_in.parent.mkdir()
    program = f"{sys.executable} /srv/crash.py guest-unit"
    text = f"[Service]\nEnvironment=PYTHONPATH={collections}\n"
    text += "".join(
        f"Exec{key}=\nExec{key}={program} {step} %i\n"
        for key, step in (("Start", "start"), ("Stop", "stop"), ("StopPost", "clear"))
    )
    drop_in.write_text(text)
    host.run("systemctl", "daemon-reload")
    log, at = host.root / "run/points", host.root / "run/crash-at"
    try:
        points = {}
        for verb in ("start", "stop"):
            log.unlink(missing_ok=True)
            host.run("vserver", verb, NAME)
            points[verb] = list(dict.fromkeys(log.read_text().split()))
            assert len(points[verb]) >= 5
        # What completes the one is what the other begins with.
        for pair in itertools.zip_longest(*points.values()):
            for verb, point in zip(points, pair, strict=True):
                if point is not None:
                    at.write_text(point)
                    host.exec("vserver", verb, NAME)
                    assert not at.exists() or verb == "start", f"{verb} does not come by {point}"
                    at.unlink(missing_ok=True)
                host.run("vserver", verb, NAME)
                assert (show(host, "ActiveState") == "active") == (verb == "start"), point
                if verb == "stop":
                    assert not traces(host), pair
    finally:
        shutil.rmtree(drop_in.parent)
        host.run("systemctl", "daemon-reload")


def test_the_engine_is_replaced_under_running_guests(stopped: SystemdHost) -> None:
    host = stopped
    host.run("vserver", "start", NAME)
    before = state(host)
    program = host.root / "usr/sbin/vserver"
    old = program.read_bytes()
    new = program.with_name("vserver.new")
    new.write_text('#!/bin/sh\necho "$@" >> /run/new-engine\nexec /usr/sbin/vserver.old "$@"\n')
    program.with_name("vserver.old").write_bytes(old)
    for path in (new, program.with_name("vserver.old")):
        path.chmod(0o755)
    new.rename(program)
    try:
        assert state(host) == before and show(host, "ActiveState") == "active"
        host.run("systemctl", "restart", UNIT)
        assert (host.root / "run/new-engine").read_text().splitlines() == [
            f"guest-unit {step} {NAME}" for step in ("stop", "clear", "start")
        ]
    finally:
        program.write_bytes(old)
    host.run("vserver", "stop", NAME)
    assert not traces(host)


def test_a_guest_from_before_the_unit_goes_on_and_stops(stopped: SystemdHost) -> None:
    host = stopped
    template = host.root / "etc/systemd/system/vserver@.service"
    text = template.read_text()
    template.unlink()
    host.run("systemctl", "daemon-reload")
    host.run("vserver", "start", NAME)
    template.write_text(text)
    host.run("systemctl", "daemon-reload")
    before = state(host)
    assert before is not None and (host.group / "vserver" / NAME / "guest").is_dir()
    said = host.exec("systemctl", "start", UNIT)
    assert said.returncode and state(host) == before, "the guest's own start is disturbed"
    assert "it runs already" in (host.root / "run/vserver" / NAME / "failure.json").read_text()
    host.run("vserver", "start", NAME)
    assert state(host) == before
    host.play({"linux.vserver.context": {"name": NAME, "state": "restarted"}})
    assert show(host, "ActiveState") == "active" and upper(host, "bye").exists()
    assert not (host.group / "vserver" / NAME).exists()
    host.run("vserver", "stop", NAME)
    assert not traces(host)


def test_what_systemd_was_told_of_a_guest_goes_with_it(host: SystemdHost) -> None:
    name, unit = "weighed", "vserver@weighed.service"
    left = host.root / "run/systemd/system.control" / f"{unit}.d"
    host.play(tiny_guest(name, init=["/bin/sleep", "infinity"], timeout=0, state="started"))
    # As limits.share and limits.protection do, where there are controllers cpu and memory.
    host.run("systemctl", "set-property", "--runtime", "--", unit, "CPUWeight=300")
    host.run("systemctl", "set-property", "--runtime", "--", "vserver.slice", "MemoryLow=0", "MemoryMin=0")
    slices = left.with_name("vserver.slice.d")
    assert (left / "50-CPUWeight.conf").exists() and (slices / "50-MemoryLow.conf").exists()
    host.run("vserver", "restart", name)
    assert (left / "50-CPUWeight.conf").exists()
    gone = {"linux.vserver.guest": {"name": name, "state": "absent", "keep_data": False}}
    host.play(gone)
    assert not left.exists() and not slices.exists()
    assert host.run("systemctl", "show", "--value", "--property=CPUWeight", unit) != "300"
    assert host.run("systemctl", "show", "--value", "--property=NeedDaemonReload", "vserver.slice") == "no"
    assert "changed=0 " in host.play(gone)
