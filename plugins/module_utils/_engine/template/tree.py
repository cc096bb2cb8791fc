# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File operations inside a tree whose content nobody vouches for.

Everything goes through descriptors: a directory is found by openat2(2) with the tree as root, and its entries are
made, read or removed relative to it. Nothing here follows a link out of the tree, opens a FIFO or reads a device.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ..kernel.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


class Tree:
    """A directory as the root of a file system. Paths are relative to it, without a leading slash."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fd = os.open(root, _DIRECTORY)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    @contextlib.contextmanager
    def directory(self, path: str, links: bool = True) -> Iterator[int]:
        """Yield a descriptor of the directory ``path``; ``links=False`` refuses a link anywhere in it.

        Raises OSError: FileNotFoundError, NotADirectoryError, or ELOOP for a link.
        """
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS if links else _NO_LINKS
        fd = open_in_root(self.fd, path or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=resolve)
        try:
            yield fd
        finally:
            os.close(fd)

    def kind(self, path: str) -> int | None:
        """The type bits (``stat.S_IFMT``) of ``path`` itself, links in its parents followed; None when missing."""
        parent, name = os.path.split(path)
        try:
            with self.directory(parent) as fd:
                return stat.S_IFMT(os.lstat(name, dir_fd=fd).st_mode)
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """What the directory ``path`` holds, sorted; empty when it is no directory."""
        try:
            with self.directory(path) as fd:
                return sorted(os.listdir(fd))
        except OSError:
            return []

    def remove(self, path: str) -> None:
        """Remove ``path``, with all below it when it is a directory. A link is removed, not followed."""
        parent, name = os.path.split(path)
        with _if_there(), self.directory(parent) as fd:
            if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
                try:
                    _clear(inner, keep_directories=False)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)

    def clear_files(self, path: str) -> None:
        """Remove everything below ``path`` but the directories; nothing when a part of ``path`` is a link."""
        with _if_there(), self.directory(path, links=False) as fd:
            _clear(fd, keep_directories=True)

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Put a new file in place of whatever ``path`` is; missing parents are made (0755)."""
        parent, name = os.path.split(path)
        self.make_directories(parent)
        self.remove(path)
        with self.directory(parent) as fd:
            new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=fd)
            with open(new, "wb") as file:
                file.write(content)
                os.fchmod(new, mode)

    def link(self, path: str, target: str) -> None:
        """Put a symbolic link to ``target`` in place of whatever ``path`` is; missing parents are made (0755)."""
        parent, name = os.path.split(path)
        self.make_directories(parent)
        self.remove(path)
        with self.directory(parent) as fd:
            os.symlink(target, name, dir_fd=fd)

    def make_directories(self, path: str) -> None:
        """Make the directory ``path`` with its parents (0755). Raises OSError where something else is in the way."""
        done = ""
        for part in path.split("/") if path else ():
            with self.directory(done) as fd, contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=fd)
                os.chmod(part, 0o755, dir_fd=fd)
            done = f"{done}/{part}" if done else part

    def survey(self) -> int:
        """Remove every device node, and return the disk space of the rest in bytes (hard links counted once).

        Raises RecursionError for a tree nested a thousand directories deep.
        """
        return _survey(self.fd, set())


@contextlib.contextmanager
def _if_there() -> Iterator[None]:
    """Do nothing about a path that leads nowhere: a part of it is missing, no directory, or an unwelcome link."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise


def _clear(fd: int, keep_directories: bool) -> None:
    with os.scandir(fd) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                inner = os.open(entry.name, _DIRECTORY, dir_fd=fd)
                try:
                    _clear(inner, keep_directories)
                finally:
                    os.close(inner)
                if not keep_directories:
                    os.rmdir(entry.name, dir_fd=fd)
            else:
                os.unlink(entry.name, dir_fd=fd)


def _survey(fd: int, seen: set[tuple[int, int]]) -> int:
    total = os.fstat(fd).st_blocks * 512
    with os.scandir(fd) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                inner = os.open(entry.name, _DIRECTORY, dir_fd=fd)
                try:
                    total += _survey(inner, seen)
                finally:
                    os.close(inner)
                continue
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode):
                os.unlink(entry.name, dir_fd=fd)
            elif facts.st_nlink == 1:
                total += facts.st_blocks * 512
            elif (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                total += facts.st_blocks * 512
    return total
