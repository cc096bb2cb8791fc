# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that take all they can get, beyond :mod:`.test_withstand`, on the hosts of the lab.

They have control groups of version 2, project quota and CAP_SYS_RESOURCE, without which these cannot be held.
"""

from __future__ import annotations

import pytest

from .conftest import Tell
from .guests import Guests
from .neighbour import Neighbours
from .trial import Trial
from .unified_space import here
from .withstand import DISK, Case, M, Range, about, rate, taken

__all__ = ["here"]

#: What the kernel counts by user: as much as it gives one, for each guest is one. On a host whose root lacks
#: CAP_SYS_RESOURCE, as in some sandboxes, all guests and the host's root would be the same.
USERS = "inotify+big queues+timers"
CASES = {
    "disk writes through the page cache": Case(
        "write through the cache",
        {"io": [{"device": DISK, "write": "4M"}]},
        rate("written_bytes", M, 2.0),
        about(4, 0.1),
        {"io": [{"device": DISK, "write": "8M"}]},
        about(8, 0.1),
        rises=("written_operations",),
        rate=True,
    ),
    "what is counted by user, without a limit": Case(USERS, {}, taken, Range(1000, 1 << 20), modest=True),
}
#: On a file system with project quota.
FILLERS = {
    "disk": Case("disk", {"disk": "24M"}, taken, Range(16, 24), {"disk": "32M"}, Range(25, 32)),
    "inodes": Case("inodes", {"inodes": 200}, taken, Range(100, 200), {"inodes": 300}, Range(220, 300)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_it_is_held_and_its_neighbours_go_on(name: str, guests: Guests, neighbours: Neighbours, tell: Tell) -> None:
    trial = Trial(CASES[name], guests, neighbours)
    trial.run()
    tell("; ".join(trial.told))


@pytest.mark.parametrize("here", ["ext4"], indirect=True)
@pytest.mark.parametrize("name", list(FILLERS))
def test_a_disk_is_filled_up_to_the_quota(name: str, here: Guests, neighbours: Neighbours, tell: Tell) -> None:
    trial = Trial(FILLERS[name], here, neighbours)
    trial.run()
    tell("; ".join(trial.told))
