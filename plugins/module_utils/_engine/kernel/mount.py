# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts: private propagation, binds, idmapped binds and overlays of idmapped layers.

The callers are already in a mount namespace of their own; nothing here is meant for the host's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from .syscall import check, libc, prctl, syscall

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

# Same numbers on every architecture (include/uapi/asm-generic/unistd.h).
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, 0x80000
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
_MOUNT_ATTR_IDMAP = 0x100000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2


class _MountAttributes(ctypes.Structure):
    """struct mount_attr (include/uapi/linux/mount.h)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str | None = None) -> None:
    """mount(2)."""
    data = None if options is None else options.encode()
    check(
        libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data),
        f"mount {kind} on {target}",
    )


def make_private() -> None:
    """Keep every later mount in this namespace to itself (mount_namespaces(7), shared subtrees)."""
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)


def bind(source: Path, target: Path) -> None:
    """Bind ``source`` itself, without the mounts below it."""
    mount(os.fspath(source), target, "", MS_BIND)


def idmapped_bind(source: Path, target: Path, user_namespace: int, readonly: bool = False) -> None:
    """Bind ``source`` on ``target`` with its ids shifted as in ``user_namespace`` (mount_setattr(2), ≥ 5.12).

    The files keep their owners on disk. Device nodes do not work through the mount.
    """
    attempt = f"idmapped mount of {source}"
    flags = _MOUNT_ATTR_IDMAP | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if readonly else 0)
    tree = _tree(attempt, source, _MountAttributes(attr_set=flags, userns_fd=user_namespace))
    _move(attempt, tree, target)


def _move(attempt: str, tree: int, target: Path) -> None:
    try:
        syscall(attempt, _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def _tree(attempt: str, source: Path, attributes: _MountAttributes) -> int:
    """A bind of ``source`` that is nowhere yet, as a descriptor (open_tree(2), mount_setattr(2))."""
    tree = syscall(attempt, _OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC)
    try:
        size = ctypes.sizeof(attributes)
        syscall(attempt, _MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)
    except OSError:
        os.close(tree)
        raise
    return tree


def clone(source: Path) -> int:
    """A bind of ``source`` to be attached in any mount namespace: read-only, without devices, setuid and programs."""
    flags = _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
    return _tree(f"bind {source}", source, _MountAttributes(attr_set=flags))


def readonly_bind(source: Path, target: Path) -> None:
    """Bind ``source`` itself read-only, without devices, setuid and programs."""
    _move(f"bind {source}", clone(source), target)


def attach(tree: int, target: int) -> None:
    """Mount what :func:`clone` has returned on the place that a descriptor is of (move_mount(2))."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    syscall("attach a mount", _MOVE_MOUNT, tree, b"", target, b"", flags)


def detach(point: str) -> None:
    """Take down what is mounted on ``point``, also while it is in use, and without asking it (umount2(2))."""
    check(libc.umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW), f"unmount {point}")


@contextlib.contextmanager
def _file_system_ids(base: int) -> Iterator[None]:
    """Act on files as uid and gid ``base`` while keeping the capabilities that setfsuid(2) would take away."""
    prctl("keep capabilities across setfsuid", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    libc.setfsgid(base)
    libc.setfsuid(base)
    try:
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(0)
        prctl("restore securebits", _PR_SET_SECUREBITS, 0)


def overlay(target: Path, lower: Path, upper: Path, work: Path, options: Mapping[str, str], base: int) -> None:
    """Mount an overlay whose upper layer may be idmapped, as the user ``base`` that owns it there.

    overlayfs makes its work directory with the mounter's fsuid; as host root, which an idmapped upper layer does not
    know, the kernel would mount read-only without an error (fs/overlayfs/super.c, ovl_get_workdir).
    Raises OSError, also when the mount came out read-only.
    """
    settings = {"lowerdir": str(lower), "upperdir": str(upper), "workdir": str(work), **options}
    with _file_system_ids(base):
        mount("overlay", target, "overlay", MS_NODEV, ",".join(f"{key}={value}" for key, value in settings.items()))
    if os.statvfs(target).f_flag & os.ST_RDONLY:
        raise OSError(f"mount overlay on {target}: the kernel made it read-only")


def null_device(path: Path) -> int:
    """Make a null device at ``path``, where devices work, anew, and return a descriptor of it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)
