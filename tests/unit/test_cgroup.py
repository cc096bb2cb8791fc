# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups as directories: those below one, however a guest has laid them."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_processes


def test_groups_below_come_before_those_above(tmp_path: Path) -> None:
    for group in ("a/b/c", "a/d", "e"):
        (tmp_path / group).mkdir(parents=True)
    (tmp_path / "a/cgroup.procs").write_text("1\n2\n")
    (tmp_path / "a/b/c/cgroup.procs").write_text("3\n")
    found = cgroup.below(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in found} == {".", "a", "a/b", "a/b/c", "a/d", "e"}
    assert all(found.index(path) < found.index(path.parent) for path in found if path != tmp_path)
    assert sorted(cgroup_processes.ids(tmp_path)) == [1, 2, 3]
    assert cgroup.below(tmp_path / "gone") == []


def test_groups_that_are_nested_very_deep_are_removed(tmp_path: Path) -> None:
    place = tmp_path / "guest"
    depth = sys.getrecursionlimit() + 100
    for _level in range(depth):
        place.mkdir()
        place = place / "x"
    assert len(cgroup.below(tmp_path / "guest")) == depth
    cgroup.remove(cgroup.Layout(tmp_path), "guest")
    assert not (tmp_path / "guest").exists()
