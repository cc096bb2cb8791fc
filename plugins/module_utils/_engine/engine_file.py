# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as one file on the host: the program ``vserver``, a Python zip application of the modules' own source.

It holds all of the engine, since modules have theirs from it as well. It is replaced by a rename: whoever runs the old
one goes on with it. Its man page, its completion where the host has bash's, and our directories come with it; the last
stay when it goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import marshal
import os
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import files, host_units, installed, service, source, store
from .cli import manual
from .errors import Conflict, Unsupported
from .installed import MARK, Description
from .outcome import Outcome, in_the_way
from .site import Site

_MODE, _BESIDE_MODE = 0o755, 0o644
_MAIN = "__main__.py"
#: Magic number, flags and the source's hash (PEP 552).
_PYC_HEADER = 16
#: The kernel reads no more than this of a first line (BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h).
_SHEBANG_MAX = 255
_SYSTEM_PYTHON = "/usr/bin/python3"


def build(of: Mapping[str, bytes], python: str) -> bytes:
    """The file's content, whose sources are the same for the same ones, wherever it is made (pure).

    Each module is there compiled as well, which saves most of a start; another Python takes the sources.
    """
    mark = source.version(of)
    # Garbage is collected from when there is something to do.
    main = f'import gc\n\ngc.disable()\n\nfrom {source.PACKAGE}.cli import program\n\nprogram("{mark}")\n'
    compiled = (_compiled(f"{source.PACKAGE}/{path}", of[path]) for path in sorted(of))
    beside = {_MAIN: main.encode(), **dict(compiled)}
    first = f"#!{python} {installed.FLAGS}\n".encode()
    return first + source.pack(of, beside, MARK + mark.encode(), zipfile.ZIP_STORED)


def _compiled(path: str, content: bytes) -> tuple[str, bytes]:
    """A module's .pyc file, which is taken for its source's without a look at that (PEP 552, unchecked hash)."""
    code = compile(content, path, "exec", dont_inherit=True)
    flags = (1).to_bytes(4, "little")
    return f"{path}c", importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(content) + marshal.dumps(code)


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
    first = len(f"#!{sys.executable} {installed.FLAGS}\n")
    if not sys.executable.startswith("/") or " " in sys.executable or first > _SHEBANG_MAX:
        raise Unsupported(
            f"run a program by {sys.executable!r}",
            why="the kernel takes no such path in a program's first line",
            remedy="Set ansible_python_interpreter to a shorter path without blanks.",
        )
    return sys.executable


def ensure(site: Site, *, check: bool = False) -> Outcome:
    """Have the engine of this very source at ``site.program``, with what belongs to it.

    Who is to be restarted for it afterwards is told, and left alone: that is done by whoever has the units.
    Raises :class:`Conflict` when another program is there, and :class:`VserverError` when it cannot be written.
    """
    of = source.whole()
    wanted = Description(source.version(of), interpreter(), f"{_MODE:04o}")
    content, beside = build(of, wanted.python), _beside(site, wanted.version)
    with _locked(site, check):
        found, read = installed.read(site.program), _read_beside(site)
        before: dict[str, Any] = {} if found is None else dataclasses.asdict(found[0])
        if found is not None and found[0] == wanted and _meaning(found[1]) != _meaning(content):
            before["version"] += ", altered"
        for key, data in read.items():
            path = str(_places(site)[key])
            before[key] = path if data == beside.get(key) else f"{path}, altered"
        before["directories"] = [str(path) for path in _directories(site) if _is_private(path)]
        after = {**dataclasses.asdict(wanted), **{key: str(_places(site)[key]) for key in beside}}
        after["directories"] = [str(path) for path in _directories(site)]
        if not check and before != after:
            store.prepare(site)
            _write(site.program, content, _MODE)
            for key, data in beside.items():
                _write(_places(site)[key], data, _BESIDE_MODE)
        waiting = host_units.outdated(site, wanted.version)
    reasons = (f"{name} runs another version until module host_units, or role host, restarts it" for name in waiting)
    return dataclasses.replace(_outcome(site, before, after), restart_required=tuple(reasons))


