# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as one file on the host: the program ``vserver``, a Python zip application of the modules' own source.

It holds the command line and all that is reachable from there, so it is the same whether it is made from a checkout or
from what Ansible sent to the host. It is replaced by a rename: whoever runs the old one goes on with it. Its man page
comes and goes with it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import io
import marshal
import os
import pkgutil
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from . import files, service, store
from .cli import manual
from .errors import Conflict, Unsupported
from .outcome import Outcome
from .site import Site

#: The zip file's comment: this, then the version. It tells our file from another program of that name.
_MARK = b"linux.vserver engine "
_MODE, _PAGE_MODE = 0o755, 0o644
_MAIN = "__main__.py"
#: Magic number, flags and the source's hash (PEP 552).
_PYC_HEADER = 16
#: The kernel reads no more than this of a first line (BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h).
_SHEBANG_MAX = 255
_SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Description:
    """What matters of the file.

    * version: 12 hexadecimal digits of the SHA-256 of its sources
    * python: the interpreter it is run by
    * mode: octal digits
    """

    version: str
    python: str
    mode: str


def sources() -> dict[str, bytes]:
    """The command line's source, and that of everything of the engine it imports, by path below the engine."""
    # Ansible sends a host what modules import, and without this no command line.
    from . import cli

    found: dict[str, bytes] = {}
    pending = ["__init__.py", f"{cli.__name__.rpartition('.')[2]}/__init__.py"]
    while pending:
        path = pending.pop()
        source = None if path in found else _source(path)
        if source is not None:
            found[path] = source
            pending.extend(imported(path, source))
    return found


def _source(path: str) -> bytes | None:
    """A file of the engine, be it in a directory or in a zip file; None when there is no such file."""
    with contextlib.suppress(OSError):
        return pkgutil.get_data(str(__package__), path)
    return None


def imported(path: str, source: bytes) -> Iterator[str]:
    """Where what a module imports from its own package may be, package files included (pure)."""
    place = path.split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = place[: len(place) + 1 - node.level] + (node.module.split(".") if node.module else [])
            for target in (base, *([*base, alias.name] for alias in node.names)):
                yield "/".join([*target, "__init__.py"])
                yield f"{'/'.join(target)}.py"


def version(of: Mapping[str, bytes]) -> str:
    """The version of a set of sources (pure)."""
    digest = hashlib.sha256()
    for path in sorted(of):
        digest.update(f"{path}\0{len(of[path])}\0".encode() + of[path])
    return digest.hexdigest()[:12]


def build(of: Mapping[str, bytes], python: str) -> bytes:
    """The file's content, whose sources are the same for the same ones, wherever it is made (pure).

    Each module is there compiled as well, which saves most of a start; another Python takes the sources.
    """
    mark = version(of)
    # Garbage is collected from when there is something to do.
    main = f'import gc\n\ngc.disable()\n\nfrom vserver.cli import program\n\nprogram("{mark}")\n'
    content = {_MAIN: main.encode(), **{f"vserver/{path}": of[path] for path in sorted(of)}}
    compiled = {f"{path}c": _compiled(path, source) for path, source in content.items() if path != _MAIN}
    content.update(compiled)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        packed.comment = _MARK + mark.encode()
        for path, source in content.items():
            entry = zipfile.ZipInfo(path)  # dated 1980-01-01
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            packed.writestr(entry, source)
    return f"#!{python} -E\n".encode() + archive.getvalue()


def _compiled(path: str, source: bytes) -> bytes:
    """A module's .pyc file, which is taken for its source's without a look at that (PEP 552, unchecked hash)."""
    code = compile(source, path, "exec", dont_inherit=True)
    flags = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + marshal.dumps(code)


