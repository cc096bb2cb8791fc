# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own source, from wherever it was imported: a checkout, the program, or what a controller has sent."""

from __future__ import annotations

import hashlib
import io
import os
import pkgutil
import stat
import sys
import zipfile
import zipimport
from collections.abc import Mapping
from pathlib import Path

from .installed import DIGITS

#: What the engine is called where it is in a zip file.
PACKAGE = "vserver"


def _place() -> tuple[str, zipimport.zipimporter | None]:
    """Where it is; and what reads that, of a zip file."""
    place: str = sys.modules[str(__package__)].__path__[0]
    importer = pkgutil.get_importer(place)
    return place, importer if isinstance(importer, zipimport.zipimporter) else None


def read(path: str) -> bytes:
    """One file of it, by its path below the engine."""
    place, archive = _place()
    return Path(place, path).read_bytes() if archive is None else archive.get_data(os.path.join(place, path))


def whole() -> dict[str, bytes]:
    """All of it, by path below the engine."""
    place, archive = _place()
    if archive is None:
        directories = ((top, name) for top, _directories, names in os.walk(place) for name in names)
        files = sorted(os.path.join(*found) for found in directories if found[1].endswith(".py"))
        return {file.removeprefix(f"{place}/"): Path(file).read_bytes() for file in files}
    with zipfile.ZipFile(archive.archive) as packed:
        names = [name for name in packed.namelist() if name.startswith(archive.prefix) and name.endswith(".py")]
        return {name[len(archive.prefix) :]: packed.read(name) for name in names}


def version(of: Mapping[str, bytes]) -> str:
    """The version of a set of sources (pure)."""
    digest = hashlib.sha256()
    for path in sorted(of):
        digest.update(f"{path}\0{len(of[path])}\0".encode() + of[path])
    return digest.hexdigest()[:DIGITS]


def pack(of: Mapping[str, bytes], beside: Mapping[str, bytes], comment: bytes, method: int) -> bytes:
    """Sources in package PACKAGE, and what is ``beside`` that, as a zip file: the same for the same ones (pure)."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as packed:
        packed.comment = comment
        for path, content in (*beside.items(), *((f"{PACKAGE}/{path}", of[path]) for path in sorted(of))):
            entry = zipfile.ZipInfo(path)  # dated 1980-01-01
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.compress_type = method
            packed.writestr(entry, content)
    return archive.getvalue()
