# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A spectator sees every process, and acts on none but its own; the attacks are those of ``onlooker.py``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, throwaway
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import landlock, process
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import onlooker
from .guests import SLEEP, Guests, become, eventually

SCRIPT = Path(onlooker.__file__).read_text()
#: Refusals; what is no file of this kernel is neither.
REFUSED = {"EPERM", "EACCES", "EROFS"}
LACKING = {"ENOENT", "ENOSYS", "EINVAL", "EOPNOTSUPP", "ENODEV"}
SIGNALS = {name for name in onlooker.ATTACKS if name.startswith(("kill", "stop", "probe", "continue", "queue"))}


@pytest.fixture
def spectator(guests: Guests) -> str:
    """The name of a running spectator."""
    guests.start("watcher", init=SLEEP, spectator=True)
    return "watcher"


@contextlib.contextmanager
def sleeping(uid: int = 0) -> Iterator[int]:
    """A process of the host, of a user; yields its pid."""
    child = subprocess.Popen(["sleep", "1000"], user=uid, group=uid, extra_groups=[], start_new_session=True)
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


def standing(pid: int) -> dict[str, object]:
    """All of a process that another could change."""
    facts = process.status(pid)
    told = {key: facts[key] for key in ("TracerPid", "SigPnd", "ShdPnd", "Seccomp", "Cpus_allowed_list")}
    files = ("oom_score_adj", "coredump_filter", "timerslack_ns", "cgroup", "autogroup", "limits")
    return {
        **told,
        **{file: Path(f"/proc/{pid}/{file}").read_text() for file in files if Path(f"/proc/{pid}/{file}").exists()},
        "stopped": process.state(pid) not in ("R", "S", "D"),
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "policy": os.sched_getscheduler(pid),
        "start": process.start_ticks(pid),
    }


def attack(guests: Guests, name: str, pids: Sequence[int], user: Sequence[str] = ()) -> list[list[str]]:
    """Make all attacks in guest ``name``; [attack, pid, how it ended]."""
    words = ("python3", "-c", SCRIPT, "all", *map(str, pids))
    return [line.split("\t") for line in guests.run(name, *user, *words).splitlines()]


def test_it_sees_every_process_and_who_it_is_of(guests: Guests, spectator: str) -> None:
    web = guests.start("web", init=["/bin/sleep", "31415"])
    seen = guests.run(spectator, "ps", "-e", "-o", "pid,args")
    for pid, words in ((web["pid"], "/bin/sleep 31415"), (1, ""), (os.getpid(), "")):
        assert any(line.split()[0] == str(pid) and words in line for line in seen.splitlines()), pid
    assert "/web/guest" in guests.run(spectator, "cat", f"/proc/{web['pid']}/cgroup")
    group = next(
        line[3:] for line in Path(f"/proc/{web['pid']}/cgroup").read_text().splitlines() if line.startswith("0::")
    )
    assert guests.run(spectator, "cat", f"/sys/fs/cgroup{group}/cgroup.procs").split() == [str(web["pid"])]
    told = info.guest(guests.site, spectator)
    assert told["context"]["spectator"] is True and told["own_uptime"] is False and told["processes"] == 1
    assert guests.run(spectator, "cat", "/proc/uptime").split(".")[0] == Path("/proc/uptime").read_text().split(".")[0]
    # It sees itself by the same numbers.
    assert guests.run(spectator, "sh", "-c", "readlink /proc/self; echo $$; exec true").split()[1:]
    assert (
        guests.run(spectator, "python3", "-c", "import os; print(os.readlink('/proc/self') == str(os.getpid()))")
        == "True"
    )


@pytest.mark.parametrize("by_ids_alone", [False, True], ids=["as it is", "without Landlock"])
def test_it_acts_on_no_process_of_others(
    guests: Guests, site: Site, monkeypatch: pytest.MonkeyPatch, by_ids_alone: bool
) -> None:
    if by_ids_alone:
        monkeypatch.setattr(landlock, "abi", lambda: 0)
    guests.start("watcher", init=SLEEP, spectator=True)
    web = guests.start("web", init=SLEEP)
    other = guests.start("other", init=SLEEP, spectator=True)
    with sleeping() as root, sleeping(1000) as user, sleeping(65534) as nobody:
        targets = {pid: standing(pid) for pid in (root, user, nobody, web["pid"], other["pid"], os.getpid())}
        ended = attack(guests, "watcher", list(targets))
        assert len(ended) == len(targets) * len(onlooker.ATTACKS)
        for name, pid, how in ended:
            if name in onlooker.SILENT:
                assert how in ("done", "EPERM"), (name, pid, how)
            elif name in SIGNALS:
                assert how == "EPERM", (name, pid, how)
            else:
                assert how in REFUSED | LACKING, (name, pid, how)
        for pid, before in targets.items():
            now = standing(pid)
            if pid == os.getpid():
                now, before = ({**each, "Cpus_allowed_list": ""} for each in (now, before))
            assert now == before, pid


