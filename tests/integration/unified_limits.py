# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What limits do with control groups of version 2 only. The hosts of the lab have them, and run this."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests
from .test_limits import M, disk_of, four_calls, kernel

#: Takes and touches 1 MiB at a time, up to so many; says how far it came. Ends by itself after some seconds.
HOG = """
import sys, time
began, held = time.monotonic(), []
while len(held) < int(sys.argv[1]) and time.monotonic() < began + 15:
    held.append(b"x" * (1 << 20))
print(len(held), flush=True)
"""


def events(guests: Guests, name: str) -> dict[str, int]:
    text = (guests.group(name) / "memory.events").read_text()
    return {key: int(value) for key, value in map(str.split, text.splitlines())}


def test_above_high_it_is_slowed_down_and_nothing_is_killed(guests: Guests, site: Site) -> None:
    guests.start("high", init=SLEEP, limits={"memory_swap": 0})
    four_calls(site, "high", memory="96M", memory_high="48M")
    assert kernel(site, "high", "memory", "memory.high", "") == str(48 * M)
    before = events(guests, "high")
    assert 30 < int(guests.run("high", "python3", "-c", HOG, "75")) < 75
    after = events(guests, "high")
    assert after["high"] > before["high"] and after["oom_kill"] == before["oom_kill"]
    four_calls(site, "high", memory_high="max")


def test_without_swap_memory_ends_at_its_limit(guests: Guests, site: Site) -> None:
    guests.start("full", init=SLEEP)
    four_calls(site, "full", memory="48M", memory_swap=0)
    four_calls(site, "full", memory_swap="1M")
    four_calls(site, "full", memory_swap=0)
    result = guests.exec("full", "python3", "-c", HOG, "80")
    assert result.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert events(guests, "full")["oom_kill"] > 0
    assert (guests.group("full") / "memory.swap.current").read_text().strip() == "0"
    assert guests.run("full", "hostname") == "full"


def test_what_goes_through_the_page_cache_counts_when_it_is_written(guests: Guests, site: Site) -> None:
    guests.start("cached", init=SLEEP)
    disk = disk_of(site.state)
    four_calls(site, "cached", memory="128M", io=[{"device": disk, "write": "2M"}])
    assert "wbps=2097152" in kernel(site, "cached", "io", "io.max", "")
    began = time.monotonic()
    guests.run("cached", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=6", "conv=fsync")
    took = time.monotonic() - began
    assert 2.5 <= took < 15, f"6 MiB at 2 MiB a second took {took:.2f} s"
    assert f"{disk_number(disk)} " in (guests.group("cached") / "io.stat").read_text()


def disk_number(disk: str) -> str:
    return Path(f"/sys/block/{Path(disk).name}/dev").read_text().strip()