def _directories(site: Site) -> tuple[Path, ...]:
    """Those of :func:`.store.prepare` that survive a reboot."""
    return site.state, site.guests, site.templates


def _is_private(path: Path) -> bool:
    return path.is_dir() and stat.S_IMODE(path.stat().st_mode) == 0o700


def _places(site: Site) -> dict[str, Path]:
    """Where what belongs to the program is, by what it is."""
    return {"manual": site.manual, "completion": site.completion}


def _beside(site: Site, of: str) -> dict[str, bytes]:
    """What belongs to the program of this version here. Nobody completes where bash has no directory for it."""
    found = {"manual": manual.page(of).encode()}
    if site.completion.parent.is_dir():
        found["completion"] = f'eval "$({site.program} completion bash)"\n'.encode()
    return found


def _read_beside(site: Site) -> dict[str, bytes]:
    """What of that is there. Raises :class:`Conflict` when something of it is somebody else's."""
    found = {}
    for key, mark in (("manual", manual.MARK), ("completion", f"{site.program} completion bash")):
        path = _places(site)[key]
        with contextlib.suppress(FileNotFoundError):
            found[key] = path.read_bytes()
            if mark.encode() not in found[key]:
                raise Conflict(
                    f"have the {key} of the engine at {path}",
                    why="something else is there",
                    remedy="Remove the package it belongs to (util-vserver has the same names), or move it away.",
                )
    return found


def _write(path: Path, data: bytes, mode: int) -> None:
    if not path.parent.is_dir():
        files.make_directory(path.parent, 0o755)
    files.write(path, data, mode)


def absent(site: Site, *, check: bool = False) -> Outcome:
    """Have no engine at ``site.program``; the directories stay, with what is in them.

    Raises :class:`Conflict` when another program is there, or when a unit needs it, a bound one or one of ours; of
    units, it warns in check mode.
    """
    with _locked(site, check):
        found, read = installed.read(site.program), _read_beside(site)
        services = service.load_all(site)
        bound = [of.name for of in services.known if of.kind == "unit"]
        bound += [of.name for of in services.unknown if of.kind == "unit"]
        units = host_units.running_program(site)
        warnings: tuple[str, ...] = ()
        for names, verb, remedy in (
            (bound, "are bound by it at each start", "Unbind them first (address_binding, state absent)."),
            (units, "run it", "Remove them first (host_units, state absent), once all guests are stopped."),
        ):
            if found is not None and names:
                conflict = Conflict(f"remove {site.program}", why=f"{', '.join(names)} {verb}", remedy=remedy)
                warnings += in_the_way(conflict, check=check)
        before: dict[str, Any] = {} if found is None else dataclasses.asdict(found[0])
        before.update({key: str(_places(site)[key]) for key in read})
        for path in _paths(site) if before and not check else ():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                files.fsync_directory(path.parent)
    return dataclasses.replace(_outcome(site, before, {}), warnings=warnings)


def _paths(site: Site) -> tuple[Path, ...]:
    return (site.program, *_places(site).values())


@contextlib.contextmanager
def _locked(site: Site, check: bool) -> Iterator[None]:
    """One at a time, and what a crash left of an earlier one is gone; check mode writes nothing."""
    if check:
        yield
        return
    with store.lock(site, "engine"):
        for path in _paths(site):
            files.sweep(path.parent, path.name)
        yield


def _outcome(site: Site, before: Mapping[str, Any], after: Mapping[str, Any]) -> Outcome:
    order = (*(field.name for field in dataclasses.fields(Description)), *_places(site), "directories")
    keys = [key for key in order if before.get(key) != after.get(key)]
    return Outcome(
        bool(keys),
        {key: before.get(key) for key in keys},
        {key: after.get(key) for key in keys},
        {"path": str(site.program), **after},
    )
