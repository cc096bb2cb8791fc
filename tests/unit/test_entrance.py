# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted for the next one who enters a guest answers the same question only."""

from __future__ import annotations

import marshal
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.entrance import STATE, Entrance, Question

ENTRANCE = Entrance(
    7, 8, "/cg", "/cg/g", ("/v1/g",), ("CAP_KILL",), b"\0\xff", {7: (1, -1)}, {"PATH": "/bin"}, True, False
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / STATE).write_text("one run")
    question = Question(str(tmp_path), "1")
    Path(question.place).write_bytes(question.answer(ENTRANCE))
    return tmp_path


def test_the_same_question_has_the_same_answer(bundle: Path) -> None:
    found = Question(str(bundle), "1").answered()
    assert found is not None and vars(found) == vars(ENTRANCE)


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle, note: (bundle / STATE).write_text("another run"),
        lambda bundle, note: (bundle / STATE).unlink(),
        lambda bundle, note: note.unlink(),
        lambda bundle, note: note.write_bytes(b""),
        lambda bundle, note: note.write_bytes(note.read_bytes()[:-1]),
        lambda bundle, note: note.write_bytes(b"{}"),
        lambda bundle, note: note.write_bytes(marshal.dumps((Question(str(bundle), "1").known, {"pid": 7}))),
        lambda bundle, note: note.write_bytes(marshal.dumps((Question(str(bundle), "1").known, 7))),
    ],
)
def test_any_other_has_none(bundle: Path, change: Callable[[Path, Path], object]) -> None:
    question = Question(str(bundle), "1")
    change(bundle, Path(question.place))
    assert Question(str(bundle), "1").answered() is None


def test_another_engine_has_none(bundle: Path) -> None:
    assert Question(str(bundle), "2").answered() is None
