# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of a guest's root, taken over from one clone into another without a second copy of what the guest wrote.

A clone by overlay is two layers, the guest's own and the template's; here they are put together as overlayfs does it
(overlayfs.rst: whiteouts, opaque directories; redirects and metacopy are off). Files of the guest's own layer get a
second name (link(2)), files of the template are copied. Every step opens one name below an open directory and follows
no link, so that nothing a guest has laid out leads anywhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidInput, ToolFailed
from .template.tree import Tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"
#: Names given to one cp(1).
_AT_ONCE = 500


@dataclass(frozen=True)
class Layers:
    """An open directory as a guest sees it.

    * own: in the layer that is the guest's own; None where it is only below
    * below: in the layer below; None where it is not there, or hidden
    * top: the one of them that owner, mode and attributes come from
    """

    own: int | None
    below: int | None
    top: int


@contextlib.contextmanager
def opened(own: Path, below: Path | None, path: str) -> Iterator[list[Layers]]:
    """The directory ``path`` (relative) of the root that lies in ``own``, over ``below``, after all of its parents.

    Raises :class:`InvalidInput` where it does not exist, or a part of it is a link or no directory.
    """
    with contextlib.ExitStack() as stack:
        way = [_tops(own, below, stack)]
        for part in path.split("/"):
            found = _inside(way[-1], part, stack)
            if found is None:
                where = "/" + "/".join(path.split("/")[: len(way)])
                raise InvalidInput(f"find the directory /{path}", why=f"{where} is missing, a link, or no directory")
            way.append(found)
        yield way[1:]


def _tops(own: Path, below: Path | None, stack: contextlib.ExitStack) -> Layers:
    fds = [os.open(path, _DIRECTORY) for path in (own, below) if path is not None]
    for fd in fds:
        stack.callback(os.close, fd)
    return Layers(fds[0], fds[1] if below is not None else None, fds[0])


def _subdirectory(parent: int | None, name: str, stack: contextlib.ExitStack) -> int | None:
    """None when it is missing or something else."""
    if parent is None:
        return None
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    stack.callback(os.close, fd)
    return fd


def _inside(at: Layers, name: str, stack: contextlib.ExitStack) -> Layers | None:
    """The directory ``name`` in ``at``; None when there is none to be seen."""
    own = _subdirectory(at.own, name, stack)
    if own is None and at.own is not None and _exists(name, at.own):
        return None  # a whiteout, or what is no directory, hides the layer below
    hidden = own is not None and _opaque(own)
    below = None if hidden else _subdirectory(at.below, name, stack)
    top = below if own is None else own
    return None if top is None else Layers(own, below, top)


def _exists(name: str, parent: int) -> bool:
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def _opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def carry(source: Sequence[Layers], root: Path, path: str, model: Path | None) -> None:
    """Put what :func:`opened` has found in place of whatever the directory ``path`` (relative) of ``root`` is.

    * model: what lies below ``root`` when that is a layer; parents that are only there are made as they are there

    Raises OSError, and :class:`InvalidInput` where a parent is a link or no directory.
    """
    *parents, name = path.split("/")
    with contextlib.ExitStack() as stack:
        at = _tops(root, model, stack)
        for part, was in zip(parents, source):
            at = _made(at, part, was, stack)
        if model is None:
            with Tree(root) as tree:
                tree.remove(path)
        into = _new(at.top, name, stack)
        _merge(source[-1], into)
        _dress(source[-1].top, into)
        if model is not None:
            os.setxattr(into, _OPAQUE, b"y")


def _made(at: Layers, name: str, was: Layers, stack: contextlib.ExitStack) -> Layers:
    """The directory ``name`` in ``at``, made in the upper layer when it is only below, or, as it ``was``, nowhere."""
    found = _inside(at, name, stack)
    if found is not None and found.own is not None:
        return found
    if found is None and any(fd is not None and _exists(name, fd) for fd in (at.own, at.below)):
        raise InvalidInput(f"keep what is below {name}", why="it is a link or no directory in the new root")
    own = _new(at.top, name, stack)
    _dress((found or was).top, own)
    return Layers(own, None if found is None else found.below, own)


def _new(parent: int, name: str, stack: contextlib.ExitStack) -> int:
    """Make the directory ``name``, and open it."""
    os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    stack.callback(os.close, fd)
    return fd


def _merge(source: Layers, into: int) -> None:
    """Fill the empty directory ``into`` with all that is seen in ``source``."""
    own = () if source.own is None else _entries(source.own)
    for entry in own:
        if entry.is_dir(follow_symlinks=False):
            with contextlib.ExitStack() as stack:
                found = _inside(source, entry.name, stack)
                if found is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), entry.name)
                made = _new(into, entry.name, stack)
                _merge(found, made)
                _dress(found.top, made)
        elif not _whiteout(entry.stat(follow_symlinks=False)):
            os.link(entry.name, entry.name, src_dir_fd=source.own, dst_dir_fd=into, follow_symlinks=False)
    if source.below is not None:
        hidden = {entry.name for entry in own}
        _copy(source.below, [name for name in os.listdir(source.below) if name not in hidden], into)


def _entries(fd: int) -> Sequence[os.DirEntry[str]]:
    with os.scandir(fd) as entries:
        return list(entries)


def _whiteout(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0


def _copy(source: int, names: Sequence[str], into: int) -> None:
    """Copy ``names`` with all they have; blocks are shared where the file system can (cp(1), --reflink)."""
    for first in range(0, len(names), _AT_ONCE):
        target = f"--target-directory=/proc/self/fd/{into}"
        command = ["cp", "--archive", "--reflink=auto", "--one-file-system", target, "--"]
        result = subprocess.run(
            [*command, *names[first : first + _AT_ONCE]],
            cwd=f"/proc/self/fd/{source}",
            pass_fds=(into,),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise ToolFailed("copy what is kept of the template", why=result.stderr.strip())


def _dress(model: int, fd: int) -> None:
    """Give a directory owner, mode, attributes (with its ACL) and times of another."""
    facts = os.fstat(model)
    os.fchown(fd, facts.st_uid, facts.st_gid)
    os.fchmod(fd, stat.S_IMODE(facts.st_mode))
    for name in os.listxattr(model):
        if not name.startswith("trusted.overlay."):
            os.setxattr(fd, name, os.getxattr(model, name))
    os.utime(fd, ns=(facts.st_atime_ns, facts.st_mtime_ns))
