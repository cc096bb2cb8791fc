# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guests' file system can do, each tried out on a temporary directory there; and which one it is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..kernel import mount, mountinfo, namespace
from ..kernel.mountinfo import Mount
from ..kernel.syscall import libc
from ..model import ID_COUNT, XID_MAX
from ..site import Site
from . import facts
from .facts import Storage
from .trial import in_child, nearest_directory, scratch

#: Ids that no guest with an automatic xid has.
BASE = XID_MAX << 16
_FICLONE = 0x40049409
#: How guests' overlays are mounted. metacopy and redirects would follow what a layer claims about another file
#: (overlayfs.rst); a guest writes the upper layer, so both stay off, like what only matters to NFS.
OVERLAY = {"metacopy": "off", "redirect_dir": "nofollow", "index": "off", "xino": "off"}
_DIRECTORIES = ("lower", "upper", "work", "on-lower", "on-writable", "root")


def _lay_out(path: Path) -> None:
    for directory in _DIRECTORIES:
        (path / directory).mkdir()
    (path / "lower/file").touch()


def idmapped_mounts(site: Site) -> str:
    def act() -> str:
        mapping = namespace.user_namespace(BASE, ID_COUNT)
        namespace.unshare(namespace.CLONE_NEWNS)
        mount.make_private()
        mount.idmapped_bind(path / "lower", path / "on-lower", mapping, readonly=True)
        return str((path / "on-lower/file").stat().st_uid)

    with scratch(site.state) as path:
        _lay_out(path)
        seen = int(in_child(act))
    if seen != BASE:
        raise OSError(f"uid 0 was shifted to {seen} instead of {BASE}")
    return ""


def _overlay(site: Site, shifted_upper: bool) -> str:
    """Mount an overlay over an idmapped lower layer, write to it as a guest's root would, and look who owns the file.

    * shifted_upper: the upper layer is idmapped as well, and its files stay root's on disk; else they are the guest's
    """

    def act() -> str:
        mapping = namespace.user_namespace(BASE, ID_COUNT)
        namespace.unshare(namespace.CLONE_NEWNS)
        mount.make_private()
        mount.idmapped_bind(path / "lower", path / "on-lower", mapping, readonly=True)
        if shifted_upper:
            mount.idmapped_bind(path, path / "on-writable", mapping)
        else:
            mount.bind(path, path / "on-writable")
            for directory in ("upper", "work"):
                os.chown(path / directory, BASE, BASE)
        writable, base = path / "on-writable", BASE if shifted_upper else 0
        mount.overlay(path / "root", path / "on-lower", writable / "upper", writable / "work", OVERLAY, base)
        root = os.open(path / "root", os.O_RDONLY | os.O_DIRECTORY)
        libc.setfsgid(BASE)
        libc.setfsuid(BASE)
        os.close(os.open("file", os.O_WRONLY, dir_fd=root))  # copied up
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=root))
        return ""

    expected = 0 if shifted_upper else BASE
    with scratch(site.state) as path:
        _lay_out(path)
        in_child(act)
        owners = {(path / "upper" / name).stat().st_uid for name in ("file", "new")}
    if owners != {expected}:
        raise OSError(f"files in the upper layer belong to {sorted(owners)} instead of {expected}")
    return ""


def overlay_idmapped(site: Site) -> str:
    return _overlay(site, shifted_upper=True)


def overlay_chowned(site: Site) -> str:
    return _overlay(site, shifted_upper=False)


def reflink(site: Site) -> str:
    with scratch(site.state) as path, open(path / "source", "w+b") as source, open(path / "clone", "wb") as clone:
        source.write(b"x" * 4096)
        source.flush()
        fcntl.ioctl(clone.fileno(), _FICLONE, source.fileno())
    return ""


def btrfs_subvolumes(site: Site) -> str:
    found = storage(site)
    if found.type != "btrfs":
        raise OSError(f"{found.mount_point} is {found.type}")
    return found.mount_point


def project_quota(site: Site) -> str:
    found = storage(site)
    if not found.project_quota:
        raise OSError(f"{found.mount_point} ({found.type}) is mounted without it")
    return found.mount_point


def storage(site: Site) -> Storage:
    """The file system below ``site.state``, which need not exist yet."""
    fd = os.open(nearest_directory(site.state), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        number = facts.mount_id(Path(f"/proc/self/fdinfo/{fd}").read_text())
        room = os.fstatvfs(fd)
    finally:
        os.close(fd)
    # A mount outside of a chroot's view has no line.
    elsewhere = Mount(number, "/", "/", "unknown", "unknown")
    found = next((mount for mount in mountinfo.read() if mount.id == number), elsewhere)
    return facts.storage(str(site.state), found, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)
