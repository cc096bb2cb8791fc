# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Integration tests on stock kernels: the address binding, attacks on it, cgroups with all controllers, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from . import suite
from .laboratory import Lab
from .suite import Report

#: Files, and which of their tests: all attacks would take an emulated host half an hour.
FILES = {
    "test_binding_kernel.py": "test_",
    "test_attacks.py": "trick or family",
    "unified_groups.py": "test_",
    "unified_limits.py": "test_",
    "unified_space.py": "test_",
    "unified_accounting.py": "test_",
    "unified_withstand.py": "test_",
    "test_withstand.py": "bomb or swap or processor",
    "test_limits.py": "not version_1",
    "test_accounting.py": "test_",
}
HOSTS = ("host1", "host2")
#: Those that one kernel does for, so that both hosts are done at about the same time.
ONCE = {
    "unified_space.py": "host1",
    "unified_accounting.py": "host1",
    "test_accounting.py": "host1",
    "unified_limits.py": "host2",
    "unified_withstand.py": "host2",
    "test_limits.py": "host2",
    "test_withstand.py": "host2",
}
WHERE = [(host, file) for host in HOSTS for file in FILES if ONCE.get(file, host) == host]
PATIENCE = 900.0
#: What a kernel lacks, as docs/networking.md says.
MISSING = {
    "host1": {"scopes of Landlock came with Linux 6.12"},
    "host2": set(),
}


@pytest.fixture(scope="module")
def reports(running_lab: Lab) -> Mapping[tuple[str, str], Report | BaseException]:
    """What each file found on each host, both at the same time."""
    running_lab.reset(HOSTS)
    archive = Path(os.environ["VSERVER_TEMPLATE_ARCHIVE"])

    def work(host: str) -> dict[tuple[str, str], Report]:
        suite.send(running_lab.remote, host, archive)
        return {
            (host, file): suite.run(running_lab.remote, host, file, FILES[file], PATIENCE)
            for there, file in WHERE
            if there == host
        }

    with ThreadPoolExecutor() as pool:
        found: list[Future[dict[tuple[str, str], Report]]] = [pool.submit(work, host) for host in HOSTS]
    return {key: report for one in found for key, report in one.result().items()}


@pytest.mark.parametrize(("host", "file"), WHERE)
def test_on_a_stock_kernel(
    reports: Mapping[tuple[str, str], Report], host: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = reports[host, file]
    with capsys.disabled():
        print(*(f"\n  {host}: {line}" for line in report.measured))
    assert report.failed == ()
    assert set(report.skipped) <= MISSING[host]
    assert report.ran == suite.expected(file, FILES[file]) > 0
