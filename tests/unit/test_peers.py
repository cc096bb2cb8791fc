# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether anything that ends unlike its table is told."""

from __future__ import annotations

import pytest

from ..integration.peers import LXC, SYSTEMD, Unlike, surprises

TABLE = (Unlike("no bridge", "fails", {"test-a": "no such bridge"}), Unlike("no user", "skips", {"test-b": "no bus"}))
AS_EXPECTED = {"test-a": (1, "no such bridge"), "test-b": (77, "no bus"), "test-c": (0, "")}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"test-a": (0, "")}, ["test-a passes"]),
        ({"test-a": (-6, "Aborting: no such bridge")}, []),
        ({"test-a": (1, "no such file")}, ["test-a fails"]),
        ({"test-a": (77, "no such bridge")}, ["test-a skips"]),
        ({"test-b": (0, "SKIP: no bus")}, []),
        ({"test-b": (0, "no bus")}, ["test-b passes"]),
        ({"test-c": (77, "")}, ["test-c skips"]),
        ({"test-c": (0, "SKIP: no tool")}, ["test-c skips"]),
        ({"test-c": (None, "")}, ["test-c hangs"]),
        ({"test-a": None}, ["test-a was not run"]),
    ],
)
def test_what_is_unlike_the_table_is_told(change: dict[str, tuple[int, str] | None], told: list[str]) -> None:
    results = [(name, *end) for name, end in {**AS_EXPECTED, **change}.items() if end is not None]
    found = list(surprises(TABLE, results))
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told))


@pytest.mark.parametrize("table", [SYSTEMD, LXC])
def test_no_program_is_in_a_table_twice(table: tuple[Unlike, ...]) -> None:
    names = [name for entry in table for name in entry.programs]
    assert len(names) == len(set(names))
    assert {entry.how for entry in table} <= {"fails", "skips"}
