# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the OCI runtime that cannot be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import runtime
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import ToolFailed
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import namespace
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


@pytest.mark.parametrize("own_time", [True, False])
def test_a_program_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_time: bool) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(namespace, "has_time", lambda: own_time)
    missing = "nsenter" if own_time else "/no/crun"
    with pytest.raises(ToolFailed, match=f"start guest web: this host has no {missing}.*util-linux"):
        runtime.start(Site(state=tmp_path, run=tmp_path), "/no/crun", "web", os.getpid())


def test_a_first_process_that_waits_at_a_pipe_is_let_go(tmp_path: Path) -> None:
    site = Site(state=tmp_path, run=tmp_path)
    pipe = site.runtime / "crun" / "web" / "exec.fifo"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    runtime.start(site, "/no/crun", "web", os.getpid())
    assert os.read(end, 2) == b"\0" and not pipe.exists()
    os.close(end)
