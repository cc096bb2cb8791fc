# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""lxcfs(1), a file system that tells each reader of its own limits: whether the host has one in use that answers.

It is in use when it is mounted on :attr:`.Site.lxcfs`.
"""

from __future__ import annotations

from ..kernel import mountinfo
from ..site import Site
from .trial import in_child

#: Of its file system, for the kernel.
TYPE = "fuse.lxcfs"
#: Below lxcfs, and below the root of a guest.
FILES = (
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "sys/devices/system/cpu/online",
)
#: Seconds after which an lxcfs that says nothing is as good as dead.
PATIENCE = 3.0


def mounted(site: Site) -> str | None:
    """The device of the lxcfs in use, dead or alive; None when there is none."""
    if not site.lxcfs.parent.is_dir():
        return None
    found = [each.device for each in mountinfo.read() if each.point == str(site.lxcfs) and each.type == TYPE]
    return found[-1] if found else None


def answering(site: Site) -> str | None:
    """The device of the lxcfs in use if it is alive, else None."""
    device = mounted(site)
    if device is None:
        return None
    try:
        in_child((site.lxcfs / FILES[0]).read_text, PATIENCE)
    except OSError:
        return None
    return device


def require_answer(site: Site) -> str:
    """A word about the lxcfs in use. Raises OSError when there is none, or it is dead."""
    device = answering(site)
    if device is None:
        raise OSError("it is not mounted" if mounted(site) is None else "it is mounted, and does not answer")
    return f"device {device}"
