# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command writes is kept up to a bound, and the command is not kept from going on."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import output

BOUND = 100_000


def own() -> tuple[int, str]:
    """How many descriptors this process has, and its children."""
    return len(os.listdir("/proc/self/fd")), Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.mark.parametrize(
    ("script", "stdout", "stderr"),
    [
        ("true", 0, 0),
        ("echo out; echo err >&2", 4, 4),
        (f"head -c {BOUND} /dev/zero", BOUND, 0),
        (f"head -c {BOUND + 1} /dev/zero >&2; echo x", 2, BOUND + 1),
        ("head -c 300000000 /dev/zero; echo after >&2", BOUND + 1, 6),
        ("head -c 5000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait", BOUND + 1, BOUND + 1),
    ],
)
def test_what_is_written_is_kept_up_to_the_bound(script: str, stdout: int, stderr: int) -> None:
    with output.gathered(2, BOUND) as (ends, written):
        status = subprocess.run(["sh", "-c", script], stdout=ends[0], stderr=ends[1], check=False).returncode
        kept = written()
    assert status == 0 and list(map(len, kept)) == [stdout, stderr]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 500_000, "KiB"


def test_nothing_is_left_when_it_fails() -> None:
    before = own()
    with pytest.raises(KeyError), output.gathered(2, BOUND):
        raise KeyError("x")
    with output.gathered(1, BOUND) as (ends, written):
        os.write(ends[0], b"beginning")
        assert written() == [b"beginning"]
    assert own() == before


def test_who_goes_on_writing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_LAST", 0.2)
    with output.gathered(1, BOUND) as (ends, written):
        holder = subprocess.Popen(["sh", "-c", "echo x; exec sleep 30"], stdout=ends[0])
        try:
            assert holder.poll() is None
            while not os.pread(_memory(), 1, 0):
                pass
            assert written() == [b"x\n"]
        finally:
            holder.kill()
            holder.wait()


def _memory() -> int:
    """The memory of the only stream."""
    (found,) = (int(fd) for fd in os.listdir("/proc/self/fd") if _place(fd).startswith("/memfd:output"))
    return found


def _place(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""
