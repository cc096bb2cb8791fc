# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guest a socket belongs to: the kernel lists all of them at once, each with the control group of its maker."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .kernel import cgroup, sock_diag


def by_guest(groups: Mapping[str, Path]) -> dict[str, int | None]:
    """How many TCP and UDP sockets processes of each guest have made, from one listing by the kernel.

    * groups: guest → its v2 group; a socket belongs to a group below it

    None where the kernel does not tell whose a socket is (< 5.8).
    """
    owners = {entry: name for name, group in groups.items() for entry in _identities(group)}
    try:
        listed = sock_diag.everything()
    except OSError:
        return dict.fromkeys(groups)
    if listed and not any(found.cgroup for found in listed):
        return dict.fromkeys(groups)
    counted = Counter(owners.get(found.cgroup) for found in listed)
    return {name: counted[name] for name in groups}


def _identities(group: Path) -> Sequence[int]:
    """The ids of a v2 group and all below it: their inode numbers."""
    found = []
    for path in cgroup.below(group):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_ino)
    return found
