# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the texts a kernel gives, with recorded ones; and a host as data."""

from __future__ import annotations

import errno
import json
import os
import shlex
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine.host import facts as host_facts
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import probe as host
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import probes as host_probes
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import runtimes as host_runtimes
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import trial as host_trial
from ansible_collections.linux.vserver.plugins.module_utils._engine.host.probe import Feature, Host, Runtime
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, mountinfo
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

# Debian 12, booted by systemd: everything in the v2 tree.
UNIFIED = """\
24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
25 30 0:23 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
33 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
36 30 8:17 / /var/lib/vserver rw,nosuid,nodev,relatime shared:29 - xfs /dev/sdb1 rw,attr2,inode64,noquota,prjquota
37 30 0:33 / /mnt/with\\040space rw,relatime - btrfs /dev/sdc rw,subvolid=5,subvol=/
"""
# systemd.unified_cgroup_hierarchy=0: v1 hierarchies, and a v2 tree that holds what is left.
HYBRID = """\
20 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 20 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 30 0:31 /docker /mnt/other rw,relatime - cgroup cgroup rw,pids
"""
LEGACY = """\
20 1 254:0 / / rw,relatime - xfs /dev/vda rw,noquota
31 20 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 20 0:28 / /sys/fs/cgroup/net_cls rw,relatime - cgroup cgroup rw,net_cls
"""
HIERARCHIES = """\
#subsys_name	hierarchy	num_cgroups	enabled
cpuset	3	4	1
memory	4	18	1
net_cls	0	4	1
net_prio	12	4	1
"""


def parsed(text: str) -> dict[int, mountinfo.Mount]:
    return {mount.id: mount for mount in mountinfo.parse(text)}


def test_mounts() -> None:
    mounts = parsed(UNIFIED)
    assert mounts[30].point == "/" and mounts[30].type == "ext4" and mounts[30].source == "/dev/vda1"
    assert mounts[37].point == "/mnt/with space" and mounts[33].device == "0:27"
    assert "errors=remount-ro" in mounts[30].of_type and "relatime" in mounts[30].options


@given(st.text(st.characters(codec="ascii"), min_size=1))
def test_mount_points_survive_the_kernels_escapes(name: str) -> None:
    escaped = "".join(f"\\{ord(char):03o}" if char in " \t\n\\" or not char.isprintable() else char for char in name)
    mounts = parsed(f"7 1 0:1 / /{escaped} rw - tmpfs none rw")
    assert mounts[7].point == f"/{name}"


@given(st.text())
def test_no_text_upsets_the_parsers(text: str) -> None:
    host_facts.parse_os_release(text)
    host_facts.errors_in_log(text)
    host_facts.first_version(text)
    host_facts.parse_release(text)


def test_storage() -> None:
    mounts = parsed(UNIFIED)
    limited = host_facts.storage("/var/lib/vserver", mounts[36], 100, 40)
    assert limited.project_quota and limited.restrictions == ("nosuid", "nodev")
    assert (limited.type, limited.size, limited.free) == ("xfs", 100, 40)
    plain = host_facts.storage("/var/lib/vserver", mounts[30], 1, 1)
    assert not plain.project_quota and plain.restrictions == ()


def test_mount_id() -> None:
    assert host_facts.mount_id("pos:\t0\nflags:\t012300000\nmnt_id:\t36\nino:\t2\n") == 36
    with pytest.raises(ValueError):
        host_facts.mount_id("pos:\t0\n")


@pytest.mark.parametrize(
    ("text", "controllers", "mode", "where"),
    [
        (UNIFIED, {"/sys/fs/cgroup": "cpuset cpu io memory pids\n"}, "unified", {"memory": "/sys/fs/cgroup"}),
        (
            HYBRID,
            {"/sys/fs/cgroup/unified": "hugetlb\n"},
            "hybrid",
            {"memory": "/sys/fs/cgroup/memory", "hugetlb": "/sys/fs/cgroup/unified"},
        ),
        (LEGACY, {}, "legacy", {"cpu": "/sys/fs/cgroup/cpu"}),
    ],
    ids=["unified", "hybrid", "legacy"],
)
def test_cgroup_layouts(text: str, controllers: dict[str, str], mode: str, where: dict[str, str]) -> None:
    layout = cgroup.layout_of(mountinfo.parse(text), controllers)
    assert layout.mode == mode
    assert {name: str(layout.controllers[name]) for name in where} == where
    assert "pids" not in layout.controllers or mode == "unified", "only the top of a hierarchy counts"


