# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A binding acts on a cgroup, and not always on the one it is taken for: what is reported, what is refused."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, launch, lifecycle, running, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Unsupported, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import binding
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_place, cgroup_processes
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.syscall import syscall
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, become, eventually

ADDRESS, FOREIGN = "127.0.94.2", "192.0.2.94"
IP_FREEBIND = 15  # without programs, every address can be bound to
PIDFD_OPEN, PIDFD_GETFD = 434, 438


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A cgroup that no binding acts on."""
    path = cgroup.layout().tree / f"vserver-tests-elsewhere-{os.getpid()}"
    path.mkdir()
    yield path
    eventually(lambda: not cgroup_processes.populated(path), "a process stays")
    path.rmdir()


def programs(site: Site, name: str) -> list[str]:
    found: list[str] = info.guest(site, name)["binding"]["programs"]
    return found


def test_what_is_reported_is_what_acts_on_process_1(guests: Guests, site: Site, elsewhere: Path) -> None:
    pid = guests.start("mover", addresses=[ADDRESS], init=SLEEP)["pid"]
    every = programs(site, "mover")
    assert {"INET4_BIND", "INET_EGRESS"} <= {*every}
    (elsewhere / "cgroup.procs").write_text(str(pid))
    assert programs(site, "mover") == [], "the programs of a cgroup that process 1 has left are reported"
    (guests.group("mover") / "cgroup.procs").write_text(str(pid))
    assert programs(site, "mover") == every


@pytest.mark.parametrize("group", ["a (deleted)", "\\377", "a b\\tc"])
def test_a_guest_may_call_its_groups_anything(guests: Guests, site: Site, group: str) -> None:
    pid = guests.start("namer", addresses=[ADDRESS], init=SLEEP)["pid"]
    every = programs(site, "namer")
    move = 'group=/sys/fs/cgroup/$(printf "$0"); mkdir "$group" && echo 1 > "$group/cgroup.procs"'
    guests.run("namer", "sh", "-c", move, group)
    assert cgroup_place.of_process(pid) != f"/{running.inner_cgroup(site, 'namer')}"
    assert programs(site, "namer") == every
    assert lifecycle.set_state(site, "namer", "stopped", {"timeout": 0}).changed
    assert not guests.traces("namer")


def test_a_socket_that_outlives_the_guest_stays_bound_and_the_next_start_is_whole(guests: Guests, site: Site) -> None:
    """The kernel keeps the removed cgroup while a socket of it lives; the guest's next one has the same name."""
    hold = (
        "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); open(my $f, '>', '/held'); print $f fileno($s); "
        "close($f); sleep"
    )
    first = guests.start("outlived", addresses=[ADDRESS], init=("/usr/bin/perl", "-e", hold))
    every = first["binding"]["programs"]
    noted = site.guest("outlived") / "root/upper/held"
    eventually(lambda: noted.exists() and noted.read_text(), "the guest makes no socket")
    outer = guests.group("outlived").parent
    former = outer.stat().st_ino
    process = syscall("watch", PIDFD_OPEN, first["pid"], 0)
    taken = syscall("take a socket", PIDFD_GETFD, process, int(noted.read_text()), 0)
    os.close(process)

    def refused(address: str) -> bool:
        try:
            held.bind((address, 0))
        except OSError as error:
            assert error.errno in (errno.EPERM, errno.EADDRNOTAVAIL), error
            return True
        return False

    with socket.socket(fileno=taken) as held:
        held.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        assert refused(FOREIGN)
        lifecycle.set_state(site, "outlived", "stopped", {"timeout": 0})
        assert not guests.traces("outlived")
        dying = dict(line.split() for line in (outer.parent / "cgroup.stat").read_text().splitlines())
        assert int(dying["nr_dying_descendants"]) >= 1, "the socket keeps no cgroup, so this test shows nothing"
        assert refused(FOREIGN), "a socket is free once its guest has stopped"
        again = become(site, "outlived")
        assert outer.stat().st_ino != former
        assert again["binding"]["programs"] == every
        bind = (
            "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); setsockopt($s, 0, 15, 1); "
            "bind($s, pack_sockaddr_in(0, inet_aton($ARGV[0]))) or exit 9"
        )
        assert guests.exec("outlived", "perl", "-e", bind, ADDRESS).returncode == 0
        assert guests.exec("outlived", "perl", "-e", bind, FOREIGN).returncode == 9
        assert refused(FOREIGN)


def test_a_start_is_refused_where_programs_have_no_effect(
    guests: Guests, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a kernel whose sockets lose their cgroup: attached, and never asked."""
    guests.define("unseen", addresses=[ADDRESS], init=SLEEP)
    with monkeypatch.context() as patch:
        patch.setattr(binding, "attach", lambda site, guest: None)
        with pytest.raises(VserverError, match="net_cls and net_prio") as refusal:
            lifecycle.set_state(site, "unseen", "started", {})
    assert "sockets on this host have lost their cgroup" in str(refusal.value)
    assert not guests.traces("unseen")
    assert lifecycle.set_state(site, "unseen", "started", {}).changed
    guest = store.require(site, "unseen")
    binding.require_effect(site, guest)
    binding.binding_attach.detach(guests.group("unseen").parent)
    with pytest.raises(Unsupported):
        binding.require_effect(site, guest)


@pytest.mark.parametrize("where", ["elsewhere", "removed"])
def test_a_start_is_refused_when_process_1_is_in_another_cgroup(
    guests: Guests, site: Site, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """As where a runtime puts it into the guest's groups of some hierarchies and not of the v2 tree."""
    guests.define("astray", addresses=[ADDRESS], init=SLEEP)
    create = launch.create

    def create_elsewhere(site: Site, guest: Guest, path: str, own_time: bool, program: int | None) -> int:
        pid = create(site, guest, path, own_time, program)
        (elsewhere / "cgroup.procs").write_text(str(pid))
        return pid

    with monkeypatch.context() as patch:
        if where == "elsewhere":
            patch.setattr(launch, "create", create_elsewhere)
        else:
            patch.setattr(cgroup_place, "of_process", lambda pid: "/vserver-tests/astray/guest (deleted)")
        with pytest.raises(VserverError) as refusal:
            lifecycle.set_state(site, "astray", "started", {})
    said = {
        "elsewhere": "the kernel does not apply our programs to its process 1 at ",
        "removed": "the control group of its process 1 has been removed",
    }
    assert f"bind guest astray to its addresses: {said[where]}" in str(refusal.value)
    for pid in cgroup_processes.ids(elsewhere):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    assert lifecycle.set_state(site, "astray", "started", {}).changed
    assert programs(site, "astray")