@pytest.mark.parametrize("uid", [1000, 65534])
def test_a_user_of_it_is_no_user_of_the_hosts(guests: Guests, site: Site, spectator: str, uid: int) -> None:
    """Same number, another user: what counts for the kernel are the host's ids."""
    base = guests.start("web", init=SLEEP)["xid"] << 16
    as_user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    inside = subprocess.Popen(guests.command("web", *as_user, "sleep", "1000"), stdin=subprocess.DEVNULL)

    def of_the_user() -> list[int]:
        found = []
        for pid in map(int, (guests.group("web") / "cgroup.procs").read_text().split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                facts = process.status(pid)
                if facts["Uid"].split()[0] == str(base + uid) and facts["Name"] == "sleep":
                    found.append(pid)
        return found

    try:
        with sleeping(uid) as outside:
            eventually(of_the_user, "the guest's user has no process")
            pids = [outside, *of_the_user()]
            before = [standing(pid) for pid in pids]
            for name, pid, how in attack(guests, spectator, pids, as_user):
                assert how in REFUSED | LACKING or name in onlooker.SILENT, (name, pid, how)
            assert [standing(pid) for pid in pids] == before
    finally:
        inside.terminate()
        inside.wait()


#: Attacks that do nothing to a process that one may act on, or only where the kernel or the machine has them.
WITHOUT_HARM = {"move", "freeze", "join", "autogroup", "migrate", "share a core", "advise", "own a socket"}


@pytest.mark.parametrize("name", sorted(set(onlooker.ATTACKS) - WITHOUT_HARM))
def test_the_attacks_are_real(name: str) -> None:
    """By root of the host each is carried out: what is refused above is refused for who asks."""
    with sleeping() as target:
        said = subprocess.run(
            [sys.executable, "-c", SCRIPT, name, str(target)], capture_output=True, text=True, check=True
        )
        assert said.stdout.split("\t")[2].strip() == "done", said.stdout
        if name == "own a pipe":
            assert process.state(target) in ("Z", None)


def test_its_own_processes_are_its_own(guests: Guests, spectator: str) -> None:
    """kill(-1) and all else reach what it has made itself."""
    script = "sleep 1000 & sleep 1000 & kill -KILL $!; wait $!; python3 -c 'import os; os.kill(-1, 9)'; wait"
    with sleeping() as bystander:
        told = guests.exec(spectator, "sh", "-c", script)
        assert told.returncode in (0, 137), told
        assert process.state(bystander) == "S"
    pid = info.guest(guests.site, spectator)["pid"]
    if landlock.abi() >= landlock.ABI_WITH_SCOPES:
        assert pid and process.state(pid) == "S", "another domain, although the same user"


def test_its_proc_cannot_be_written_and_shows_no_more(guests: Guests, spectator: str) -> None:
    for attempt in (
        "mount -o remount,rw /proc && echo 1 > /proc/self/coredump_filter",
        "umount /proc/sys; echo 1 > /proc/sys/kernel/panic",
        "umount /proc/sysrq-trigger; echo h > /proc/sysrq-trigger",
        "umount /proc/kmsg; head -c 1 /proc/kmsg",
        "umount /proc/kcore; head -c 1 /proc/kcore",
        "echo 100 > /proc/self/oom_score_adj",
        "mkdir /sys/fs/cgroup/mine",
        "mount -o remount,rw /sys/fs/cgroup && mkdir /sys/fs/cgroup/mine",
        "nsenter --target 1 --mount true",
        "reboot -f",
    ):
        result = guests.exec(spectator, "sh", "-c", attempt)
        assert result.returncode not in (0, 126, 127), (attempt, result)


@pytest.mark.parametrize("over_the_host", [False, True])
def test_for_one_command(guests: Guests, site: Site, over_the_host: bool) -> None:
    root = {"method": "host"} if over_the_host else {"template": guests.template}
    options = {"root": root, "context": {"spectator": True}}
    with sleeping() as outside:
        ran = throwaway.capture(site, options, ["ps", "-e", "-o", "pid"])
        assert ran.status == 0 and str(outside) in ran.stdout.decode().split()
        ran = throwaway.capture(site, options, ["sh", "-c", f"kill -9 {outside}"])
        assert ran.status == 1 and "not permitted" in ran.stderr.decode()
        assert process.state(outside) == "S"
    assert not list(site.guests.glob("run-*"))


def test_what_it_needs_is_asked_for(guests: Guests, site: Site) -> None:
    guests.define("watcher", init=SLEEP)
    with pytest.raises(InvalidInput, match="user namespace"):
        lifecycle.configure(site, "watcher", "context", {"spectator": True, "user_namespace": False})
    with pytest.raises(InvalidInput, match="cannot boot"):
        lifecycle.configure(site, "watcher", "context", {"spectator": True, "init": ["auto"]})
    lifecycle.set_state(site, "watcher", "started", {})
    outcome = lifecycle.configure(site, "watcher", "context", {"spectator": True})
    assert outcome.changed and outcome.restart_required
    told = become(site, "watcher", "restarted")
    kept = {"CAP_KILL", "CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_SYS_RESOURCE"} & set(told["capabilities"]["bounding"])
    assert not kept
    with pytest.raises(InvalidInput, match="CAP_KILL"):
        lifecycle.configure(site, "watcher", "capabilities", {"add": ["KILL"]})
    lifecycle.set_state(site, "watcher", "stopped", {"timeout": 1})
    assert not guests.traces("watcher")


def test_it_stops_with_all_it_has_started(guests: Guests, site: Site, spectator: str) -> None:
    guests.run(spectator, "sh", "-c", "setsid sleep 2718 >/dev/null 2>&1 & exit 0")
    pids = [int(pid) for pid in (guests.group(spectator) / "cgroup.procs").read_text().split()]
    assert len(pids) == 2
    lifecycle.set_state(site, spectator, "stopped", {"timeout": 0})
    assert all(process.start_ticks(pid) is None for pid in pids)
    assert not guests.traces(spectator)
