# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What limits do with control groups of version 2 only. The hosts of the lab have them, and run this."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import SLEEP, Guests
from .test_limits import M, disk_of, four_calls, in_force, kernel, set_limits

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
    with pytest.raises(VserverError, match="memory_swap 1048576 is too large: this host has 0 bytes of swap"):
        set_limits(site, "full", memory_swap="1M")
    four_calls(site, "full", memory_swap="max")
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


def cached(guests: Guests, name: str) -> float:
    """MiB of a guest's page cache."""
    stat = dict(line.split() for line in (guests.group(name) / "memory.stat").read_text().splitlines())
    return int(stat["file"]) / M


def read_beside_another(guests: Guests) -> float:
    """MiB of what it has read that a guest still has, once another has read more than there is room for."""
    Path("/proc/sys/vm/drop_caches").write_text("1")
    for name in ("spared", "greedy"):
        guests.run(name, "dd", "if=/data", "of=/dev/null", "bs=1M")
    return cached(guests, "spared")


@pytest.fixture(name="pressed")
def made_pressed(site: Site) -> Iterator[Guests]:
    """Guests below a group that a test can press: what a group claims counts where the pressure comes from above it."""
    above = cgroup.layout().tree / "vserver-pressed"
    made = Guests(Site(site.state, site.run, f"{above.name}/all"), templates.NAME)
    yield made
    made.remove_all()
    above.rmdir()


def test_protected_memory_is_left_to_its_guest(pressed: Guests) -> None:
    """As much as it is for, as far as the group of all guests claims it as well; and no longer than the guest runs."""
    site = pressed.site
    for name, megabytes in (("spared", 80), ("greedy", 160)):
        pressed.start(name, init=SLEEP)
        pressed.run(name, "dd", "if=/dev/zero", "of=/data", "bs=1M", f"count={megabytes}", "conv=fsync")
    top = cgroup.layout().tree / site.cgroup
    four_calls(site, "greedy", memory_min="1M")
    four_calls(site, "spared", memory_low="64M")
    assert [(top / file).read_text() for file in ("memory.low", "memory.min")] == [f"{64 * M}\n", f"{M}\n"]
    (top.parent / "memory.max").write_text(str(128 * M))
    assert read_beside_another(pressed) > 55
    (top / "memory.low").write_text("0")
    assert not in_force(site, "spared")
    assert read_beside_another(pressed) < 45, "without the claim of all guests, theirs count for nothing"
    assert set_limits(site, "spared").changed and in_force(site, "spared")
    assert read_beside_another(pressed) > 55
    four_calls(site, "spared", memory_low="16M")
    lifecycle.set_state(site, "spared", "restarted", {"timeout": 0})
    assert in_force(site, "spared") and (top / "memory.low").read_text() == f"{16 * M}\n"
    lifecycle.set_state(site, "spared", "stopped", {"timeout": 0})
    assert (top / "memory.low").read_text() == "0\n"


def disk_number(disk: str) -> str:
    return Path(f"/sys/block/{Path(disk).name}/dev").read_text().strip()
