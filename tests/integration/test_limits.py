# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of real guests: set live, read back from the kernel, enforced, in force again after a restart.

Every load is small and ends by itself. What is in force is looked for in the files of whichever version of control
groups this machine has.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, running, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import limits as facet
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import bpf, cgroup, controller, quota
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import Assembler
from ansible_collections.linux.vserver.plugins.module_utils._engine.limits import per_process, socket_counter
from ansible_collections.linux.vserver.plugins.module_utils._engine.limits.socket_counter import Sockets
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually

M = 1 << 20


def disk_of(path: Path) -> str:
    """The whole disk that a path's file system is on."""
    device = path.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    return f"/dev/{(place.parent if (place / 'partition').exists() else place).name}"


def kernel(site: Site, name: str, controller_: str, v2: str, v1: str) -> str:
    """What a file of the guest's group says."""
    sharing, _unit = running.sharing_group(site, name)
    shares = controller.controller(cgroup.layout(), "cpu", sharing, sharing)
    group = shares if v2 in ("cpu.weight", "cpu.idle") else running.controllers(site, name)[controller_]
    assert group is not None
    return str(group.read(v2 if group.unified else v1))


def set_limits(site: Site, name: str, check: bool = False, **options: Any) -> Outcome:
    return lifecycle.configure(site, name, "limits", options, check=check)


def four_calls(site: Site, name: str, **options: Any) -> None:
    """Check, run, run, check on a running guest; and what is recorded is in force."""
    calls: list[Callable[[], Outcome]] = [
        lambda: set_limits(site, name, True, **options),
        lambda: set_limits(site, name, **options),
    ]
    foretold, made, again, last = (call() for call in (*calls, *reversed(calls)))
    assert [outcome.changed for outcome in (foretold, made, again, last)] == [True, True, False, False]
    assert foretold.after == made.after
    assert not made.restart_required
    assert in_force(site, name)


def in_force(site: Site, name: str) -> bool:
    record = store.require(site, name)
    return facet.compare(record.limits, facet.observe(site, record, running.read(site, name))) == []


def test_memory(guests: Guests, site: Site) -> None:
    guests.start("memory", init=SLEEP)
    four_calls(site, "memory", memory="64M", memory_swap=0)
    assert kernel(site, "memory", "memory", "memory.max", "memory.limit_in_bytes") == str(64 * M)
    assert kernel(site, "memory", "memory", "memory.swap.max", "memory.memsw.limit_in_bytes") in ("0", str(64 * M))
    four_calls(site, "memory", memory="24M")
    eaten = guests.exec("memory", "python3", "-c", "a = b'x' * (40 << 20); print('no limit')")
    assert eaten.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    four_calls(site, "memory", memory="96M", memory_swap="max")
    assert guests.run("memory", "python3", "-c", "a = b'x' * (40 << 20); print('fits')") == "fits"
    four_calls(site, "memory", memory="max")


def test_processor(guests: Guests, site: Site) -> None:
    guests.start("processor", init=SLEEP)
    four_calls(site, "processor", cpus=0.5, cpu_period="20ms", cpu_burst="5ms", cpu_weight=300)
    assert kernel(site, "processor", "cpu", "cpu.max", "cpu.cfs_quota_us").split()[0] == "10000"
    assert kernel(site, "processor", "cpu", "cpu.max.burst", "cpu.cfs_burst_us") == "5000"
    assert kernel(site, "processor", "cpu", "cpu.weight", "cpu.shares") in ("300", "3072")
    four_calls(site, "processor", cpus=0.25, cpu_period="100ms", cpu_burst=0)
    four_calls(site, "processor", cpu_weight=100, cpu_idle=True)
    assert kernel(site, "processor", "cpu", "cpu.idle", "cpu.idle") == "1"
    four_calls(site, "processor", cpu_idle=False, cpu_weight=50)
    four_calls(site, "processor", cpu_weight=100, cpus="max")


