# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the host that are locked to some of its addresses: what is recorded of them."""

from __future__ import annotations

import dataclasses
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from . import files
from .errors import VserverError
from .kernel import cgroup
from .model import Binding
from .site import Site

_FORMAT = 1


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


def load(site: Site, kind: str, name: str) -> Service | None:
    """The record of a service, or None. Raises :class:`VserverError` when it cannot be read."""
    return _read(_file(site, kind, name))


def _read(path: Path) -> Service | None:
    try:
        record = files.read_json(path)
    except FileNotFoundError:
        return None
    try:
        if record["format"] != _FORMAT:
            raise ValueError(f"format {record['format']!r}, this version reads {_FORMAT}")
        binding = record["binding"]
        return Service(record["kind"], record["name"], Binding(**{**binding, "addresses": tuple(binding["addresses"])}))
    except (KeyError, TypeError, ValueError) as error:
        raise VserverError(f"read the record {path}", why=f"{type(error).__name__}: {error}") from error


def load_all(site: Site) -> list[Service]:
    """Every recorded service, sorted by name; a cgroup that is gone is left out."""
    found = []
    for kind in ("unit", "cgroup"):
        for path in sorted(_directory(site, kind).glob("*.json")):
            service = _read(path)
            if service is not None and (kind == "unit" or (cgroup.layout().tree / service.name).is_dir()):
                found.append(service)
    return found


def save(site: Site, service: Service) -> None:
    """Write the record. The caller holds the lock "registry"."""
    files.make_directory(_directory(site, service.kind))
    files.sweep(_directory(site, service.kind))
    record = {"format": _FORMAT, **dataclasses.asdict(service)}
    files.write_json(_file(site, service.kind, service.name), record)


def forget(site: Site, kind: str, name: str) -> None:
    """Remove the record; it is fine when there is none."""
    _file(site, kind, name).unlink(missing_ok=True)
