# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits: what people write, what goes together, and which files of the kernel say it, in both versions of cgroups."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import units
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import (
    InvalidInput,
    Unsupported,
    VserverError,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import limits as facet
from ansible_collections.linux.vserver.plugins.module_utils._engine.host.facts import Storage
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import (
    cgroup,
    cgroup_processes,
    cpu_list,
    mountinfo,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.controller import Controller
from ansible_collections.linux.vserver.plugins.module_utils._engine.limits import (
    devices,
    memory,
    per_process,
    processes,
    processor,
    processors,
    protection,
    share,
    socket_counter,
    sockets,
    space,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest, Limits
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

M = 1 << 20


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("50ms", 50_000), ("0.1s", 100_000), ("100us", 100), ("1 s", 1_000_000), ("0", 0), (2500, 2500), ("7MS", 7000)],
)
def test_times(text: str | int, microseconds: int) -> None:
    assert units.parse_duration("cpu_burst", text) == microseconds


@pytest.mark.parametrize("text", ["", "ms", "-1ms", "1m", "1h", "1e3", "1,5ms", "٣ms", "9" * 20 + "s", "nan"])
def test_no_times(text: str) -> None:
    with pytest.raises(InvalidInput, match="cpu_burst"):
        units.parse_duration("cpu_burst", text)


@pytest.mark.parametrize(
    ("text", "found", "canonical"),
    [
        ("0", {0}, "0"),
        ("0-2,5", {0, 1, 2, 5}, "0-2,5"),
        ("5, 1,0,2", {0, 1, 2, 5}, "0-2,5"),
        ("0-1,1-3", {0, 1, 2, 3}, "0-3"),
        ("3,1", {1, 3}, "1,3"),
    ],
)
def test_lists_of_processors(text: str, found: set[int], canonical: str) -> None:
    assert cpu_list.numbers(text) == found
    assert facet.parse({"cpuset": text}, Limits()).cpuset == canonical


@given(st.sets(st.integers(0, 500), min_size=1))
def test_a_list_of_processors_is_read_as_it_is_written(found: set[int]) -> None:
    assert cpu_list.numbers(cpu_list.words(found)) == found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"memory": "1K"}, "memory 1K is too small"),
        ({"memory_high": "1K"}, "memory_high 1K is too small"),
        ({"memory": "64M", "memory_high": "65M"}, "memory_high .* is above memory"),
        ({"memory": "64M", "memory_low": "65M"}, "memory_low .* is above memory"),
        ({"memory": "64M", "memory_min": "65M"}, "memory_min .* is above memory"),
        ({"memory_low": "max"}, "memory_low"),
        ({"cpus": 0}, "cpus 0 is too small"),
        ({"cpu_period": "50ms"}, "cpu_period is given without cpus"),
        ({"cpu_burst": "50ms"}, "cpu_burst is given without cpus"),
        ({"cpus": 1, "cpu_period": "2s"}, "cpu_period 2000000 µs is out of range. Give 1ms to 1s"),
        ({"cpus": 1, "cpu_period": "100us"}, "out of range"),
        ({"cpus": 0.01, "cpu_period": "10ms"}, "cpus 0.01 is too small for cpu_period 10000"),
        ({"cpus": 0.5, "cpu_burst": "51ms"}, "cpu_burst 51000 µs is too large: .* one period's 50000 µs"),
        ({"cpu_weight": 0}, "cpu_weight 0 is out of range"),
        ({"cpu_weight": 10001}, "Give 1 to 10000"),
        ({"cpu_weight": "heavy"}, "not a whole number"),
        ({"cpu_weight": 200, "cpu_idle": True}, "who is idle has no weight"),
        ({"cpuset": ""}, "not a list of processors"),
        ({"cpuset": "1-0"}, "not a list of processors"),
        ({"cpuset": "a"}, "not a list of processors"),
        ({"cpuset": "0-99999999"}, "not a list of processors"),
        ({"processes": 0}, "processes 0 is too small"),
        ({"processes": 1_000_000_000}, "processes 1000000000 is too large. Write at most 9 digits"),
        ({"io": [{"device": "/dev/sda"}]}, "limits nothing of device /dev/sda"),
        ({"io": [{"device": "sda", "read": "1M"}]}, "names device 'sda'"),
        ({"io": [{"device": "/dev/../etc/passwd", "read": "1M"}]}, "names device"),
        ({"io": [{"device": "/dev/sda", "read": "1M"}] * 2}, "names device /dev/sda twice"),
        ({"io": [{"device": "/dev/sda", "rbps": "1M"}]}, "is not valid"),
        ({"io": [{"device": "/dev/sda", "read": 0}]}, "read of /dev/sda 0 is too small"),
        ({"io": [{"device": "/dev/sda", "read_operations": "1K"}]}, "not a whole number"),
        ({"rlimits": {"ofile": 41}}, "rlimit 'ofile' is unknown. Use one of as, core, cpu, data"),
        ({"rlimits": {"nice": 41}}, "rlimit nice 41 is too large. Give at most 40"),
        ({"rlimits": {"rtprio": 100}}, "rlimit rtprio 100 is too large. Give at most 99"),
        ({"sysctls": {"vm.swappiness": 1}}, "vm.swappiness is not one that a guest has for itself: it is the whole"),
        ({"sysctls": {"net.ipv4.ip_forward": 1}}, "the network stack is the host's"),
        ({"sysctls": {"kernel.hostname": "x"}}, "not one that a guest has"),
        ({"sysctls": {"user.max_../../vm": 1}}, "not one that a guest has"),
        ({"sysctls": {"kernel.shmmax": "many"}}, "is not a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        facet.parse(options, Limits())


@pytest.mark.parametrize(
    ("recorded", "options", "section"),
    [
        (Limits(memory=64 * M), {"memory_high": "48M"}, Limits(memory=64 * M, memory_high=48 * M)),
        (Limits(memory=64 * M, memory_swap=0), {"memory_swap": "max"}, Limits(memory=64 * M)),
        (Limits(), {"memory_swap": 0}, Limits(memory_swap=0)),
        (Limits(memory_low=M), {"memory_low": 0, "memory_min": "5M"}, Limits(memory_min=5 * M)),
        (Limits(), {"processes": "max"}, Limits(processes=None)),
        (Limits(processes=None), {}, Limits(processes=None)),
        (Limits(processes=7), {"processes": "auto"}, Limits()),
        (Limits(), {"sockets": 0}, Limits(sockets=0)),
        (Limits(sockets=7), {"sockets": "max"}, Limits()),
        (Limits(), {"cpus": 0.5, "cpu_period": "10ms", "cpu_burst": "5ms"},
         Limits(cpus=0.5, cpu_period=10_000, cpu_burst=5_000)),
        (Limits(), {"cpus": 0.219, "cpu_period": "114ms", "cpu_burst": "24ms"},  # docs/limits.md, The token bucket
         Limits(cpus=0.219, cpu_period=114_000, cpu_burst=24_000)),
        (Limits(cpu_weight=300), {"cpu_weight": 100}, Limits()),
        (Limits(), {"cpu_idle": True}, Limits(cpu_idle=True)),
        (Limits(cpuset="0"), {"cpuset": "max"}, Limits()),
        (Limits(), {"io": [{"device": "/dev//sda", "read": "1M", "write": None}]},
         Limits(io={"/dev/sda": {"read": M}})),
        (Limits(io={"/dev/sda": {"read": M}}), {"io": [{"device": "/dev/sda", "read": "max"}]}, Limits()),
        (Limits(io={"/dev/sda": {"read": M}}), {"io": []}, Limits()),
        (Limits(), {"rlimits": {"RLIMIT_NICE": 40}}, Limits(rlimits={"nice": (40, 40)})),
        (Limits(), {"sysctls": {"kernel/sem": "250\t32000 32  128"}},
         Limits(sysctls={"kernel.sem": "250 32000 32 128"})),
        (Limits(sysctls={"kernel.shmmni": "5"}), {"sysctls": {}}, Limits()),
    ],
)  # fmt: skip
def test_what_is_meant(recorded: Limits, options: dict[str, Any], section: Limits) -> None:
    assert facet.parse(options, recorded) == section


def test_rounding_of_processor_time_is_no_change() -> None:
    wanted = Limits(cpus=1.2345, cpu_period=1000)
    assert facet.compare(wanted, dataclasses.replace(wanted, cpus=1.234)) == []
    assert facet.compare(wanted, dataclasses.replace(wanted, cpus=1.233)) != []


@pytest.mark.parametrize("option", ["rlimits", "sysctls"])
def test_what_is_no_longer_set_waits_for_a_restart(option: str) -> None:
    some: Any = {option: {"nofile": (1, 2)} if option == "rlimits" else {"kernel.shmmni": "5"}}
    assert [change.live for change in facet.compare(Limits(**some), Limits())] == [True]
    assert [change.live for change in facet.compare(Limits(), Limits(**some))] == [False]


# ---- the kernel's files, as plain files


def group(path: Path, unified: bool, **files: str) -> Controller:
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(f"{text}\n")
    return Controller(str(path), unified)


MEMORY_2 = {
    "memory__max": "max",
    "memory__high": "max",
    "memory__low": "0",
    "memory__min": "0",
    "memory__swap.max": "max",
}
MEMORY_1 = {"memory__limit_in_bytes": str((1 << 63) - 4096), "memory__memsw.limit_in_bytes": str((1 << 63) - 4096)}
CPU_2 = {"cpu__max": "max 100000", "cpu__max.burst": "0"}
SHARE_2 = {"cpu__weight": "100", "cpu__idle": "0"}
CPU_1 = {
    "cpu__cfs_quota_us": "-1",
    "cpu__cfs_period_us": "100000",
    "cpu__cfs_burst_us": "0",
}
SHARE_1 = {"cpu__shares": "1024", "cpu__idle": "0"}


@pytest.mark.parametrize(
    ("kind", "unified", "files", "limits", "written"),
    [
        (memory, True, MEMORY_2, Limits(memory=64 * M, memory_high=48 * M, memory_swap=0),
         {"memory.max": 64 * M, "memory.high": 48 * M, "memory.swap.max": 0}),
        (memory, True, {"memory__max": "5"}, Limits(), {"memory.max": "max"}),
        (memory, False, MEMORY_1, Limits(memory=64 * M, memory_swap=M),
         {"memory.limit_in_bytes": 64 * M, "memory.memsw.limit_in_bytes": 65 * M}),
        (memory, False, MEMORY_1, Limits(), {"memory.limit_in_bytes": -1, "memory.memsw.limit_in_bytes": -1}),
        (processor, True, CPU_2, Limits(cpus=1.5, cpu_period=50_000, cpu_burst=7),
         {"cpu.max": "75000 50000", "cpu.max.burst": 7}),
        (processor, True, {"cpu__max": "1 1000"}, Limits(), {"cpu.max": "max 100000"}),
        (processor, False, CPU_1, Limits(cpus=0.5, cpu_burst=7),
         {"cpu.cfs_quota_us": 50_000, "cpu.cfs_period_us": 100_000, "cpu.cfs_burst_us": 7}),
        (share, True, SHARE_2, Limits(cpu_weight=300), {"cpu.weight": 300, "cpu.idle": 0}),
        (share, True, {"cpu__weight": "7"}, Limits(), {"cpu.weight": 100}),
        (share, True, SHARE_2, Limits(cpu_idle=True), {"cpu.idle": 1, "cpu.weight": 100}),
        (share, False, SHARE_1, Limits(cpu_weight=300), {"cpu.shares": 3072, "cpu.idle": 0}),
        (processes, True, {"pids__max": "max"}, Limits(processes=7), {"pids.max": 7}),
        (processes, False, {"pids__max": "7"}, Limits(processes=None), {"pids.max": "max"}),
    ],
)  # fmt: skip
def test_files(
    kind: Any, unified: bool, files: dict[str, str], limits: Limits, written: dict[str, Any], tmp_path: Path
) -> None:
    place = group(tmp_path, unified, **files)
    kind.write(place, limits)
    assert {name: (tmp_path / name).read_text().strip() for name in written} == {
        name: str(value) for name, value in written.items()
    }
    if kind is not memory or unified:  # what v1 reads back for -1 only the kernel knows
        assert kind.read(place) == {name: getattr(limits, name) for name in kind.FIELDS if name in kind.read(place)}


@given(st.integers(1, 10_000))
def test_every_weight_survives_the_shares_of_v1(weight: int) -> None:
    assert round(round(weight * 1024 / 100) * 100 / 1024) == weight


@pytest.mark.parametrize(("unified", "above"), [(True, "cpuset.cpus.effective"), (False, "cpuset.cpus")])
def test_all_processors_are_those_of_the_group_above(unified: bool, above: str, tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    (tmp_path / above).write_text("0-3\n")
    place = group(tmp_path / "guest", unified, cpuset__cpus="0-1")
    assert processors.read(place, None) == {"cpuset": "0-1"}
    processors.write(place, Limits())
    assert processors.read(place, None) == {"cpuset": None}
    assert processors.read(place, "0-3") == {"cpuset": "0-3"}, "it was asked for"
    processors.write(place, Limits(cpuset="2"))
    assert processors.read(place, "0-3") == {"cpuset": "2"}
    assert processors.read(group(tmp_path / "guest", unified, cpuset__cpus=""), None) == {"cpuset": None}


IO_MAX = "8:0 rbps=1048576 wbps=max riops=max wiops=120\n259:1 rbps=max wbps=5 riops=max wiops=max"


def test_io_is_read_from_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "number", {"/dev/disk/by-id/x": "8:0"}.__getitem__)
    monkeypatch.setattr(devices, "_DEVICES", tmp_path / "none")
    expected = {"io": {"/dev/disk/by-id/x": {"read": M, "write_operations": 120}, "259:1": {"write": 5}}}
    assert devices.read(group(tmp_path, True, io__max=IO_MAX), ["/dev/disk/by-id/x"]) == expected
    files = {
        "blkio__throttle.read_bps_device": f"8:0 {M}",
        "blkio__throttle.write_bps_device": "259:1 5",
        "blkio__throttle.read_iops_device": "",
        "blkio__throttle.write_iops_device": "8:0 120",
    }
    assert devices.read(group(tmp_path, False, **files), ["/dev/disk/by-id/x"]) == expected


def test_io_of_devices_that_are_not_named_is_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "number", {"/dev/sda": "8:0"}.__getitem__)
    lines: list[str] = []
    place = group(tmp_path, True, io__max=IO_MAX)
    monkeypatch.setattr(Controller, "write", lambda self, file, value: lines.append(f"{file} {value}"))
    devices.write(place, Limits(io={"/dev/sda": {"write": 7}}))
    assert lines == [
        "io.max 8:0 rbps=max wbps=7 riops=max wiops=max",
        "io.max 259:1 rbps=max wbps=max riops=max wiops=max",
    ]


