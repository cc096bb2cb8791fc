# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's counters as texts, and the text that Prometheus reads."""

from __future__ import annotations

import dataclasses
import functools
import types
from pathlib import Path

import prometheus_client.openmetrics.parser
import prometheus_client.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import accounting, metrics, usage
from ansible_collections.linux.vserver.plugins.module_utils._engine.accounting import Account
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.traffic_counter import SLOTS, Traffic
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, pressure
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

IO_STAT = """8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=0 dios=0
254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=9
253:0
"""
V1 = """8:0 Read 4096
8:0 Write 100
8:0 Sync 1
8:0 Total 4196
254:0 Read 1
254:0 Write 2
Total 4199
"""
PRESSURE = """some avg10=1.00 avg60=2.00 avg300=0.50 total=2500000
full avg10=0.00 avg60=0.00 avg300=0.00 total=7
"""


def test_counters_of_disks_are_summed_up() -> None:
    moved = {"read_bytes": 4097, "written_bytes": 102, "read_operations": 4, "written_operations": 6}
    assert accounting.disks(IO_STAT) == moved
    assert accounting.disks(None) == dict.fromkeys(moved, 0)
    assert (accounting.v1_disks(V1)["Read"], accounting.v1_disks(V1)["Write"]) == (4097, 102)
    assert accounting.v1_disks(None)["Read"] == 0


def test_pressure() -> None:
    told = pressure.parse(PRESSURE)
    assert told is not None and set(told) == set(pressure.KINDS)
    assert told["some"] == {"avg10": 1.0, "avg60": 2.0, "avg300": 0.5, "total_seconds": 2.5}
    assert told["full"]["total_seconds"] == 7e-6
    assert pressure.parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=0") == {
        "some": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total_seconds": 0.0}
    }
    assert pressure.parse(None) is None and pressure.parse("") is None


def test_for_everything_that_is_not_counted_there_is_a_reason() -> None:
    fields = {entry.name for entry in dataclasses.fields(accounting.Account) if entry.default is None}
    assert {"pressure", "network", "sockets", "memory_bytes", "read_bytes"} <= fields
    controllers = ("cpu", "memory", "io", "pids")
    for present, v1 in ((), ()), (controllers, ()), (controllers, controllers):
        assert set(accounting.reasons(fields, present, v1)) == fields
    one = functools.partial(accounting.reasons, ["memory_high_events"])
    assert "no controller memory" in one((), ())["memory_high_events"]
    assert "version 1" in one(controllers, controllers)["memory_high_events"]
    assert "psi=1" in accounting.reasons(["pressure"], controllers, ())["pressure"]


def test_flat_files() -> None:
    assert accounting.flat("usage_usec 5\nnr_periods 0\n") == {"usage_usec": 5, "nr_periods": 0}
    assert accounting.flat(None) == {}


@pytest.mark.parametrize(("file", "unified"), [("memory.current", True), ("memory.usage_in_bytes", False)])
def test_memory_in_both_versions(file: str, unified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, memory = tmp_path / "tree", tmp_path / ("tree" if unified else "memory")
    monkeypatch.setattr(cgroup, "layout", lambda: cgroup.Layout(tree, {"memory": memory}))
    group = memory / ("vserver/web1/guest" if unified else "vserver/web1")
    group.mkdir(parents=True)
    assert accounting.memory(Site(), "web1") == 0
    (group / file).write_text("4096\n")
    assert accounting.memory(Site(), "web1") == 4096


TRAFFIC = Traffic(1, 2, 3, 4)
PSI = {"cpu": {"some": {"avg10": 12.5, "avg60": 0.0, "avg300": 0.0, "total_seconds": 2.5}}}
NESTED = ("pressure", "network", "not_counted")
FULL = Account(
    **{entry.name: 7 for entry in dataclasses.fields(Account) if entry.name not in NESTED},
    pressure=PSI,
    network=dict.fromkeys(SLOTS, TRAFFIC),
)


def readings(guest: str = "web1", account: Account = FULL) -> list[metrics.Reading]:
    sample = usage.Sample(guest, 9, "running", 0.0, account, "2026-08-01T12:00:00+00:00")
    limits = {
        "memory_limit_bytes": 1 << 30,
        "cpus_limit": 1.5,
        "processes_limit": 9,
        "sockets_limit": 9,
        "disk_limit_bytes": None,
    }
    found = list(metrics.of_guest(sample, {"S": 3, "R": 1}, limits))
    return [
        *found,
        ("readable", {"guest": guest}, 1),
        ("running", {"guest": guest}, 1),
        ("disk_bytes", {"guest": guest}, 4096),
    ]


@pytest.mark.parametrize(
    ("parse", "openmetrics"),
    [(prometheus_client.parser, False), (prometheus_client.openmetrics.parser, True)],
    ids=["text", "openmetrics"],
)
@given(guest=st.text(max_size=9), number=st.integers(0, 1 << 63) | st.floats(0, 1e12))
def test_prometheus_reads_what_is_written(
    parse: types.ModuleType, openmetrics: bool, guest: str, number: float
) -> None:
    account = dataclasses.replace(FULL, cpu_seconds=number)
    said = metrics.exposition(readings(guest, account), openmetrics=openmetrics)
    families = {family.name: family for family in parse.text_string_to_metric_families(said)}
    values = {
        (sample.name.removeprefix(metrics.PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    wanted = {
        (name, tuple(sorted(labels.items()))): value
        for name, labels, value in readings(guest, account)
        if value is not None
    }
    assert values == wanted
    assert families["vserver_guest_cpu_seconds"].type == "counter"
    assert families["vserver_guest_memory_bytes"].type == "gauge"
    assert families["vserver_guest_sockets"].documentation == "TCP and UDP sockets."


def test_what_is_not_counted_is_no_metric() -> None:
    said = metrics.exposition(readings(account=Account()))
    assert "pressure" not in said and "memory_bytes" not in said and "network" not in said
    assert 'vserver_guest_cpu_seconds_total{guest="web1"} 0.0\n' in said


def test_every_metric_has_a_reading_and_its_unit_in_its_name() -> None:
    told = {name for name, _labels, _value in readings()}
    assert told | {"disk_shared_bytes"} == set(metrics.METRICS)
    units = ("seconds", "bytes", "packets", "operations", "events", "kills", "periods", "ratio", "refused")
    bare = {
        "readable",
        "running",
        "cpus_limit",
        "processes",
        "processes_in_state",
        "processes_limit",
        "sockets",
        "sockets_limit",
        "tasks",
    }
    assert {name for name in told if not name.removesuffix("_total").endswith(units)} == bare


def test_traffic_is_told_by_family_and_way() -> None:
    said = metrics.exposition(readings())
    for family in ("ipv4", "ipv6"):
        for via in ("interface", "lo"):
            assert f'sent_bytes_total{{guest="web1",family="{family}",via="{via}"}} 3\n' in said
    assert 'pressure_ratio{guest="web1",resource="cpu",kind="some",window="10s"} 0.125\n' in said
