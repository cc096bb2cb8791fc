# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet root: the guest's file system, a copy-on-write clone of a template (Linux-VServer: vclone, vunify).

On disk: ``guests/NAME/root/``, renamed into place whole, with ``clone.json`` and either the overlay's ``upper`` and
``work``, or ``rootfs``. Ownership on disk is unshifted: the guest's uid 0 is 0 there, and the id mapping happens in the
mount (mount_setattr(2)), which is why everything above is root-only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import faults, files
from ..errors import Conflict, InvalidInput, ToolFailed, VserverError
from ..facet import Change, compare_fields
from ..host import filesystem
from ..model import Guest, Root, check_name
from ..running import Running
from ..site import Site
from ..template import versions

#: ``host`` is for throw-away guests only: the host's own root file system below an upper layer.
_METHODS = ("auto", "overlay", "copy", "host")
_OVERLAY_WORKS = ".overlay.json"


def parse(options: Mapping[str, Any], recorded: Root) -> Root:
    """Options: ``template``, ``version``, ``method`` (``auto``, ``overlay``, ``copy``)."""
    name, version, method = options.get("template"), options.get("version"), options.get("method")
    if method is not None and method not in _METHODS:
        raise InvalidInput(f"clone method {method!r} is unknown", remedy=f"Use one of {', '.join(_METHODS)}.")
    if name is not None:
        check_name("template", name)
    if name is not None and name != recorded.template:
        return Root(name, version, method or "auto")
    return Root(
        recorded.template,
        recorded.version if version is None else version,
        recorded.method if method in (None, "auto") and recorded.method else method or "auto",
    )


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Root:
    """Fill in the newest version and the automatic method; refuse to turn one clone into another."""
    wanted, present = guest.root, observe(site, guest, None)
    if wanted == Root(method="host"):
        return wanted
    if present is not None:
        method = present.method if wanted.method == "auto" else wanted.method
        same = Root(wanted.template, wanted.version or present.version, method)
        if same != present:
            raise Conflict(
                f"clone {wanted.template} {wanted.version or ''}".rstrip() + f" for guest {guest.name}",
                why=f"it is a clone of {present.template} {present.version} by {present.method}, and its data stay",
                remedy="Remove the clone first (state: absent) if its data may go.",
            )
        return same
    if wanted.template is None:
        raise InvalidInput(f"guest {guest.name} has no clone yet", remedy="Name the template to clone.")
    if check and wanted.template not in versions.names(site):
        return wanted
    version = wanted.version or versions.latest(site, wanted.template)
    versions.resolve(site, wanted.template, version)
    automatic = wanted.method == "auto" and not check
    return Root(wanted.template, version, _automatic(site) if automatic else wanted.method)


def _automatic(site: Site) -> str:
    """overlay where this kernel can shift its layers (≥ 5.19), tried out; else copy, which needs one idmapped mount.

    That it can is remembered until the host reboots or the guests lie on another file system.
    """
    memory, here = site.run / _OVERLAY_WORKS, {"kernel": os.uname().release, "device": os.stat(site.state).st_dev}
    with contextlib.suppress(FileNotFoundError, VserverError):
        if files.read_json(memory) == here:
            return "overlay"
    try:
        filesystem.overlay_idmapped(site)
    except OSError:
        return "copy"
    files.write_json(memory, here)
    return "overlay"


def observe(site: Site, guest: Guest, now: Running | None) -> Root | None:
    """The clone as it lies on disk."""
    try:
        return Root(**files.read_json(directory(site, guest.name) / "clone.json"))
    except FileNotFoundError:
        return None
    except TypeError as error:
        raise VserverError(
            f"read what the clone of guest {guest.name} is made of, {directory(site, guest.name) / 'clone.json'}",
            why=f"it is damaged, or a newer linux.vserver's ({error})",
        ) from error


def compare(desired: Root, observed: Root | None) -> list[Change]:
    """Everything differs while there is no clone; making one disturbs nobody."""
    return compare_fields("root", desired, observed or Root(), live=("template", "version", "method"))


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    """Make the clone: in constant time for ``overlay``, by copying for ``copy``."""
    parent = site.guest(guest.name)
    files.make_directory(parent)
    building = files.pending_directory(parent)
    faults.reached("clone:begun")
    try:
        fill(site, guest, building)
        faults.reached("clone:built")
        building.rename(directory(site, guest.name))
        files.fsync_directory(parent)
        faults.reached("clone:placed")
    except OSError as error:
        files.remove_tree(building)
        raise VserverError(f"clone {guest.root.template} for guest {guest.name}", why=error.strerror) from error
    except VserverError:
        files.remove_tree(building)
        raise


def fill(site: Site, guest: Guest, building: Path) -> None:
    """Make the empty directory ``building`` a clone as the guest's record asks for. Raises OSError."""
    root = guest.root
    source = Path("/") if root.method == "host" else template_root(site, root)
    if root.method in ("overlay", "host"):
        (building / "upper").mkdir()
        (building / "work").mkdir(mode=0o755)
        shutil.copystat(source, building / "upper")
        os.chown(building / "upper", source.stat().st_uid, source.stat().st_gid)
        if root.method == "host":
            _own_home(building / "upper" / "root", guest.base_id)
    else:
        _copy(source, building / "rootfs")
    faults.reached("clone:filled")
    files.write_json(building / "clone.json", dataclasses.asdict(root))


def _own_home(home: Path, owner: int) -> None:
    """A home directory of the guest's root, empty, in place of the host's (overlayfs.rst, "Whiteouts and opaque")."""
    home.mkdir(mode=0o700)
    os.chown(home, owner, owner)
    os.setxattr(home, "trusted.overlay.opaque", b"y")


def _copy(source: Path, target: Path) -> None:
    """Copy a tree with all it has; blocks are shared where the file system can (cp(1), --reflink)."""
    command = ["cp", "--archive", "--reflink=auto", "--one-file-system", "--", str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ToolFailed(f"copy {source}", why=result.stderr.strip())


def template_root(site: Site, root: Root) -> Path:
    """The root directory that ``root`` is, or is to be, a clone of. Raises :class:`InvalidInput` when it is gone."""
    if root.template is None:
        raise InvalidInput("find the template of a clone", why="none is recorded", remedy="Name the template to clone.")
    return versions.resolve(site, root.template, root.version)


def directory(site: Site, name: str) -> Path:
    """Where a guest's clone lies."""
    return site.guest(name) / "root"


def remove(site: Site, name: str) -> None:
    """Remove the clone with the guest's data. The caller has made sure that the guest does not run."""
    files.remove_tree(directory(site, name))
    faults.reached("clone:removed")