def test_processors(guests: Guests, site: Site) -> None:
    count = os.cpu_count() or 1
    guests.start("placed", init=SLEEP)
    assert guests.run("placed", "nproc") == str(count)
    four_calls(site, "placed", cpuset="0")
    assert guests.run("placed", "nproc") == "1"
    if count > 1:
        four_calls(site, "placed", cpuset=f"0-{count - 1}")
        four_calls(site, "placed", cpuset="0")
    four_calls(site, "placed", cpuset="max")
    assert guests.run("placed", "nproc") == str(count)


def test_processes(guests: Guests, site: Site) -> None:
    guests.start("forks", init=SLEEP)
    four_calls(site, "forks", processes=20)
    forks = "import os\nn = 0\ntry:\n  while n < 100 and os.fork(): n += 1\nexcept OSError: print(n)"
    assert 0 < int(guests.run("forks", "python3", "-c", forks)) < 20
    four_calls(site, "forks", processes="max")


def test_a_new_guest_has_a_share_of_the_hosts_processes(guests: Guests, site: Site) -> None:
    guests.start("modest", init=SLEEP)
    most = min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("threads-max", "pid_max"))
    assert info.guest(site, "modest")["limits"]["processes"] == int(most * 0.15)
    assert kernel(site, "modest", "pids", "pids.max", "pids.max") == str(int(most * 0.15))
    assert in_force(site, "modest") and not set_limits(site, "modest").changed
    four_calls(site, "modest", processes="max")
    assert kernel(site, "modest", "pids", "pids.max", "pids.max") == "max"
    four_calls(site, "modest", processes="auto")
    assert kernel(site, "modest", "pids", "pids.max", "pids.max") == str(int(most * 0.15))


#: Makes sockets until it may not, again and again, and beside them attempts that do not count: what is refused by the
#: binding, and what accept(2) makes. Says how many there were each time.
SOCKETS = """
import socket
def many():
    held = []
    try:
        while len(held) < 100: held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    except PermissionError: return len(held)
print(many())
for _ in range(50):
    try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    except PermissionError: pass
print(many())
with socket.create_server(("127.0.0.1", 0)) as server:
    ends = [(socket.create_connection(server.getsockname()), server.accept()) for _ in range(10)]
    print(many())
    del ends
    print(many())
print(many())
"""


def test_sockets(guests: Guests, site: Site) -> None:
    guests.start("connects", init=SLEEP)
    outer = guests.group("connects").parent
    assert socket_counter.read(outer) == Sockets(0, None, 0), "they are counted before there is a limit"
    four_calls(site, "connects", sockets=20)

    def check() -> None:
        assert guests.run("connects", "python3", "-c", SOCKETS).split() == ["20", "20", "9", "19", "20"]
        eventually(lambda: (socket_counter.read(outer) or Sockets(9, 9, 9)).now == 0, "sockets stay counted")

    check()
    assert (socket_counter.read(outer) or Sockets(0, 0, 0)).refused == 5
    for network in ("host", "bound"):  # by which the binding's programs come after the counter
        lifecycle.configure(site, "connects", "binding", {"network": network})
    assert in_force(site, "connects")
    check()
    four_calls(site, "connects", sockets=0)
    assert guests.exec("connects", "python3", "-c", "import socket; socket.socket()").returncode != 0
    four_calls(site, "connects", sockets="max")
    guests.run("connects", "python3", "-c", "import socket; held = [socket.socket() for _ in range(100)]")


def test_a_counter_that_is_not_the_last_is_put_right(guests: Guests, site: Site) -> None:
    """What another program refuses after it would be counted, and never counted out."""
    guests.start("later", init=SLEEP, limits={"sockets": 5})
    allowing = Assembler()
    allowing.leave(1)
    hook, outer = bpf.AttachType.INET_SOCK_CREATE, guests.group("later").parent
    code = allowing.assemble().instructions
    loaded = bpf.load_program(bpf.ProgramType.CGROUP_SOCK, code, "later", hook)
    with bpf.opened(loaded) as program, bpf.opened(os.open(outer, os.O_RDONLY)) as directory:
        bpf.attach(directory, program, hook)
    assert not in_force(site, "later")
    assert set_limits(site, "later").changed
    assert in_force(site, "later")


