# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others test with, run against guests: systemd's and LXC's own tests, Lynis, stress-ng."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import peers, templates
from .guests import SLEEP, Guests
from .systemd_host import SystemdHost, booted, tiny_guest

ADDRESSES = ("192.0.2.21", "2001:db8:1::21")
#: How long a whole suite may take, in seconds.
PATIENCE = 400.0
#: Containers that a test of LXC has left behind.
NO_CONTAINERS = "for c in $(lxc-ls -1); do timeout 5 lxc-destroy --force --name $c; done"


#: How long a guest may take to answer beside one that is under load, in seconds.
ANSWER = 5.0
#: Lynis' index of a Debian as it is installed, which no setting of ours may lower.
HARDENING = 58
#: Tests of Lynis that take half of its time and look at nothing that guests could change on their host: when the
#: distribution's certificates expire, and whether its archive has newer packages.
UNTOUCHED = ("CRYP-7902", "PKGS-7392")


@pytest.fixture(scope="module")
def template(site: Site, peers_template: Path) -> Iterator[str]:
    """The template with the tests of others installed."""
    with templates.provided(site, peers_template) as name:
        yield name


@pytest.fixture
def own(site: Site, template: str) -> Iterator[Guests]:
    """Guests with the tests of others installed, gone without a trace when the test ends."""
    made = Guests(site, template)
    yield made
    names = list(made.made)
    made.remove_all()
    assert not [trace for name in names for trace in made.traces(name)]


