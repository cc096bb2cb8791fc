# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile guest root owns every byte of its root file system; the host reads, writes and runs nothing through it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import landlock
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, become, eventually


def link(target: Path) -> Callable[[Path], None]:
    return lambda place: place.symlink_to(target)


def absolute_link_out(bait: Path) -> Callable[[Path], None]:
    return link(bait)


def relative_link_out(bait: Path) -> Callable[[Path], None]:
    return link(Path("../" * 20 + str(bait).lstrip("/")))


def link_within(bait: Path) -> Callable[[Path], None]:
    return link(Path("/tmp"))


def fifo(bait: Path) -> Callable[[Path], None]:
    return os.mkfifo


def huge_file(bait: Path) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        place.touch()
        os.truncate(place, 1 << 40)

    return make


def contents(tree: Path) -> dict[str, tuple[int, int, float]]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime)
        for path in sorted(tree.rglob("*"))
    }


@pytest.mark.parametrize("what", [absolute_link_out, relative_link_out, link_within, fifo, huge_file])
@pytest.mark.parametrize("place", ["dev", "proc", "sys", "run"])
def test_a_planted_mount_point_is_refused(
    guests: Guests, site: Site, tmp_path: Path, place: str, what: Callable[[Path], Callable[[Path], None]]
) -> None:
    bait = tmp_path / "bait"
    (bait / "sub").mkdir(parents=True)
    (bait / "file").write_text("host")
    before = contents(bait)
    guests.define("hostile", init=SLEEP)
    upper = site.guest("hostile") / "root/upper"
    what(bait)(upper / place)
    with pytest.raises(VserverError, match=f"/{place} in the root of guest hostile"):
        lifecycle.set_state(site, "hostile", "started", {})
    assert contents(bait) == before
    assert not guests.traces("hostile")
    assert info.guest(site, "hostile")["state"] == "stopped"
    (upper / place).unlink()
    assert become(site, "hostile")["state"] == "running"


@pytest.mark.parametrize("place", ["etc/hostname", "etc/resolv.conf", "etc/hosts", "etc/mtab", "etc", "tmp", "var"])
@pytest.mark.parametrize("what", [absolute_link_out, fifo, huge_file])
def test_files_the_host_need_not_look_at(
    guests: Guests, site: Site, tmp_path: Path, place: str, what: Callable[[Path], Callable[[Path], None]]
) -> None:
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "file").write_text("host")
    before = contents(bait)
    guests.define("hostile", init=SLEEP)
    target = site.guest("hostile") / "root/upper" / place
    target.parent.mkdir(exist_ok=True)
    what(bait)(target)
    assert become(site, "hostile")["state"] == "running"
    assert info.guests(site, ["hostile"])[0]["disk_bytes"] < 1 << 30
    lifecycle.set_state(site, "hostile", "stopped", {})
    assert contents(bait) == before


def test_init_is_looked_up_in_the_guest(guests: Guests, site: Site, tmp_path: Path) -> None:
    """/sbin/init as a link to a program that only the host has: nothing of the host's is executed."""
    program = tmp_path / "host-program"
    shutil.copy("/bin/sleep", program)
    guests.define("hostile", init=["/init", "infinity"])
    (site.guest("hostile") / "root/upper/init").symlink_to(program)
    with pytest.raises(VserverError, match="(?i)no such file"):
        lifecycle.set_state(site, "hostile", "started", {})
    assert not guests.traces("hostile")


def test_a_planted_setuid_program_is_out_of_reach(guests: Guests, site: Site) -> None:
    guests.start("hostile", init=SLEEP)
    guests.run("hostile", "sh", "-c", "cp /bin/sh /suid; chmod 4755 /suid")
    planted = site.guest("hostile") / "root/upper/suid"
    assert planted.stat().st_mode & stat.S_ISUID and planted.stat().st_uid == 0
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            os.execv(planted, [str(planted), "-c", "true"])
        except PermissionError:
            os._exit(77)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77


def test_a_very_deep_tree_is_counted_and_removed(guests: Guests, site: Site) -> None:
    guests.start("hostile", init=SLEEP)
    dig = "import os\nfor n in range(3000):\n  os.mkdir('d' * 100); os.chdir('d' * 100)"
    guests.run("hostile", "python3", "-c", dig)
    assert info.guests(site, ["hostile"])[0]["disk_bytes"] > 3000 * 4096
    lifecycle.set_state(site, "hostile", "absent", {"timeout": 0})
    lifecycle.remove_root(site, "hostile")
    assert not site.guest("hostile").exists()


def _klogctl(action: int) -> str:
    call = f"ctypes.CDLL(None).klogctl({action}, ctypes.create_string_buffer(64), 64)"
    return f"python3 -c 'import ctypes, sys; sys.exit({call} < 0)'"