@pytest.mark.parametrize(
    ("unified", "place", "written"),
    [
        (False, "block/vda", ["blkio.throttle.read_bps_device 254:0 0"]),
        (False, "block/vda/vda1", ["blkio.throttle.read_bps_device 254:0 0"]),
        (False, None, []),
        (True, "block/vda", []),
    ],
)
def test_v1_is_told_to_count_on_the_disk_of_guests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unified: bool, place: str | None, written: list[str]
) -> None:
    (tmp_path / "block/vda/vda1").mkdir(parents=True)
    (tmp_path / "block/vda/dev").write_text("254:0\n")
    (tmp_path / "block/vda/vda1/partition").write_text("1\n")
    (tmp_path / "dev").mkdir()
    if place is not None:
        number = tmp_path.stat().st_dev
        (tmp_path / f"dev/{os.major(number)}:{os.minor(number)}").symlink_to(tmp_path / place)
    monkeypatch.setattr(devices, "_DEVICES", tmp_path / "dev")
    lines: list[str] = []
    monkeypatch.setattr(Controller, "write", lambda self, file, value: lines.append(f"{file} {value}"))
    devices.count(group(tmp_path, unified), tmp_path)
    assert lines == written


@pytest.mark.parametrize(
    ("device", "said"),
    [("/dev/no-such-disk", "No such file"), ("/dev/null", "not a block device"), ("/dev", "not a block device")],
)
def test_an_unknown_device_is_refused(device: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        devices.number(device)


# ---- hosts that lack something

STORAGE = Storage("/x", "/", "/dev/vdb", "ext4", 50 * M, 50 * M, (), False)
QUOTA = dataclasses.replace(STORAGE, project_quota=True)


def layout(path: Path, *names: str, unified: bool = True) -> cgroup.Layout:
    return cgroup.Layout(path if unified else path / "v2", dict.fromkeys(names, path))


#: What is asked for, the controllers that there are, what is said. None of them has a file that came later.
LACKING: list[tuple[Limits, tuple[str, ...], str]] = [
    (Limits(memory=64 * M), ("cpu",), "limit memory: .* no cgroup controller 'memory'"),
    (Limits(memory_high=64 * M), ("memory",), "limit memory_high: .* 'memory' has no memory.high"),
    (Limits(memory_swap=0), ("memory",), "limit memory_swap: .* 'memory' has no memory.swap.max"),
    (Limits(memory_low=M), ("memory", "pids"), "limit memory_low: .* 'memory' has no memory.low"),
    (Limits(memory_min=M), ("cpu", "pids"), "limit memory_min: .* no cgroup controller 'memory'"),
    (Limits(cpus=0.5, cpu_period=5000), ("memory",), "limit cpus: .* no cgroup controller 'cpu'"),
    (Limits(cpus=0.5, cpu_burst=9), ("cpu",), "limit cpu_burst: .* 'cpu' has no cpu.max.burst"),
    (Limits(cpu_weight=5), ("pids",), "limit cpu_weight: .* no cgroup controller 'cpu'"),
    (Limits(cpu_idle=True), ("cpu", "pids"), "limit cpu_idle: .* 'cpu' has no cpu.idle"),
    (Limits(cpuset="0"), ("cpu",), "limit cpuset: .* no cgroup controller 'cpuset'"),
    (Limits(processes=5), ("cpu",), "limit processes: .* no cgroup controller 'pids'"),
    (Limits(), ("cpu",), "limit processes: .* no cgroup controller 'pids'"),
    (Limits(sockets=5), ("pids",), "limit sockets: this kernel cannot count them .no such hook"),
    (Limits(disk=M), ("pids",), "limit disk space of guest web1: .* without project quota"),
    (Limits(inodes=5), ("pids",), "limit disk space of guest web1: .* without project quota"),
    (Limits(io={"/dev/x": {"read": 1}}), ("cpu", "pids"), "limit io: .* no cgroup controller 'io'"),
    (Limits(rlimits={"rtprio": (1, 1)}), ("cpu", "pids"), "rlimit rtprio: this kernel gives groups .* no real time"),
    (Limits(sysctls={"user.max_nothing": "5"}), ("pids",), "sysctl user.max_nothing: this host's kernel does not have"),
]


@pytest.mark.parametrize(("limits", "names", "said"), LACKING)
def test_a_host_that_lacks_it_refuses(
    limits: Limits, names: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system.slice").mkdir()
    for file in ("memory.max", "cpu.max", "pids.max", "cpuset.cpus", "io.max"):
        (tmp_path / "system.slice" / file).touch()
    (tmp_path / "cpu.rt_runtime_us").touch()
    monkeypatch.setattr(cgroup, "layout", lambda: layout(tmp_path, *names))
    monkeypatch.setattr(socket_counter, "missing", lambda: "no such hook")
    monkeypatch.setattr(per_process.capability, "effective", lambda: {"CAP_SYS_RESOURCE"})
    monkeypatch.setattr(space.filesystem, "storage", lambda _site: STORAGE)
    with pytest.raises(Unsupported, match=said):
        facet.resolve(Site(), Guest("web1", limits=limits), (), check=True)


#: What is asked for, and what is said by a host that has less.
TOO_MUCH: list[tuple[Limits, str]] = [
    (Limits(memory=1 << 50), "memory 1125899906842624 is too large: this host has .* bytes of memory"),
    (Limits(memory_high=1 << 50), "memory_high 1125899906842624 is too large: this host has .* bytes of memory"),
    (Limits(memory_swap=1 << 50), "memory_swap 1125899906842624 is too large: this host has .* bytes of swap"),
    (Limits(memory_low=1 << 50), "memory_low 1125899906842624 is too large: this host has .* bytes of memory"),
    (Limits(memory_min=1 << 50), "memory_min 1125899906842624 is too large: this host has .* bytes of memory"),
    (Limits(cpus=4096.0), "cpus 4096.0 is too large: this host has .* processors"),
    (Limits(cpuset="9999"), "cpuset 9999 names processors that this host does not have"),
    (Limits(processes=4194305), "processes 4194305 is too large: this host has .* processes"),
    (Limits(sockets=101), "sockets 101 is too large: this host has 100 open files at most"),
    (Limits(disk=51 * M), "disk 53477376 is too large: this host has 52428800 bytes on /"),
    (Limits(inodes=10**15), "inodes 1000000000000000 is too large: this host has .* inodes on /"),
    (Limits(io={"/dev/no-such-disk": {"read": 1}}), "limit io of /dev/no-such-disk: No such file"),
    (Limits(rlimits={"nofile": (5, -1)}), "rlimit nofile: hard limit infinity is too large: this host"),
]


@pytest.mark.parametrize(("limits", "said"), TOO_MUCH)
def test_more_than_the_host_has_is_refused(
    limits: Limits, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file-max").write_text("100\n")
    monkeypatch.setattr(cgroup, "layout", lambda: layout(tmp_path, "memory", "cpu", "cpuset", "pids", "io"))
    monkeypatch.setattr(cgroup, "protects_below", lambda: True)
    monkeypatch.setattr(sockets, "_MOST", tmp_path / "file-max")
    monkeypatch.setattr(socket_counter, "missing", lambda: "")
    monkeypatch.setattr(space.filesystem, "storage", lambda _site: QUOTA)
    with pytest.raises(InvalidInput, match=said):
        facet.resolve(Site(), Guest("web1", limits=limits), (), check=True)


def test_every_limit_has_its_rows() -> None:
    """Those that have no number of the host to be compared with have a range of their own: what cannot be meant."""

    def options(limits: Limits) -> set[str]:
        fields = (field.name for field in dataclasses.fields(Limits))
        return {name for name in fields if getattr(limits, name) != getattr(Limits(), name)}

    every = {field.name for field in dataclasses.fields(Limits)}
    assert set().union(*(options(limits) for limits, _names, _said in LACKING)) == every
    ranges = {"cpu_period", "cpu_burst", "cpu_weight", "cpu_idle", "sysctls"}
    assert set().union(*(options(limits) for limits, _said in TOO_MUCH)) == every - ranges


def test_version_1_refuses_what_only_version_2_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.limit_in_bytes").touch()
    monkeypatch.setattr(cgroup, "layout", lambda: layout(tmp_path, "memory", unified=False))
    memory.refuse(Limits(memory=64 * M))
    with pytest.raises(Unsupported, match="being of version 1"):
        memory.refuse(Limits(memory=64 * M, memory_high=8 * M))


def test_who_says_nothing_of_processes_gets_a_share_of_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "most", lambda: 11679)
    place = group(tmp_path, True, pids__max="max")
    assert facet.compare(Limits(), Limits(**processes.read(place))) != []
    processes.write(place, Limits())
    assert (tmp_path / "pids.max").read_text() == "1751"
    assert facet.compare(Limits(), Limits(**processes.read(place))) == []
    assert facet.compare(Limits(processes=None), Limits(**processes.read(place))) != []


def test_swap_alone_cannot_be_limited_in_version_1() -> None:
    memory.require_sum(Limits(memory_swap=0), unified=True)
    memory.require_sum(Limits(memory=64 * M, memory_swap=0), unified=False)
    with pytest.raises(InvalidInput, match="Give memory as well"):
        memory.require_sum(Limits(memory_swap=0), unified=False)


@pytest.mark.parametrize("option", ["memory_low", "memory_min"])
def test_memory_is_protected_with_version_2_only(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {option: 64 * M}
    limits, hosts = Limits(**values), [layout(tmp_path, "memory", unified=unified) for unified in (False, True)]
    monkeypatch.setattr(cgroup, "protects_below", lambda: False)
    for host, said in zip(hosts, ["being of version 1", "mounted without memory_recursiveprot"]):
        monkeypatch.setattr(cgroup, "layout", lambda host=host: host)
        with pytest.raises(Unsupported, match=f"limit {option}: .*{said}"):
            protection.refuse(limits)
    monkeypatch.setattr(cgroup, "protects_below", lambda: True)
    protection.refuse(limits)


CLAIMS = ("vserver", "vserver/a", "vserver/a/guest", "vserver/b", "vserver/b/guest")


def claims(tree: Path, file: str = "memory.low") -> list[int]:
    """What each of CLAIMS claims, in MiB."""
    return [int((tree / group / file).read_text()) // M for group in CLAIMS]


def test_the_group_of_all_guests_claims_the_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    for name in CLAIMS:
        (tree / name).mkdir(parents=True)
        group(tree / name, True, memory__low="0", memory__min="0")
    monkeypatch.setattr(cgroup, "layout", lambda: layout(tree, "memory"))
    site = Site(run=tmp_path / "run")

    def give(name: str, **values: int) -> None:
        limits: Any = {option: value * M for option, value in values.items()}
        protection.write(site, Guest(name, limits=Limits(**limits)))

    give("a", memory_low=30)
    assert claims(tree) == [30, 30, 30, 0, 0]
    give("b", memory_low=12, memory_min=5)
    assert claims(tree) == [42, 30, 30, 12, 12] and claims(tree, "memory.min") == [5, 0, 0, 5, 5]
    assert protection.read(site, "b") == {"memory_low": 12 * M, "memory_min": 5 * M}
    give("a", memory_low=10)
    assert claims(tree) == [22, 10, 10, 12, 12]
    (tree / "vserver/memory.low").write_text(str(21 * M))
    assert protection.read(site, "a") == protection.read(site, "c") == {"memory_low": None, "memory_min": None}
    give("a", memory_low=10)
    assert protection.read(site, "a")["memory_low"] == 10 * M
    (tree / "vserver/b/guest/memory.low").write_text("0")
    protection.release(site)
    assert claims(tree)[0] == 10
    give("a")
    assert claims(tree) == [0, 0, 0, 12, 0]


@pytest.mark.parametrize("options", ["rw,nsdelegate,memory_recursiveprot", "rw,nsdelegate"])
def test_whether_groups_below_are_protected_is_an_option_of_the_mount(options: str) -> None:
    text = f"31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 {options}\n24 0 8:1 / / rw - ext4 /dev/sda rw"
    assert cgroup.protects_below(mountinfo.parse(text)) == ("memory_recursiveprot" in options)


@pytest.mark.parametrize("option", ["disk", "inodes"])
def test_space_is_refused_without_quota_or_user_namespace(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {option: 100 * M}
    limits = Limits(**values)
    with pytest.raises(InvalidInput, match="it could give its files to others"):
        space.refuse(Site(), Guest("web1", limits=limits, context=Context(user_namespace=False)))
    storage = Storage("/x", "/mnt", "/dev/vdb", "btrfs", 50 * M, 50 * M, (), False)
    monkeypatch.setattr(space.filesystem, "storage", lambda site: storage)
    with pytest.raises(Unsupported, match=r"/mnt \(btrfs\) is mounted without project quota"):
        space.refuse(Site(), Guest("web1", limits=limits))
    space.refuse(Site(), Guest("web1"))


def test_more_space_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage("/x", "/mnt", "/dev/vdb", "ext4", 50 * M, 50 * M, (), True)
    monkeypatch.setattr(space.filesystem, "storage", lambda site: storage)
    space.refuse(Site(), Guest("web1", limits=Limits(disk=50 * M)))
    with pytest.raises(InvalidInput, match="this host has .* bytes on /mnt"):
        space.refuse(Site(), Guest("web1", limits=Limits(disk=51 * M)))
    assert facet.compare(Limits(disk=50 * M + 5), Limits(disk=50 * M)) == [], "the kernel keeps whole KiB"


@pytest.mark.parametrize(
    ("project", "limits", "astray", "assigned"),
    [
        (0, Limits(), False, []),
        (0, Limits(disk=M), False, [7 << 16]),
        (7 << 16, Limits(), False, []),
        (7 << 16, Limits(disk=M), False, []),
        (6 << 16, Limits(), True, [7 << 16]),
        (6 << 16, Limits(disk=M), True, [7 << 16]),
    ],
)
def test_the_project_is_that_of_the_xid(
    project: int, limits: Limits, astray: bool, assigned: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, guest = Site(state=tmp_path), Guest("web1", limits=limits, context=Context(xid=7))
    (site.guest("web1") / "root").mkdir(parents=True)
    storage = Storage("/x", "/mnt", "/dev/vdb", "ext4", 50 * M, 50 * M, (), True)
    told: list[int] = []
    monkeypatch.setattr(space.filesystem, "storage", lambda _site: storage)
    monkeypatch.setattr(space.quota, "project", lambda _top: project)
    monkeypatch.setattr(space.quota, "assign", lambda _top, number: told.append(number))
    monkeypatch.setattr(space.quota, "write", lambda _device, number, _space, _inodes: None)
    assert space.astray(site, guest) == astray
    space.write(site, guest)
    assert told == assigned


@pytest.fixture(name="forking")
def made_forking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A group that has one more process each time one looks."""
    pids: list[int] = []

    def look(_path: Path) -> list[int]:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        pids.append(child)
        return list(pids)

    monkeypatch.setattr(cgroup, "layout", lambda: layout(tmp_path, "pids"))
    monkeypatch.setattr(cgroup_processes, "ids", look)
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_rlimits_of_processes_that_have_inherited_them_are_set_once(forking: list[int]) -> None:
    per_process.write(Guest("web1", limits=Limits(rlimits={"nofile": resource.getrlimit(resource.RLIMIT_NOFILE)})), "")
    assert len(forking) == 1


def test_rlimits_are_not_set_for_ever(forking: list[int]) -> None:
    with pytest.raises(VserverError, match="always new processes"):
        per_process.write(Guest("web1", limits=Limits(rlimits={"nofile": (17, 19)})), "")
    assert {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in forking} == {(17, 19)}