def test_disks(guests: Guests, site: Site) -> None:
    guests.start("writes", init=SLEEP)
    disk = disk_of(site.state)
    four_calls(site, "writes", io=[{"device": disk, "write": "2M", "read_operations": 500}])
    said = guests.exec("writes", "dd", "if=/dev/zero", "of=/big", "bs=256k", "count=16", "oflag=direct").stderr
    took = float(said.splitlines()[-1].split(", ")[-2].split()[0])
    assert 1.8 <= took <= 2.4, f"4 MiB at 2 MiB a second: {said}"
    four_calls(site, "writes", io=[{"device": disk, "write": "64M"}])
    four_calls(site, "writes", io=[])


def test_sysctls(guests: Guests, site: Site) -> None:
    guests.start("settings", init=SLEEP)
    before = Path("/proc/sys/kernel/shmmni").read_text(), Path("/proc/sys/user/max_inotify_instances").read_text()
    values = {"kernel.shmmni": 17, "kernel.sem": "100 1000 10 8", "user.max_inotify_instances": 9}
    four_calls(site, "settings", sysctls=values)
    assert guests.run("settings", "cat", "/proc/sys/kernel/shmmni") == "17"
    assert guests.run("settings", "cat", "/proc/sys/kernel/sem").split() == ["100", "1000", "10", "8"]
    assert guests.run("settings", "cat", "/proc/sys/user/max_inotify_instances") == "9"
    many = "import ctypes\nlibc = ctypes.CDLL(None)\nprint(sum(libc.inotify_init() >= 0 for _ in range(30)))"
    assert guests.run("settings", "python3", "-c", many) == "9"
    assert before == tuple(
        Path(f"/proc/sys/{name}").read_text() for name in ("kernel/shmmni", "user/max_inotify_instances")
    )
    outcome = set_limits(site, "settings", sysctls={"kernel.shmmni": 18})
    assert [reason for reason in outcome.restart_required if "sysctls" in reason]
    with pytest.raises(VserverError, match="kernel.sem"):
        set_limits(site, "settings", sysctls={**values, "kernel.sem": "1"})


#: A value for each limit of a process that a `sleep` can live with; the host's own may be lower.
RLIMITS = {
    "as": 4 << 30, "core": 0, "cpu": 36_000, "data": 1 << 30, "fsize": 1 << 40, "memlock": 65_536, "msgqueue": 1_000,
    "nice": 20, "nofile": 500, "nproc": 1_000, "rss": 1 << 40, "rtprio": 0, "rttime": 1_000_000, "sigpending": 100,
    "stack": 8 << 20,
}  # fmt: skip


def test_every_rlimit_is_set_on_processes_that_run(guests: Guests, site: Site) -> None:
    pid = guests.start("bounded", init=SLEEP)["pid"]
    assert set(RLIMITS) == set(per_process.RLIMITS)
    given = {}
    for name, value in RLIMITS.items():
        most = resource.prlimit(pid, per_process.RLIMITS[name])[1]
        given[name] = value if most == resource.RLIM_INFINITY else min(value, most)
    four_calls(site, "bounded", rlimits=given)
    for name, value in given.items():
        assert resource.prlimit(pid, per_process.RLIMITS[name]) == (value, value), name
    assert guests.run("bounded", "sh", "-c", "ulimit -n; ulimit -Hn").split() == [str(given["nofile"])] * 2


def test_a_restart_puts_them_in_force_before_init_runs(guests: Guests, site: Site) -> None:
    tell = "cat /proc/sys/kernel/shmmni >/first; nproc >>/first; exec sleep infinity"
    options = {
        "memory": "64M",
        "memory_swap": 0,
        "cpus": 0.5,
        "cpu_burst": "10ms",
        "cpu_weight": 20,
        "cpuset": "0",
        "processes": 50,
        "sockets": 60,
        "io": [{"device": disk_of(site.state), "read": "50M", "write_operations": 900}],
        "rlimits": {"nofile": 77},
        "sysctls": {"kernel.shmmni": 19},
    }
    guests.start("again", init=["/bin/sh", "-c", tell], limits=options)
    assert in_force(site, "again")
    lifecycle.set_state(site, "again", "restarted", {"timeout": 0})
    assert in_force(site, "again")
    assert not set_limits(site, "again", **options).changed
    eventually(lambda: guests.run("again", "cat", "/first").split() == ["19", "1"], "its init was not limited")