def results(guests: Guests, name: str, programs: Sequence[str], width: int, afterwards: str = "") -> list[peers.Result]:
    """How each program ends in a guest, and what it says."""
    words = guests.command(name, "python3", "-c", peers.RUN, "60", str(width), afterwards)
    listed = "\n".join(programs)
    done = subprocess.run(words, input=listed, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    return [tuple(line) for line in json.loads(done.stdout)]


@dataclass(frozen=True)
class Audit:
    """What Lynis warns of, by its tests' names, and its hardening index, 0 to 100."""

    warnings: frozenset[str]
    index: int


def lynis(words: Sequence[str]) -> Audit:
    """An audit of the system that a command behind these words is run in."""
    audit = ["lynis", "audit", "system", "--quick", "--no-colors", "--quiet", "--report-file", "/root/report"]
    done = subprocess.run(
        [*words, *audit], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    # 78: there are warnings.
    assert done.returncode in (0, 78), done
    report = subprocess.run([*words, "cat", "/root/report"], capture_output=True, text=True, check=True).stdout
    (index,) = re.findall(r"^hardening_index=(\d+)$", report, re.MULTILINE)
    return Audit(frozenset(re.findall(r"^warning\[\]=(\S+?)\|", report, re.MULTILINE)), int(index))


@dataclass(frozen=True)
class Beside:
    """What LXC's tests and Lynis will have found."""

    lxc: concurrent.futures.Future[list[peers.Result]]
    audit: concurrent.futures.Future[Audit]


def test_systemds_own_tests(own: Guests) -> None:
    own.start("systemd", addresses=ADDRESSES)
    own.wait_booted("systemd")
    everything = "ls /usr/lib/systemd/tests/test-* /usr/lib/systemd/tests/unsafe/test-*"
    programs = own.run("systemd", "sh", "-c", everything).split()
    assert len(programs) > 250
    found = list(peers.surprises(peers.SYSTEMD, results(own, "systemd", programs, 4)))
    assert not found, "\n".join(found)
    assert own.run("systemd", "systemctl", "is-system-running") == "running"


def test_a_user_of_a_guest_has_ids_for_containers(own: Guests) -> None:
    """As long as they are among the guest's own, which distributions' defaults are not."""
    own.start("rootless", init=SLEEP)
    own.run("rootless", "useradd", "--create-home", "user")
    own.run("rootless", "sh", "-c", "echo user:20000:1000 | tee /etc/subuid > /etc/subgid")
    words = ["lxc-usernsexec", "-m", "b:0:20000:1000", "--", "sh", "-c", "echo $(id -u) $(cat /proc/self/uid_map)"]
    assert own.run("rootless", "runuser", "-u", "user", "--", *words) == "0 0 20000 1000"


@pytest.fixture
def plain_host(peers_template: Path, template_cache: Path) -> Iterator[SystemdHost]:
    """A host that is not ready for guests yet, with Lynis, and a tree for guests in /srv/tree."""
    place = template_cache.parent / f"audited-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    with booted(place) as host:
        for part in ("etc/lynis", "usr/sbin/lynis", "usr/share/lynis"):
            (found,) = peers_template.glob(f"*/rootfs/{part}")
            copy = shutil.copytree if found.is_dir() else shutil.copy2
            copy(found, host.root / part)
        skipped = "".join(f"skip-test={test}\n" for test in UNTOUCHED)
        (host.root / "etc/lynis/custom.prf").write_text(skipped)
        templates.tiny_tree(host.root / "srv/tree", ["sleep"])
        yield host


def test_lynis_finds_a_host_as_good_with_guests_as_without(plain_host: SystemdHost) -> None:
    host = plain_host
    before = lynis(host.command())
    host.play(
        {"ansible.builtin.include_role": {"name": "linux.vserver.host"}},
        {"linux.vserver.template": {"name": "tiny", "method": "directory", "source": "/srv/tree"}},
        tiny_guest("web", init=["/bin/sleep", "infinity"], state="started"),
    )
    after = lynis(host.command())
    assert "active" in host.run("systemctl", "is-active", "vserver@web.service")
    assert after.warnings <= before.warnings
    assert after.index >= before.index


#: Seconds in which processor time is dealt out: the first period's share is there at once, however short the load.
PERIOD = 0.1
#: Runs a command and prints the seconds of processor time that it and its children had, and those that passed.
SHARE = """
import resource, subprocess, sys, time
began = time.monotonic()
subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, time.monotonic() - began)
"""


@dataclass(frozen=True)
class Load:
    """A command of stress-ng that goes for more than its guest may have, and the files that count when it was held."""

    words: tuple[str, ...]
    limits: Mapping[str, Any]
    counts: tuple[str, ...]


LOADS = {
    "memory": Load(
        ("--vm", "2", "--vm-bytes", "256M", "--vm-keep"),
        {"memory": "64M", "processes": 30, "cpus": 0.5},
        ("memory.failcnt", "memory.events"),
    ),
    "processes": Load(
        ("--fork", "1", "--fork-max", "64", "--pthread", "1"),
        {"memory": "256M", "processes": 20, "cpus": 0.5},
        ("pids.events",),
    ),
    "processors": Load(
        ("--cpu", "2", "--cpu-method", "int64"),
        {"memory": "256M", "processes": 20, "cpus": 0.1},
        ("cpu.stat",),
    ),
}


def held(guests: Guests, name: str, files: Sequence[str]) -> int:
    """How often the kernel has held a guest to a limit."""
    groups = [guests.group(name), *(top / guests.site.guest_cgroup(name) for top in cgroup.layout().v1)]
    texts = [path.read_text() for group in groups for path in (group / file for file in files) if path.exists()]
    counts = re.findall(r"^(?:max |nr_throttled )?(\d+)$", "".join(texts), re.MULTILINE)
    return sum(map(int, counts))


def kernel_complaints() -> set[str]:
    """What the kernel says of faults of its own, each with its time."""
    lines = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line for line in lines if re.search(r"Oops|BUG:|WARNING:|general protection|rcu.*stall", line)}


@pytest.mark.parametrize("load", LOADS.values(), ids=list(LOADS))
def test_a_load_stays_within_its_guest(own: Guests, load: Load) -> None:
    """Stress beyond a limit; another guest answers all the while, and the guest lives on."""
    before = kernel_complaints()
    own.start("hog", init=SLEEP, limits=load.limits)
    own.start("bystander", init=SLEEP)
    words = ["timeout", "--signal=KILL", "20", "stress-ng", "--quiet", "--temp-path", "/tmp", "--timeout", "3"]
    command = own.command("hog", "python3", "-c", SHARE, *words, *load.words)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as hog:
        slowest = 0.0
        while hog.poll() is None:
            asked = time.monotonic()
            assert own.run("bystander", "echo", "here") == "here"
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.1)
        used, passed = map(float, hog.communicate()[0].split())
    assert slowest < ANSWER
    assert held(own, "hog", load.counts) > 0
    assert passed > 2.5, "it was to last 3 s"
    assert used < 1.1 * load.limits["cpus"] * (passed + PERIOD)
    assert own.run("hog", "echo", "alive") == "alive"
    assert kernel_complaints() <= before


@pytest.fixture(scope="module")
def beside(site: Site, template: str) -> Iterator[Beside]:
    """LXC's tests in one guest, Lynis in another, at the same time: neither makes use of two processors."""
    guests = Guests(site, template)
    try:
        for name in ("lxc", "audited"):
            guests.start(name, addresses=[f"192.0.2.{22 + len(name)}"])
        for name in ("lxc", "audited"):
            guests.wait_booted(name)
        programs = guests.run("lxc", "sh", "-c", "ls /usr/bin/lxc-test-*").split()
        programs = [program for program in programs if Path(program).name not in peers.LXC_SLOW]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            lxc = pool.submit(results, guests, "lxc", programs, 1, NO_CONTAINERS)
            yield Beside(lxc, pool.submit(lynis, guests.command("audited")))
    finally:
        guests.remove_all()


def test_lxcs_own_tests(beside: Beside) -> None:
    """Most make containers, inside a guest."""
    ended = beside.lxc.result()
    assert len(ended) > 45
    found = list(peers.surprises(peers.LXC, ended))
    assert not found, "\n".join(found)


def test_lynis_warns_of_nothing_in_a_guest(beside: Beside) -> None:
    audit = beside.audit.result()
    assert audit.warnings == frozenset()
    assert audit.index >= HARDENING
