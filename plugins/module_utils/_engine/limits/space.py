# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk space and inodes of a guest's clone: project quota, where the file system of the guests has it.

The guest's own blocks count, not those it shares with its template, and its ``df`` shows the limit. Without a user
namespace its root could give its files to another project (fs/ioctl.c, fileattr_set_prepare).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import units
from ..errors import InvalidInput, Unsupported, VserverError
from ..host import filesystem
from ..kernel import quota
from ..model import Guest, Limits
from ..site import Site
from .wording import ceiling, refuse_above

FIELDS: tuple[str, ...] = ("disk", "inodes")
_LEAST = 1 << 20
_BLOCK = 1024


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Options: ``disk``, bytes or ``10G``; ``inodes``, a number; each ``max`` for no limit."""
    disk, inodes = options.get("disk"), options.get("inodes")
    limits = recorded
    if disk is not None:
        limits = dataclasses.replace(limits, disk=ceiling("disk", disk, units.parse_bytes, _LEAST))
    if inodes is not None:
        limits = dataclasses.replace(limits, inodes=ceiling("inodes", inodes, units.parse_count, 1))
    return limits


def asked(limits: Limits) -> bool:
    return limits.disk is not None or limits.inodes is not None


def refuse(site: Site, guest: Guest) -> None:
    """Raise when this host cannot keep these limits."""
    if not asked(guest.limits):
        return
    if not guest.context.user_namespace:
        raise InvalidInput(
            f"limit disk space of guest {guest.name}",
            why="without a user namespace it could give its files to others",
            remedy="Leave user_namespace at true.",
        )
    storage = filesystem.storage(site)
    if not storage.project_quota:
        raise Unsupported(
            f"limit disk space of guest {guest.name}",
            why=f"{storage.mount_point} ({storage.type}) is mounted without project quota",
            remedy=f"Have {site.state} on an ext4 made with -O quota,project, or an XFS, mounted with prjquota.",
        )
    if guest.limits.disk is not None:
        refuse_above("disk", guest.limits.disk, storage.size, f"bytes on {storage.mount_point}")
    if guest.limits.inodes is not None:
        most = os.statvfs(storage.mount_point).f_files
        refuse_above("inodes", guest.limits.inodes, most, f"inodes on {storage.mount_point}")


def kept(limits: Limits) -> Limits:
    """``limits`` as the kernel keeps them, in whole KiB (pure)."""
    return limits if limits.disk is None else dataclasses.replace(limits, disk=limits.disk // _BLOCK * _BLOCK)


def read(site: Site, guest: Guest) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value."""
    top = _clone(site, guest)
    storage = filesystem.storage(site) if top.is_dir() and quota.project(top) == guest.base_id else None
    if storage is None or not storage.project_quota:
        return dict.fromkeys(FIELDS)
    found = quota.read(storage.source, guest.base_id)
    return {"disk": found.space, "inodes": found.inodes}


def astray(site: Site, guest: Guest) -> bool:
    """Whether the clone belongs to the project of another xid: the guest had that when it was limited."""
    top = _clone(site, guest)
    strange = top.is_dir() and quota.project(top) not in (0, guest.base_id)
    return strange and filesystem.storage(site).project_quota


def write(site: Site, guest: Guest) -> None:
    """Put the limits in force. The first time, every file of the clone is told which project it belongs to."""
    storage, top = filesystem.storage(site), _clone(site, guest)
    try:
        project = quota.project(top)
        if project != guest.base_id and (project or asked(guest.limits)):
            quota.assign(top, guest.base_id)
        quota.write(storage.source, guest.base_id, guest.limits.disk, guest.limits.inodes)
    except OSError as error:
        raise VserverError(
            f"limit disk space of guest {guest.name}",
            why=error.strerror,
            remedy=f"See whether {storage.mount_point} still has project quota (mount, quotaon -Ppv).",
        ) from error


def _clone(site: Site, guest: Guest) -> Path:
    return site.guest(guest.name) / "root"
