# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import sealed


@pytest.fixture
def echo(tmp_path: Path) -> str:
    found = shutil.which("echo")
    assert found
    return shutil.copy(found, tmp_path / "echo")


def copied(path: str) -> int:
    copy = sealed.program(path)
    assert copy is not None
    return copy


def said(copy: int) -> str:
    place = f"/proc/self/fd/{copy}"
    return subprocess.run(
        ["echo", "x"], executable=place, pass_fds=[copy], check=True, capture_output=True
    ).stdout.decode()


def test_a_copy_is_executed_and_nobody_changes_it(echo: str) -> None:
    copy = copied(echo)
    assert said(copy) == "x\n"
    for attempt in (lambda: os.pwrite(copy, b"#!", 0), lambda: os.ftruncate(copy, 0)):
        with pytest.raises(PermissionError):
            attempt()
    assert said(copy) == "x\n"


def test_one_copy_is_made_as_long_as_it_is_open_and_the_program_is_the_same(echo: str) -> None:
    copy = copied(echo)
    assert copied(echo) == copy
    os.close(copy)
    other = os.open("/dev/null", os.O_RDONLY)
    assert other == copy, "the number means something else now"
    again = copied(echo)
    assert again != other and said(again) == "x\n"
    os.close(other)
    Path(echo).unlink()
    shutil.copy(shutil.which("true") or "", echo)
    assert said(copied(echo)) == ""


def test_there_is_none_of_what_is_no_program(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert sealed.program(str(tmp_path)) is sealed.program(str(tmp_path / "missing")) is None
    assert len(os.listdir("/proc/self/fd")) == before
