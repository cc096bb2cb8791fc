# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the host that are locked to some of its addresses: what is recorded of them."""

from __future__ import annotations

import contextlib
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from . import files, record
from .errors import VserverError
from .kernel import cgroup
from .model import Binding
from .site import Site


@dataclass(frozen=True)
class Service:
    """A service and its binding.

    * kind: ``unit``, and ``name`` is the unit's, as systemd has it; or ``cgroup``, and ``name`` is its path below the
      top of the v2 tree, without a slash at either end
    """

    kind: str
    name: str
    binding: Binding


def _directory(site: Site, kind: str) -> Path:
    """A unit is bound again at each of its starts, a cgroup is gone after a reboot, and so is what is noted of it."""
    return site.state / "bindings" if kind == "unit" else site.run / ".bindings"


def _file(site: Site, kind: str, name: str) -> Path:
    quoted = urllib.parse.quote(name, safe="@:")
    visible = f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted
    return _directory(site, kind) / f"{visible}.json"


def _name(path: Path) -> str:
    """Whose record a file is."""
    return urllib.parse.unquote(path.name.removesuffix(".json"))


def load(site: Site, kind: str, name: str) -> Service | None:
    """The record of a service, or None. Raises :class:`VserverError` when it cannot be read."""
    return _read(_file(site, kind, name), kind)


def _read(path: Path, kind: str) -> Service | None:
    try:
        noted = files.read_json(path)
        record.require_format(noted)
        return Service(kind, _name(path), record.section("binding", noted["binding"]))
    except FileNotFoundError:
        return None
    except (OSError, VserverError, *record.DAMAGE) as error:
        raise record.unreadable(path, error, "Remove it, and bind the service again (address_binding).") from error


@dataclass(frozen=True)
class Unknown:
    """A service that is bound nobody knows to what: not even the addresses in its record are understood."""

    kind: str
    name: str
    error: VserverError


@dataclass(frozen=True)
class Records:
    """Every recorded service, sorted by name, as far as its record is understood: newer ones too."""

    known: tuple[Service, ...]
    unknown: tuple[Unknown, ...]


def load_all(site: Site) -> Records:
    """Every record; that of a cgroup that is gone is left out."""
    known, unknown = [], []
    for kind in ("unit", "cgroup"):
        for path in sorted(_directory(site, kind).glob("*.json")):
            if kind == "cgroup" and not (cgroup.layout().tree / _name(path)).is_dir():
                continue
            try:
                service = _read(path, kind)
            except VserverError as error:
                service = _understood(path, kind)
                unknown += [] if service else [Unknown(kind, _name(path), error)]
            known += [service] if service else []
    return Records(tuple(known), tuple(unknown))


def _understood(path: Path, kind: str) -> Service | None:
    with contextlib.suppress(OSError, VserverError):
        binding = record.understood("binding", files.read_json(path))
        return None if binding is None else Service(kind, _name(path), binding)
    return None


def save(site: Site, service: Service) -> None:
    """Write the record. The caller holds the lock "registry"."""
    files.make_directory(_directory(site, service.kind))
    files.sweep(_directory(site, service.kind))
    noted = {"kind": service.kind, "name": service.name, **record.written(binding=service.binding)}
    files.write_json(_file(site, service.kind, service.name), noted)


def forget(site: Site, kind: str, name: str) -> None:
    """Remove the record; it is fine when there is none."""
    _file(site, kind, name).unlink(missing_ok=True)