def test_hierarchies() -> None:
    assert host_facts.parse_hierarchies(HIERARCHIES) == {"cpuset": 3, "memory": 4, "net_cls": 0, "net_prio": 12}
    assert host_facts.parse_hierarchies("") == {}


@pytest.mark.parametrize(
    ("hierarchies", "release", "trapped"),
    [
        ({"net_cls": 5}, (5, 10), True),
        ({"net_prio": 5}, (5, 14), True),
        ({"net_cls": 5}, (5, 15), False),
        ({"net_cls": 5}, (6, 1), False),
        ({"net_cls": 0, "net_prio": 0}, (5, 10), False),
        ({}, (4, 18), False),
    ],
)
def test_the_socket_trap(hierarchies: dict[str, int], release: tuple[int, int], trapped: bool) -> None:
    assert bool(host_facts.sockets_lose_their_cgroup(hierarchies, release)) == trapped


@pytest.mark.parametrize(
    ("text", "release"),
    [("6.1.0-40-amd64", (6, 1)), ("5.14.0-503.el9.x86_64", (5, 14)), ("6.18", (6, 18)), ("x", (0, 0))],
)
def test_releases(text: str, release: tuple[int, int]) -> None:
    assert host_facts.parse_release(text) == release


def test_os_release() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\n# a comment\nID=debian\nBROKEN="\n'
    expected = {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"}
    assert host_facts.parse_os_release(text) == expected
    assert host_facts.parse_os_release("") == {"id": "linux", "version": "", "name": "Linux"}


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_os_release_quoting(name: str) -> None:
    assert host_facts.parse_os_release(f"PRETTY_NAME={shlex.quote(name)}\n")["name"] == name


def test_a_runtimes_log() -> None:
    log = '{"level":"warning","msg":"slow"}\n{"msg":"no","level":"error"}\nplain\n{"msg":"no","level":"error"}\n[1]\n'
    assert host_facts.errors_in_log(log) == "no"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a0\n", "1.8.1"),
        ("runc version 1.1.5+ds1\n", "1.1.5+ds1"),
        ("systemd 252 (252.39-1~deb12u1)\n+PAM", "252"),
        ("no number", ""),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert host_facts.first_version(text) == version


def runtime(name: str, works: bool) -> Runtime:
    return Runtime(name, f"/usr/bin/{name}", "1", works, "" if works else "it cannot")


@pytest.mark.parametrize(
    ("crun", "runc", "expected"),
    [(True, True, "crun"), (False, True, "runc"), (True, False, "crun"), (False, False, None)],
)
def test_crun_is_preferred_where_it_works(crun: bool, runc: bool, expected: str | None) -> None:
    found = [runtime("runc", runc), runtime("crun", crun)]
    chosen = host.preferred(found)
    assert (chosen and chosen.name) == expected
    assert host.preferred([]) is None


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_trial_program_is_an_executable(machine: str, number: int) -> None:
    program = host_runtimes.executable(machine)
    kind, found, _version, entry, headers = struct.unpack_from("<HHIQQ", program, 16)
    offset, address = struct.unpack_from("<QQ", program, headers + 8)
    assert program[:4] == b"\x7fELF" and (kind, found) == (2, number)
    assert entry - address + offset == headers + 56 < len(program)


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="no trial program for this machine")
def test_the_trial_program_exits(tmp_path: Path) -> None:
    program = tmp_path / "exit"
    program.write_bytes(host_runtimes.executable(os.uname().machine))
    program.chmod(0o755)
    assert subprocess.run([str(program)], check=False).returncode == 0


