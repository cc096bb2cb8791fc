# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Integration tests on stock kernels: the address binding, attacks on it, cgroups with all controllers, limits."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import suite
from .laboratory import Lab
from .suite import Report

#: Files, and which of their tests run on each host: all attacks would take an emulated host half an hour.
BOTH = {
    "test_binding_kernel.py": "test_",
    "test_attacks.py": "trick or family",
    "unified_groups.py": "test_",
}
#: What one kernel does for is shared so that both hosts are done at about the same time.
FILES = {
    "host1": {
        **BOTH,
        "unified_space.py": "test_",
        "unified_accounting.py": "test_",
        "test_accounting.py": "not version_1",
        "unified_limits.py": "test_",
        "test_lxcfs.py": "limits or outlives",
    },
    "host2": {
        **BOTH,
        "unified_withstand.py": "test_",
        "test_limits.py": "not version_1",
        "test_withstand.py": "test_",
    },
}
PATIENCE = 1800.0
#: What a kernel lacks, as docs/networking.md says.
MISSING = {
    "host1": {"scopes of Landlock came with Linux 6.12"},
    "host2": set(),
}


def test_on_stock_kernels(running_lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """On both hosts at the same time."""
    running_lab.reset(())
    archive = Path(os.environ["VSERVER_TEMPLATE_ARCHIVE"])

    def work(host: str) -> Report:
        suite.send(running_lab.remote, host, archive)
        return suite.run(running_lab.remote, host, FILES[host], PATIENCE)

    with ThreadPoolExecutor() as pool:
        reports = dict(zip(FILES, pool.map(work, FILES)))
    with capsys.disabled():
        print(*(f"\n  {host}: {line}" for host, report in reports.items() for line in report.measured))
    assert {host: report.failed for host, report in reports.items()} == {host: () for host in FILES}
    for host, report in reports.items():
        assert set(report.skipped) <= MISSING[host]
        assert report.ran == suite.expected(FILES[host])
