# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of guests with control groups of version 2, pressure, a journal and quotas. The lab runs this."""

from __future__ import annotations

import json
import subprocess

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import journal
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually
from .test_accounting import M, used
from .test_events import watched
from .unified_limits import HOG
from .unified_space import fill, here

__all__ = ["here"]


def test_everything_is_counted(guests: Guests, site: Site) -> None:
    guests.start("whole", init=SLEEP)
    told = used(site, "whole")
    assert told["not_counted"] == {} or set(told["not_counted"]) == {"memory_peak_bytes"}
    assert all(told["pressure"][what]["some"]["total_seconds"] >= 0 for what in ("cpu", "memory", "io"))
    assert told["memory_bytes"] > 0 and told["network"]["ipv4"]["sent_bytes"] == 0


def test_what_is_written_through_the_page_cache_is_counted(guests: Guests, site: Site) -> None:
    guests.start("caches", init=SLEEP)
    before = used(site, "caches")
    guests.run("caches", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=24", "conv=fsync")
    after = used(site, "caches")
    assert after["written_bytes"] - before["written_bytes"] == pytest.approx(24 * M, rel=0.1)


def test_a_guest_at_memory_high_is_told_of_and_under_pressure(guests: Guests, site: Site) -> None:
    guests.start("slow", init=SLEEP, limits={"memory_high": "48M", "memory_swap": 0})
    before = used(site, "slow")
    with watched(site) as watch:
        guests.run("slow", "python3", "-c", HOG, "60")
        assert watch.line().startswith("guest slow: slowed down at memory_high, ")
    after = used(site, "slow")
    assert after["memory_high_events"] > before["memory_high_events"]
    stalled = (told["pressure"]["memory"]["some"]["total_seconds"] for told in (before, after))
    assert -next(stalled) + next(stalled) > 0.1


def test_a_guest_whose_disk_is_full_is_told_of(here: Guests) -> None:
    here.start("fills", init=SLEEP, limits={"disk": "16M"})
    with watched(here.site) as watch:
        assert fill(here, "fills", "/file", 24).returncode != 0
        assert watch.line() == "guest fills: at its limit of disk space or inodes"


def test_the_journal_of_the_host_has_it_with_the_name_of_the_guest(guests: Guests, site: Site) -> None:
    assert journal.SOCKET.exists()
    guests.start("journalled", init=SLEEP)
    lifecycle.kill(site, "journalled")

    def entries() -> list[str]:
        command = ["journalctl", "--quiet", "--output=json", "VSERVER_GUEST=journalled", "VSERVER_EVENT=stopped"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    eventually(entries, "the journal does not have it")
    entry = json.loads(entries()[-1])
    assert entry["MESSAGE"] == "guest journalled: stopped, killed" and entry["SYSLOG_IDENTIFIER"] == "vserver"
    assert entry["VSERVER_DETAIL"] == "killed" and entry["PRIORITY"] == "6"
