# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of our own: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import faults
from .errors import ToolFailed, VserverError
from .kernel import contents
from .kernel.syscall import check, libc

#: Begins the name of everything that is being built or thrown away; whoever holds the lock may sweep it.
PENDING = ".pending-"


def fsync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def flush(directory: Path) -> None:
    """syncfs(2): have a whole tree on disk before it gets its name."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check(libc.syncfs(fd), f"flush {directory} to disk")
    finally:
        os.close(fd)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``: temporary file, fsync, rename, fsync of the directory.

    Raises :class:`VserverError` (disk full, read-only file system); the old file is then untouched.
    """
    pending = path.parent / f"{PENDING}{path.name}-{os.urandom(4).hex()}"
    try:
        with open(os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(pending, path)
        fsync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            pending.unlink()
        raise VserverError(f"write {path}", why=error.strerror) from error


def write_json(path: Path, data: Mapping[str, Any], mode: int = 0o600) -> None:
    """Like :func:`write`, for data that :func:`read_json` returns again; on one line, for which Python has C code."""
    write(path, f"{json.dumps(data, sort_keys=True)}\n".encode(), mode)


def read_json(path: str | Path) -> Any:
    """Return the data in ``path``; raises FileNotFoundError, or :class:`VserverError` when it is no JSON."""
    return parse_json(contents.read(path), path)


def parse_json(data: bytes, path: str | Path) -> Any:
    """Return what :func:`read_json` does, of a file that has been read."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise VserverError(f"read {path}", why=f"not JSON ({error})") from error


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Create ``path`` with its parents and set its own mode; an existing one gets the mode."""
    try:
        if not os.path.isdir(path):  # mostly it is there, and mkdir would fail first
            path.mkdir(parents=True, exist_ok=True)
        if path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)
    except OSError as error:
        raise VserverError(f"create directory {path}", why=error.strerror) from error


def pending_directory(parent: Path) -> Path:
    """Make a new directory (0700) in ``parent`` to build something in, before it is renamed into its place."""
    path = parent / (PENDING + os.urandom(6).hex())
    make_directory(path)
    return path


def remove_tree(path: Path, doomed: Path | None = None) -> None:
    """Remove a directory with all it holds, crossing no mount: first out of its place by one rename, then for good.

    The tree may be a guest's: rm(1) follows no symbolic link and copes with any depth.

    * doomed: what it is called until it is gone; None: a name by chance that :func:`sweep` finds beside it
    """
    if not os.path.lexists(path):
        return
    try:
        if path.name.startswith(PENDING):
            doomed = path
        else:
            doomed = doomed or path.parent / (PENDING + os.urandom(6).hex())
            path.rename(doomed)
            fsync_directory(path.parent)
            faults.reached("tree:doomed")
    except OSError as error:
        raise VserverError(f"remove {path}", why=error.strerror) from error
    import subprocess  # takes longer to read than all the rest, and who enters a guest has no need of it

    result = subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", str(doomed)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ToolFailed(f"remove {path}", why=result.stderr.strip())


def sweep(parent: Path, of: str = "") -> None:
    """Remove what a crash left half-made in ``parent``. The caller holds the lock under which such things are made.

    * of: only what was to become the file of this name, where ``parent`` is not ours alone
    """
    for path in pending(parent, of):
        remove_tree(path)


def pending(parent: Path, of: str = "") -> list[Path]:
    """What :func:`sweep` would remove."""
    try:
        entries = list(os.scandir(parent))
    except FileNotFoundError:
        return []
    return [Path(entry.path) for entry in entries if entry.name.startswith(f"{PENDING}{of}-" if of else PENDING)]