FORBIDDEN = {
    # Its root can take a mask off: it has CAP_SYS_ADMIN over its own mounts. What is below is the host root's.
    "read the kernel's memory": "umount /proc/kcore; head -c 1 /proc/kcore",
    "read the kernel's symbols": "umount /proc/kallsyms; grep -qv '^0* ' /proc/kallsyms",
    "read the kernel's log": "dmesg",
    "read the kernel's log by syslog(2)": _klogctl(3),
    "ask for the size of the kernel's log": _klogctl(10),
    "read the kernel's log in /proc": "umount /proc/kmsg; head -c 1 /proc/kmsg",
    "read the kernel's log in a /proc of its own": "mount -t proc proc /mnt && head -c 1 /mnt/kmsg",
    "read the kernel's log by its device": "head -c 1 /dev/kmsg",
    "make the device of the kernel's log": "mknod /dev/kmsg c 1 11",
    "change a setting of the kernel": "umount /proc/sys; echo 1 > /proc/sys/kernel/panic",
    "press a magic key": "umount /proc/sysrq-trigger; echo h > /proc/sysrq-trigger",
    "make sysfs writable": "mount -o remount,rw /sys",
    "look at the kernel's debug files": "mount -t debugfs none /mnt",
    "make a device node": "mknod /disk b 8 0 && test -b /disk",
    "see a process of the host": "grep --quiet pytes[t] /proc/[0-9]*/cmdline",
    "mount a disk": "mount /dev/vda /mnt",
    "load a module": "test -e /proc/modules && grep -q . /proc/modules",
    "set the clock": "date -s 2001-01-01",
}


@pytest.mark.parametrize("attempt", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_what_root_of_a_guest_cannot_do(guests: Guests, attempt: str) -> None:
    guests.start("hostile", init=SLEEP)
    result = guests.exec("hostile", "sh", "-c", attempt)
    assert result.returncode not in (0, 126, 127), result
    assert "not found" not in result.stderr, result


@pytest.mark.skipif(landlock.abi() < 6, reason="scopes of Landlock came with Linux 6.12")
def test_abstract_sockets_of_the_host_are_out_of_reach(guests: Guests) -> None:
    """They belong to the network namespace, which guests share: CVE-2020-15257."""
    client = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); n = chr(0) + 'vserver-test'\n"
        "try: s.connect(n); print('connected')\n"
        "except OSError as error: print(error.errno)"
    )
    argv = ["/usr/bin/python3", "-c", f"import sys; sys.stdout = open('/answer', 'w')\n{client}\nsys.stdout.close()"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0vserver-test")
        listener.listen()
        guests.define("hostile", init=[*argv[:2], argv[2] + "\nimport time; time.sleep(1000)"])
        lifecycle.set_state(guests.site, "hostile", "started", {})
        answer = guests.site.guest("hostile") / "root/upper/answer"
        eventually(lambda: answer.exists() and answer.read_text(), "the guest does not answer")
        assert answer.read_text().strip() == str(errno.EPERM)


#: In a guest: a line for each process that its /proc and one of its own mounting show, with owner and command; then how
#: signals and a pidfd for the given process ids are refused.
LOOK_AROUND = """
import ctypes, errno, os, signal, subprocess, sys
subprocess.run(["mount", "-t", "proc", "proc", "/mnt"], check=True)
for top in ("/proc", "/mnt"):
    for name in filter(str.isdigit, os.listdir(top)):
        try:
            print(os.stat(f"{top}/{name}").st_uid, repr(open(f"{top}/{name}/cmdline").read()[:40]))
        except FileNotFoundError:
            pass
for pid in map(int, sys.argv[1:]):
    assert not os.path.exists(f"/proc/{pid}") and not os.path.exists(f"/mnt/{pid}"), pid
    for act in (lambda: os.kill(pid, 0), lambda: os.kill(pid, signal.SIGKILL), lambda: os.pidfd_open(pid),
                lambda: os.sched_getaffinity(pid), lambda: os.getpriority(os.PRIO_PROCESS, pid)):
        try:
            act()
        except OSError as error:
            assert error.errno == errno.ESRCH, error
        else:
            raise AssertionError(pid)
"""


def test_processes_of_others_are_not_there(guests: Guests) -> None:
    neighbour = guests.start("neighbour", init=["/bin/sleep", "40404"])
    guests.start("hostile", init=SLEEP)
    others = (str(neighbour["pid"]), str(os.getpid()))
    seen = guests.run("hostile", "python3", "-c", LOOK_AROUND, *others).splitlines()
    assert len(seen) == 4 and {line.split()[0] for line in seen} == {"0"}  # init and the looker, each twice
    assert "40404" not in "".join(seen)


def test_mounts_of_others_are_not_there(guests: Guests) -> None:
    guests.start("neighbour", init=SLEEP)
    for method in ("overlay", "copy"):
        guests.start(f"hostile-{method}", init=SLEEP, method=method)
        for file in ("mountinfo", "mounts", "mountstats"):
            told = guests.run(f"hostile-{method}", "cat", f"/proc/1/{file}", f"/proc/self/{file}")
            assert " /proc " in told and "neighbour" not in told
            # A bind names its source; an overlay names what it is told.
            names_places = "/guests/" in told or "/run/" in told
            assert names_places is (method == "copy" and file == "mountinfo")
