# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many guests start at a time, in which order, and what becomes of failures."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import several
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput, ToolFailed


@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (3, 3), (50, 8)])
def test_as_many_at_a_time_and_in_order(tmp_path: Path, parallel: int, most: int) -> None:
    names = [f"guest{number}" for number in range(8)]

    def act(name: str) -> None:
        (tmp_path / f"{name}.works").touch()
        time.sleep(0.05)
        with open(tmp_path / "log", "a") as log:
            log.write(f"{name} {len(list(tmp_path.glob('*.works')))}\n")
        (tmp_path / f"{name}.works").unlink()

    several.each(names, parallel, "start", act)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(name for name, _count in lines) == names
    assert max(int(count) for _name, count in lines) <= most
    if parallel == 1:
        assert [name for name, _count in lines] == names


def test_a_failure_keeps_nobody_from_starting_and_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def act(name: str) -> None:
        if name == "wrong":
            raise InvalidInput("start guest wrong", remedy="Do not.")
        if name == "defect":
            raise KeyError("x")
        if name == "killed":
            os.kill(os.getpid(), 9)
        (tmp_path / name).touch()

    with pytest.raises(ToolFailed, match=r"3 of 5 guests: not done: defect, killed, wrong"):
        several.each(["a", "wrong", "defect", "killed", "z"], 2, "start", act)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "z"}
    said = capfd.readouterr().err
    assert "vserver: start guest wrong. Do not.\n" in said and "vserver: start guest defect: KeyError" in said


def test_nobody_to_start() -> None:
    several.each([], 0, "stop", lambda name: None)
