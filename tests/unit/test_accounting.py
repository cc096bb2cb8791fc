# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's counters as texts, and the text that Prometheus reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import accounting, metrics
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
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


@pytest.mark.parametrize(
    ("text", "seconds"), [(PRESSURE, 2.5), ("full avg10=0.00 avg60=0.00 avg300=0.00 total=7", None), (None, None)]
)
def test_pressure(text: str | None, seconds: float | None) -> None:
    assert accounting.stalled(text) == seconds


def test_flat_files() -> None:
    assert accounting.flat("usage_usec 5\nnr_periods 0\n") == {"usage_usec": 5, "nr_periods": 0}
    assert accounting.flat(None) == {}


@pytest.mark.parametrize(("file", "unified"), [("memory.current", True), ("memory.usage_in_bytes", False)])
def test_memory_in_both_versions(file: str, unified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, memory = tmp_path / "tree", tmp_path / ("tree" if unified else "memory")
    monkeypatch.setattr(cgroup, "layout", lambda: cgroup.Layout(tree, {"memory": memory}))
    group = memory / "vserver/web1/guest"
    group.mkdir(parents=True)
    assert accounting.memory(Site(), "web1") == 0
    (group / file).write_text("4096\n")
    assert accounting.memory(Site(), "web1") == 4096


_LINE = re.compile(
    r"# TYPE [a-zA-Z_:][a-zA-Z0-9_:]* (?:counter|gauge)|"
    r'[a-zA-Z_:][a-zA-Z0-9_:]*\{guest="(?:[^"\\\n]|\\[\\n"])*"\} -?[0-9.]+(?:e[+-]?[0-9]+)?'
)


@given(
    st.dictionaries(
        st.sampled_from(["running", "oom_kills_total"]),
        st.lists(st.tuples(st.text(), st.integers(0, 1 << 63) | st.floats(0, 1e12)), min_size=1, max_size=3),
    )
)
def test_every_line_is_one_of_the_format(values: dict[str, list[tuple[str, float]]]) -> None:
    samples = {metric: [({"guest": name}, value) for name, value in pairs] for metric, pairs in values.items()}
    said = metrics.exposition(samples)
    assert all(_LINE.fullmatch(line) for line in said.removesuffix("\n").split("\n") if said)
    assert said.count("# TYPE") == len(values)
    assert "running" not in values or "# TYPE vserver_guest_running gauge\n" in said
    assert "oom_kills_total" not in values or "# TYPE vserver_guest_oom_kills_total counter\n" in said
