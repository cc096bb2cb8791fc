# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that templates are made from: whether they are the ones meant, how they are fetched and unpacked."""

from __future__ import annotations

import hashlib
import http.client
import os
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from ..errors import InvalidInput, ToolFailed, VserverError
from . import run as template_run
from .spec import Spec

_CHUNK = 1 << 20
_DOWNLOAD_TIMEOUT = 60
# First bytes of a compressed archive → the program that opens it, and its Debian package.
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip", "gzip"),
    (b"BZh", "bzip2", "bzip2"),
    (b"\xfd7zXZ\x00", "xz", "xz-utils"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd"),
    (b"LZIP", "lzip", "lzip"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4"),
    (b"\x89LZO", "lzop", "lzop"),
    (b"\x5d\x00\x00", "lzma", "xz-utils"),
)


def check(spec: Spec) -> None:
    """Refuse a local archive that cannot be opened here. Raises :class:`VserverError`."""
    with opened(spec) as file:
        _compression(spec, file)


def opened(spec: Spec) -> IO[bytes]:
    """Open a local archive; a FIFO or a device is refused without waiting for it."""
    try:
        fd = os.open(spec.origin, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"open the archive {spec.source}", why=error.strerror) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInput(f"archive {spec.source} is not a regular file")
    return open(fd, "rb")


def _compression(spec: Spec, file: IO[bytes]) -> str | None:
    """The program that opens the archive's compression, None for a plain archive; the position is kept."""
    head = os.pread(file.fileno(), 512, 0)
    if head.startswith(b"PK\x03\x04") or not head:
        raise InvalidInput(
            f"archive {spec.source} is {'a zip file' if head else 'empty'}", remedy="Give a tar archive."
        )
    for magic, program, package in _COMPRESSIONS:
        if head.startswith(magic):
            template_run.require(program, package)
            return program
    return None


def download(spec: Spec, file: IO[bytes]) -> None:
    """Fetch the archive into ``file``. Raises :class:`ToolFailed` with the server's answer."""
    what = f"fetch {spec.source}"
    try:
        with urllib.request.build_opener().open(spec.origin, timeout=_DOWNLOAD_TIMEOUT) as answer:
            while chunk := answer.read(_CHUNK):
                try:
                    file.write(chunk)
                except OSError as error:
                    raise VserverError(what, why=error.strerror, remedy="Free some disk space.") from error
        file.flush()
    except urllib.error.HTTPError as error:
        error.close()
        raise ToolFailed(what, why=f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ToolFailed(what, why=str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ToolFailed(what, why=str(error) or type(error).__name__) from error


def verify(spec: Spec, file: IO[bytes]) -> None:
    """Raise :class:`InvalidInput` when the archive has another checksum than it is to have."""
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    found = f"sha256:{digest.hexdigest()}"
    if found != spec.checksum:
        raise InvalidInput(
            f"archive {spec.source} is not the one meant",
            why=f"its checksum is {found}, not {spec.checksum}",
            remedy="Somebody changed the archive, or the checksum is of another one.",
        )


def unpacking(spec: Spec, file: IO[bytes], root: Path) -> list[str]:
    """The command that unpacks an archive, with GNU tar, which writes neither above ``root`` nor through links it has
    just made. It inherits the file's descriptor.

    Extended attributes of overlayfs (``trusted.overlay.*``) stay out: they would mean something in a clone.
    """
    program = _compression(spec, file)
    argv = ["tar", "--extract", f"--file=/proc/self/fd/{file.fileno()}", f"--directory={root}"]
    argv += ["--numeric-owner", "--same-owner", "--same-permissions", "--delay-directory-restore"]
    argv += ["--acls", "--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"]
    argv += ["--xattrs-exclude=user.overlay.*", "--warning=no-timestamp"]
    return argv if program is None else [*argv, f"--use-compress-program={program}"]
