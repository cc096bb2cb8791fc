# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of templates on this host: which there are, and where each one's root is.

``templates/NAME/VERSION/{template.json,rootfs}``; versions sort by the time of their building.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from ..errors import InvalidInput
from ..model import check_name
from ..site import Site

#: In a version's directory: what it was built from. It is there once the version is whole.
RECORD = "template.json"

_VERSION = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_VERSION_FORMAT = "%Y%m%dT%H%M%SZ"


def names(site: Site) -> list[str]:
    """The templates that have a version, sorted."""
    try:
        entries = [entry.name for entry in os.scandir(site.templates) if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(name for name in entries if versions(site, name))


def versions(site: Site, name: str) -> list[str]:
    """The template's versions, newest last; empty when there is no such template."""
    directory = directory_of(site, name)
    try:
        entries = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entry for entry in entries if _VERSION.fullmatch(entry) and (directory / entry / RECORD).is_file())


def next_version(existing: list[str], now: float) -> str:
    """The version for a tree built at ``now`` (seconds since the epoch): later than all ``existing`` ones (pure).

    Within one second, or with a clock that went back, it is one second after the latest.
    """
    wanted = time.strftime(_VERSION_FORMAT, time.gmtime(now))
    if not existing or wanted > max(existing):
        return wanted
    latest_time = _epoch(max(existing))
    return time.strftime(_VERSION_FORMAT, time.gmtime(latest_time + 1))


def _epoch(version: str) -> int:
    import calendar  # for who builds a template; all others only read their names

    return calendar.timegm(time.strptime(version, _VERSION_FORMAT))


def latest(site: Site, name: str) -> str:
    """The newest version of ``name``. Raises :class:`InvalidInput` when there is no such template."""
    return _required(site, name)[-1]


def _required(site: Site, name: str) -> list[str]:
    found = versions(site, name)
    if not found:
        raise InvalidInput(f"template {name} does not exist", remedy=_nearest("template", name, names(site)))
    return found


def resolve(site: Site, name: str, version: str | None = None) -> Path:
    """The directory that is the root of a clone of ``name``; None means the newest version.

    Raises :class:`InvalidInput` when the template or the version does not exist.
    """
    found = _required(site, name)
    if version is not None and version not in found:
        raise InvalidInput(
            f"template {name} has no version {version[:80]!r}",
            remedy=_nearest("version", version, list(reversed(found))),
        )
    return directory_of(site, name) / (version or found[-1]) / "rootfs"


def _nearest(kind: str, wanted: str, existing: list[str]) -> str:
    import difflib  # for a mistake

    near = difflib.get_close_matches(wanted, existing, 1, 0.5)
    if near:
        return f"Did you mean {near[0]}?"
    if existing:
        return f"There {'is' if len(existing) == 1 else 'are'} {', '.join(existing[:10])}."
    return f"There is no {kind} yet; build one with the module template."


def directory_of(site: Site, name: str) -> Path:
    """Where the versions of ``name`` are. Raises :class:`InvalidInput` for what can be no name."""
    return site.templates / check_name("template", name)