def example(features: tuple[Feature, ...], runtimes: tuple[Runtime, ...] = ()) -> Host:
    return Host(
        kernel="6.1.0",
        architecture="x86_64",
        distribution={"id": "debian", "version": "12", "name": "Debian"},
        init="systemd",
        cgroups=cgroup.layout_of(mountinfo.parse(UNIFIED), {"/sys/fs/cgroup": "cpu memory"}),
        storage=host_facts.storage("/var/lib/vserver", parsed(UNIFIED)[36], 2, 1),
        runtimes=runtimes,
        features=features,
    )


def test_missing_is_what_is_required_and_not_there() -> None:
    there, optional = Feature("a", True, "", None, True), Feature("b", False, "no", "Linux 9")
    lacking = Feature("c", False, "no", "package c", True)
    assert example((there, optional, lacking)).missing() == [lacking]
    assert example((there, optional)).missing() == []


def test_a_host_is_json_ready() -> None:
    data: dict[str, Any] = example((Feature("a", True, "seen"),), (runtime("runc", True),)).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["features"] == {"a": {"available": True, "detail": "seen", "needs": None, "required": False}}
    assert data["runtime"] == "runc" and data["cgroups"]["mode"] == "unified"
    assert data["cgroups"]["controllers"] == {"cpu": "/sys/fs/cgroup", "memory": "/sys/fs/cgroup"}


def test_every_probe_says_what_brings_it() -> None:
    names = [probe.name for probe in (*host_probes.PROBES, *host._OTHERS)]
    assert len(names) == len(set(names))
    assert all(len(probe.needs) > 5 for probe in (*host_probes.PROBES, *host._OTHERS))


def test_a_probes_refusal_is_told_with_its_remedy() -> None:
    def refuse(site: Site) -> str:
        raise OSError(errno.EROFS, "write: Read-only file system")

    feature = host_probes.run(Site(), host_probes.Probe("x", refuse, "another disk", True))
    assert feature == Feature("x", False, "write: Read-only file system", "another disk", True)


def test_a_trial_answers_from_its_own_process() -> None:
    assert int(host_trial.in_child(lambda: str(os.getpid()))) != os.getpid()


def test_a_trials_failure_is_told() -> None:
    def refuse() -> str:
        raise PermissionError(errno.EPERM, "unshare: Operation not permitted")

    with pytest.raises(PermissionError, match="unshare"):
        host_trial.in_child(refuse)

    def fail() -> str:
        raise ValueError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        host_trial.in_child(fail)


def test_a_trial_that_dies_is_told() -> None:
    with pytest.raises(OSError, match="killed"):
        host_trial.in_child(lambda: os._exit(9))


def test_a_trial_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_trial, "_PATIENCE", 0.05)

    def stay() -> str:
        time.sleep(60)
        return ""

    with pytest.raises(OSError, match="did not end"):
        host_trial.in_child(stay)


def test_scratch_is_removed_with_what_others_left_long_ago(tmp_path: Path) -> None:
    stale, fresh = (tmp_path / f"{host_trial.PREFIX}{name}" for name in ("stale", "fresh"))
    for left in (stale, fresh):
        (left / "sub").mkdir(parents=True)
    os.utime(stale, (0, 0))
    with host_trial.scratch(tmp_path / "not" / "there") as place:
        (place / "file").touch()
        assert place.parent == tmp_path
    assert list(tmp_path.iterdir()) == [fresh]


def test_the_probes_need_no_library_that_may_be_missing() -> None:
    code = (
        "import sys; sys.modules['psutil'] = sys.modules['pyroute2'] = None\n"
        "from ansible_collections.linux.vserver.plugins.module_utils._engine.host import probe, probes\n"
        "from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site\n"
        "for library in probe._OTHERS[:2]: print(probes.run(Site(), library).needs)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "package python3-psutil" in result.stdout and "package python3-pyroute2" in result.stdout, result.stderr
