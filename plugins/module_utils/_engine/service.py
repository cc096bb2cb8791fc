# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the host that are locked to some of its addresses: what is recorded of them."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from . import files, record
from .errors import InvalidInput, VserverError
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


def load(site: Site, kind: str, name: str) -> Service | None:
    """The record of a service, or None. Raises :class:`VserverError` when it cannot be read."""
    return _read(_file(site, kind, name))


def _read(path: Path) -> Service | None:
    try:
        noted = files.read_json(path)
    except FileNotFoundError:
        return None
    try:
        record.require_format(noted)
        return Service(noted["kind"], noted["name"], record.section("binding", noted["binding"]))
    except InvalidInput as error:
        raise VserverError(f"read the record {path}", why=error.what, remedy=error.remedy) from error
    except record.DAMAGE as error:
        raise VserverError(f"read the record {path}", why=f"it is damaged ({type(error).__name__}: {error})") from error


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
    noted = {"kind": service.kind, "name": service.name, **record.written(binding=service.binding)}
    files.write_json(_file(site, service.kind, service.name), noted)


def forget(site: Site, kind: str, name: str) -> None:
    """Remove the record; it is fine when there is none."""
    _file(site, kind, name).unlink(missing_ok=True)
