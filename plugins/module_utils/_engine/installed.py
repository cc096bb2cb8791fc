# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program ``vserver`` that is on the host: what its file tells of itself."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .errors import Conflict

#: The zip file's comment: this, then the version. It tells our file from another program of that name.
MARK = b"linux.vserver engine "
#: What its Python is given: no environment variables, and no site, which most commands then look at themselves.
FLAGS = "-ES"
#: Of the version.
DIGITS = 12


@dataclass(frozen=True)
class Description:
    """What matters of the file.

    * version: DIGITS hexadecimal digits of the SHA-256 of its sources
    * python: the interpreter it is run by
    * mode: octal digits
    """

    version: str
    python: str
    mode: str


def version(path: Path) -> str | None:
    """The version of the file that is there; None when there is none, or it is somebody else's."""
    try:
        with path.open("rb") as file:
            file.seek(-(len(MARK) + DIGITS), os.SEEK_END)  # a zip file ends with its comment
            mark, digits = file.read(len(MARK)), file.read()
    except OSError:
        return None
    return digits.decode(errors="replace") if mark == MARK else None


def read(path: Path) -> tuple[Description, bytes] | None:
    """The file that is there, or None. Raises :class:`Conflict` when it is somebody else's."""
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            mark = packed.comment
    except FileNotFoundError:
        return None
    except (zipfile.BadZipFile, IsADirectoryError):
        mark = b""
    if not mark.startswith(MARK):
        raise Conflict(
            f"have the engine at {path}",
            why="something else is there",
            remedy="Remove the package it belongs to (util-vserver has a program of that name), or move it away.",
        )
    python = content.partition(b"\n")[0].decode(errors="replace").removeprefix("#!").removesuffix(f" {FLAGS}")
    marked = mark[len(MARK) :].decode(errors="replace")
    return Description(marked, python, f"{stat.S_IMODE(mode):04o}"), content