def test_what_somebody_else_changed_is_found_and_put_right(guests: Guests, site: Site) -> None:
    guests.start("drifts", init=SLEEP, limits={"processes": 50, "cpu_weight": 200})
    running.controllers(site, "drifts")["pids"].write("pids.max", 60)
    sharing, _unit = running.sharing_group(site, "drifts")
    share = controller.controller(cgroup.layout(), "cpu", sharing, sharing)
    assert share is not None
    share.write("cpu.weight" if share.unified else "cpu.shares", 300)
    outcome = set_limits(site, "drifts", check=True)
    assert set(outcome.before) == {"processes", "cpu_weight"} and outcome.before["processes"] == 60
    assert set_limits(site, "drifts").changed and in_force(site, "drifts")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"memory": "1P"}, "too large: this host has .* bytes of memory"),
        ({"cpus": 5000}, "too large: this host has .* processors"),
        ({"cpuset": "0,700"}, "does not have: it has .* Take out 700"),
        ({"processes": 9_999_999}, "too large: this host has"),
        ({"io": [{"device": "/dev/no-such-disk", "read": "1M"}]}, "/dev/no-such-disk: No such file"),
        ({"io": [{"device": "/dev/null", "read": "1M"}]}, "/dev/null: it is not a block device"),
        ({"sysctls": {"user.max_nonsense": 5}}, "this host's kernel does not have it"),
        ({"rlimits": {"nofile": "infinity"}}, "rlimit nofile: hard limit infinity is too large"),
    ],
)
def test_what_this_host_cannot_keep_is_refused(guests: Guests, site: Site, options: dict[str, Any], said: str) -> None:
    guests.define("refuses", init=SLEEP)
    before = info.guest(site, "refuses")
    for check in (True, False):
        with pytest.raises(VserverError, match=said):
            set_limits(site, "refuses", check, **options)
    assert info.guest(site, "refuses") == before


@pytest.mark.skipif(cgroup.layout().mode == "unified", reason="version 2 has it all")
@pytest.mark.parametrize("option", ["memory_high", "memory_low", "memory_min"])
def test_version_1_says_what_it_lacks(guests: Guests, site: Site, option: str) -> None:
    guests.define("lacks", init=SLEEP)
    with pytest.raises(VserverError, match=f"limit {option}: .* being of version 1"):
        set_limits(site, "lacks", **{option: "8M"})


def test_a_project_is_given_to_the_last_directory_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file system that has projects: which inodes would be told theirs, and once each. The guest moves and
    removes things meanwhile."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    top.mkdir()
    outside.mkdir()
    (outside / "file").touch()
    expected, fd = {top.stat().st_ino}, os.open(top, os.O_RDONLY)
    for depth in range(1500):
        os.mkdir("below", dir_fd=fd)
        os.symlink(outside, "link", dir_fd=fd)
        for name in ("below", "file") if depth % 100 == 0 else ("below",):
            if name == "file":
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            expected.add(os.stat(name, dir_fd=fd).st_ino)
        below = os.open("below", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    (top / "gone").mkdir()
    gone, moved = (top / "gone").stat().st_ino, (top / "below").stat().st_ino
    told: list[int] = []

    def note(opened: int, _number: int, _inherit: bool) -> None:
        told.append(os.fstat(opened).st_ino)
        if told[-1] == gone:
            (top / "gone").rmdir()
        if told[-1] == moved:
            (top / "below").rename(top / "elsewhere")

    expected.add(gone)
    monkeypatch.setattr(quota, "_assign_one", note)
    quota.assign(top, 4711)
    assert set(told) == expected and told[-1] == top.stat().st_ino
    subprocess.run(["rm", "-rf", str(top)], check=True)
