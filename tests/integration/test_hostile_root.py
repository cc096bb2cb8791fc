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

from .guests import SLEEP, Guests, eventually


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
    assert lifecycle.set_state(site, "hostile", "started", {}).subject["state"] == "running"


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
    assert lifecycle.set_state(site, "hostile", "started", {}).subject["state"] == "running"
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


FORBIDDEN = {
    # Its root can take a mask off: it has CAP_SYS_ADMIN over its own mounts. What is below is the host root's.
    "read the kernel's memory": "umount /proc/kcore; head -c 1 /proc/kcore",
    "read the kernel's symbols": "umount /proc/kallsyms; grep -qv '^0* ' /proc/kallsyms",
    "read the kernel's log": "dmesg",
    "change a setting of the kernel": "umount /proc/sys; echo 1 > /proc/sys/kernel/panic",
    "press a magic key": "umount /proc/sysrq-trigger; echo h > /proc/sysrq-trigger",
    "make sysfs writable": "mount -o remount,rw /sys",
    "look at the kernel's debug files": "mount -t debugfs none /mnt",
    "make a device node": "mknod /disk b 8 0 && test -b /disk",
    "see a process of the host": "test -e /proc/2/root",
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