def _meaning(content: bytes) -> dict[str, bytes]:
    """What two files have to agree on (pure): the first line, the sources, and what was compiled by which Python.

    Compiled code itself is not compared: the same code may be written in several ways. Empty for a broken file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            entries = {name: packed.read(name) for name in packed.namelist()}
    except zipfile.BadZipFile:
        return {}
    header = {name: data[:_PYC_HEADER] if name.endswith(".pyc") else data for name, data in entries.items()}
    return {"": content.partition(b"\n")[0], **header}


def interpreter() -> str:
    """The Python to run the file by: this one, which has the libraries; by the name that outlives an upgrade.

    Raises :class:`Unsupported` for a path that cannot stand in a file's first line.
    """
    with contextlib.suppress(OSError):
        if os.path.samefile(_SYSTEM_PYTHON, sys.executable):
            return _SYSTEM_PYTHON
    if not sys.executable.startswith("/") or " " in sys.executable or len(sys.executable) > _SHEBANG_MAX - 6:
        raise Unsupported(
            f"run a program by {sys.executable!r}",
            why="the kernel takes no such path in a program's first line",
            remedy="Set ansible_python_interpreter to a shorter path without blanks.",
        )
    return sys.executable


def installed(path: Path) -> tuple[Description, bytes] | None:
    """The file that is there, or None. Raises :class:`Conflict` when it is somebody else's."""
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            mark = packed.comment
    except FileNotFoundError:
        return None
    except (zipfile.BadZipFile, IsADirectoryError):
        mark = b""
    if not mark.startswith(_MARK):
        raise Conflict(
            f"have the engine at {path}",
            why="something else is there",
            remedy="Remove the package it belongs to (util-vserver has a program of that name), or move it away.",
        )
    python = content.partition(b"\n")[0].decode(errors="replace").removeprefix("#!").removesuffix(" -E")
    marked = mark[len(_MARK) :].decode(errors="replace")
    return Description(marked, python, f"{stat.S_IMODE(mode):04o}"), content


def ensure(site: Site, *, check: bool = False) -> Outcome:
    """Have the engine of this very source at ``site.program``.

    Raises :class:`Conflict` when another program is there, and :class:`VserverError` when it cannot be written.
    """
    of = sources()
    wanted = Description(version(of), interpreter(), f"{_MODE:04o}")
    content, page = build(of, wanted.python), manual.page(wanted.version).encode()
    with _locked(site, check):
        found, read = installed(site.program), _page(site)
        before = {} if found is None else asdict(found[0])
        if found is not None and found[0] == wanted and _meaning(found[1]) != _meaning(content):
            before["version"] += ", altered"
        if read is not None:
            before["manual"] = str(site.manual) if read == page else f"{site.manual}, altered"
        after = {**asdict(wanted), "manual": str(site.manual)}
        if not check and before != after:
            for path, data, mode in ((site.program, content, _MODE), (site.manual, page, _PAGE_MODE)):
                if not path.parent.is_dir():
                    files.make_directory(path.parent, 0o755)
                files.write(path, data, mode)
    return _outcome(site, before, after)


def _page(site: Site) -> bytes | None:
    """The man page that is there. Raises :class:`Conflict` when it is somebody else's."""
    try:
        content = site.manual.read_bytes()
    except FileNotFoundError:
        return None
    if not content.startswith(manual.MARK.encode()):
        raise Conflict(
            f"have the man page of the engine at {site.manual}",
            why="something else is there",
            remedy="Remove the package it belongs to (util-vserver has a page of that name), or move it away.",
        )
    return content


def absent(site: Site, *, check: bool = False) -> Outcome:
    """Have no engine at ``site.program``.

    Raises :class:`Conflict` when another program is there, or when a bound unit needs it.
    """
    with _locked(site, check):
        found, read = installed(site.program), _page(site)
        bound = [of.name for of in service.load_all(site) if of.kind == "unit"]
        if found is not None and bound:
            raise Conflict(
                f"remove {site.program}",
                why=f"it binds {', '.join(bound)} at each start",
                remedy="Let those units use every address first (address_binding with state absent).",
            )
        before = {} if found is None else asdict(found[0])
        if read is not None:
            before["manual"] = str(site.manual)
        for path in (site.program, site.manual) if before and not check else ():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                files.fsync_directory(path.parent)
    return _outcome(site, before, {})


@contextlib.contextmanager
def _locked(site: Site, check: bool) -> Iterator[None]:
    """One at a time, and what a crash left of an earlier one is gone; check mode writes nothing."""
    if check:
        yield
        return
    with store.lock(site, "engine"):
        for path in (site.program, site.manual):
            files.sweep(path.parent, path.name)
        yield


def _outcome(site: Site, before: Mapping[str, str], after: Mapping[str, str]) -> Outcome:
    keys = [
        key for key in (*(field.name for field in fields(Description)), "manual") if before.get(key) != after.get(key)
    ]
    return Outcome(
        bool(keys),
        {key: before.get(key) for key in keys},
        {key: after.get(key) for key in keys},
        {"path": str(site.program), **after},
    )
