# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands inside a new tree see: the tree, with /proc (read-only), /dev, /run and /tmp made for the occasion.

The tree may come from anywhere, so every place to mount on is opened inside the tree with links refused, and mounted on
through its descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInput
from ..kernel.mount import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    bind,
    make_private,
    mount,
)
from ..kernel.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, open_in_root
from ..kernel.syscall import check, libc

#: Settings of apt(8) inside, below its root.
APT_CONF = "run/linux-vserver-apt.conf"
_MNT_DETACH = 2
#: Directories we mount on; made when the tree lacks them.
_MOUNT_POINTS = {"dev": 0o755, "proc": 0o555, "run": 0o755, "tmp": 0o1777}
_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_NO_LINKS = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


def make_mount_points(root_fd: int) -> None:
    """Have the directories that :func:`enter` mounts on. Raises :class:`InvalidInput` for a link or file instead."""
    for name, mode in _MOUNT_POINTS.items():
        os.close(_mount_point(root_fd, name, mode))


def _mount_point(root_fd: int, name: str, mode: int) -> int:
    """A descriptor of the directory ``name`` at the top of the tree, made when missing."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=root_fd)
        os.chmod(name, mode, dir_fd=root_fd)
    try:
        return open_in_root(root_fd, name, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        kind = "a symbolic link" if error.errno == errno.ELOOP or _is_link(root_fd, name) else "not a directory"
        raise InvalidInput(
            f"run commands inside the tree: /{name} is {kind}", remedy=f"Make /{name} a directory in the source."
        ) from error


def _is_link(root_fd: int, name: str) -> bool:
    return stat.S_ISLNK(os.lstat(name, dir_fd=root_fd).st_mode)


def enter(root: Path, hostname: str, apt_settings: Sequence[str]) -> None:
    """Make ``root`` our /, with all mounts it needs."""
    resolver = _host_resolver()
    make_private()
    bind(root, root)
    mount("none", root, "", MS_REMOUNT | MS_BIND | MS_NODEV)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    _mount_on(root_fd, "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    for name, options in {"dev": "mode=755,size=1m", "run": "mode=755", "tmp": "mode=1777"}.items():
        _mount_on(root_fd, name, "tmpfs", MS_NOSUID | MS_NODEV, options)
    _make_devices(root_fd)
    _put_file(root_fd, APT_CONF, "".join(f"{line}\n" for line in apt_settings).encode())
    _make_directory(root_fd, "run/lock", 0o1777)
    _bind_resolver(root_fd, resolver)
    os.fchdir(root_fd)
    check(libc.pivot_root(b".", b"."), "change the root directory")
    check(libc.umount2(b".", _MNT_DETACH), "leave the host's root directory")
    os.chdir("/")
    encoded = hostname.encode()
    check(libc.sethostname(encoded, len(encoded)), "set the host name")


def _mount_on(root_fd: int, name: str, kind: str, flags: int, options: str | None = None) -> None:
    fd = _mount_point(root_fd, name, 0o755)
    try:
        mount(kind, _by_fd(fd), kind, flags, options)
    finally:
        os.close(fd)


def _by_fd(fd: int) -> Path:
    """A path to mount on what ``fd`` refers to, wherever it is; /proc is still the host's."""
    return Path(f"/proc/self/fd/{fd}")


def _put_file(root_fd: int, path: str, content: bytes) -> None:
    fd = open_in_root(root_fd, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, _NO_LINKS)
    with open(fd, "wb") as file:
        file.write(content)


def _make_directory(root_fd: int, path: str, mode: int = 0o755) -> None:
    parent, name = os.path.split(path)
    fd = open_in_root(root_fd, parent, os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=fd)
            os.chmod(name, mode, dir_fd=fd)
    finally:
        os.close(fd)


def _make_devices(root_fd: int) -> None:
    """Fill /dev, a tmpfs by now: the host's harmless nodes, each bound read-only so that its mode stays as it is."""
    for name in filter(lambda name: os.path.exists(f"/dev/{name}"), _DEVICES):
        _put_file(root_fd, f"dev/{name}", b"")
        _bind_over(root_fd, f"dev/{name}", f"/dev/{name}", MS_NOSUID | MS_NOEXEC)
    dev = open_in_root(root_fd, "dev", os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
    try:
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, name, dir_fd=dev)
    finally:
        os.close(dev)
    for name, kind, options in (
        ("dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"),
        ("dev/shm", "tmpfs", "mode=1777"),
    ):
        _make_directory(root_fd, name)
        fd = open_in_root(root_fd, name, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
        try:
            mount(kind, _by_fd(fd), kind, MS_NOSUID | MS_NOEXEC, options)
        finally:
            os.close(fd)


def _bind_over(root_fd: int, path: str, source: str, flags: int, resolve: int = _NO_LINKS) -> None:
    """Bind the host's file ``source`` on the file ``path`` of the tree, read-only."""
    for remount in (False, True):
        fd = open_in_root(root_fd, path, os.O_PATH, resolve=resolve)
        try:
            if remount:
                mount("none", _by_fd(fd), "", MS_REMOUNT | MS_BIND | MS_RDONLY | flags)
            else:
                bind(Path(source), _by_fd(fd))
        finally:
            os.close(fd)


def _host_resolver() -> str | None:
    path = os.path.realpath("/etc/resolv.conf")
    return path if os.path.isfile(path) else None


def _bind_resolver(root_fd: int, resolver: str | None) -> None:
    """Let names be resolved as on the host, without changing the tree where it has a resolv.conf."""
    if resolver is None:
        return
    with contextlib.suppress(OSError):
        _make_resolver_target(root_fd)
    in_root = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    try:
        _bind_over(root_fd, "etc/resolv.conf", resolver, MS_NOSUID | MS_NODEV | MS_NOEXEC, in_root)
    except OSError as error:
        # A link to nowhere, a directory: names will not be resolved, and the command that needs it will say so.
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL):
            raise


def _make_resolver_target(root_fd: int) -> None:
    """Make what /etc/resolv.conf points at when that is missing: nothing at all, or a file in the fresh /run."""
    try:
        parent = open_in_root(root_fd, "etc", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        target = os.readlink("resolv.conf", dir_fd=parent)
    except FileNotFoundError:
        os.close(os.open("resolv.conf", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        return
    finally:
        os.close(parent)
    path = os.path.normpath(os.path.join("/etc", target))
    if path.startswith("/run/"):
        parts = path.strip("/").split("/")
        for end in range(2, len(parts)):
            _make_directory(root_fd, "/".join(parts[:end]))
        _put_file(root_fd, "/".join(parts), b"")
