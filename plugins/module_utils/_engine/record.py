# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written of a guest's settings, and how other versions of the engine read it.

A record has the number of the lowest format that holds all it says; fields that came later are left out as long as they
say nothing. So an engine that does not know them reads every guest that does without them, as its supervisors must, and
refuses the others by the number. One that knows more reads all earlier formats.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import InvalidInput, VserverError
from .model import AUTO, XID_MAX, Binding, Capabilities, Context, Guest, Limits, Root, address_of, check_name

#: The newest format; it has every field there is.
FORMAT = 2
#: Released formats → the fields of each section. They never change: what is added to a section comes with a new format.
RELEASED: Mapping[int, Mapping[str, tuple[str, ...]]] = {
    1: {  # 0.1.0
        "root": ("template", "version", "method"),
        "binding": ("addresses", "interface", "network"),
        "capabilities": ("profile", "add", "drop"),
        "limits": ("memory", "cpus", "processes", "rlimits"),
        "context": ("xid", "hostname", "init", "timeout", "autostart", "user_namespace"),
    },
}

#: Facet, field and value for which released formats have no word: they leave the field out, and an engine that knows no
#: better sets no such limit.
_NO_WORD = (("limits", "processes", AUTO),)


def written(**sections: Any) -> dict[str, Any]:
    """Sections, by facet, as JSON-ready data, with the number of the format that they take (pure)."""
    number = max(map(_lowest_format, sections, sections.values()), default=1)
    kept = {
        facet: {
            name: value
            for name, value in dataclasses.asdict(section).items()
            if _has(number, facet, name) and not (number in RELEASED and (facet, name, value) in _NO_WORD)
        }
        for facet, section in sections.items()
    }
    return {"format": number, **kept}


def of_guest(guest: Guest) -> dict[str, Any]:
    """The whole record of a guest (pure)."""
    return {"name": guest.name, **written(**{facet: guest.section(facet) for facet in _SECTIONS})}


def _lowest_format(facet: str, section: Any) -> int:
    usual = type(section)()
    said = [
        field.name
        for field in dataclasses.fields(section)
        if getattr(section, field.name) != getattr(usual, field.name)
    ]
    return next(number for number in (*RELEASED, FORMAT) if all(_has(number, facet, name) for name in said))


def _has(number: int, facet: str, name: str) -> bool:
    return number not in RELEASED or name in RELEASED[number].get(facet, ())


def require_format(record: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidInput` for a record of a format that this engine does not know (pure)."""
    number = record.get("format")
    if not isinstance(number, int) or number < 1:
        raise InvalidInput("it is damaged", why=f"its format is {number!r}")
    if number > FORMAT:
        raise InvalidInput(
            f"a newer linux.vserver has written it, in format {number}, and this one reads up to {FORMAT}",
            remedy="Bring what this host has of linux.vserver up to date: playbook host, or module engine.",
        )


def guest(record: Any) -> Guest:
    """The guest of a record (pure). Raises :class:`InvalidInput` for one of a newer format, or that is damaged."""
    try:
        require_format(record)
        unknown = set(record) - {"format", "name", *_SECTIONS}
        if unknown:
            raise ValueError(f"{min(unknown)} is unknown")
        return Guest(
            check_name("guest", record["name"]), **{facet: section(facet, record[facet]) for facet in _SECTIONS}
        )
    except DAMAGE as error:
        raise InvalidInput("it is damaged", why=f"{type(error).__name__}: {error}") from error


def known(name: str, record: Any) -> Guest:
    """What this engine understands of the record of guest ``name``, whoever wrote it; xid 0: not even that (pure).

    Enough to end the guest and clear up behind it, and to keep what it holds from others.
    """
    sections = {facet: understood(facet, record) for facet in _SECTIONS}
    return Guest(name, **{facet: part for facet, part in sections.items() if part is not None})


def understood(facet: str, record: Any) -> Any | None:
    """A section of a record, whoever wrote it, by the fields that this engine knows; None: not even that (pure)."""
    names = {field.name for field in dataclasses.fields(_SECTIONS[facet][0])}
    with contextlib.suppress(*DAMAGE):
        return section(facet, {key: value for key, value in record[facet].items() if key in names})
    return None


def unreadable(path: str | Path, error: Exception, remedy: str) -> VserverError:
    """What to raise for a record that cannot be read, by what was raised over it: OSError, :class:`VserverError`, or
    one of :data:`DAMAGE` (pure).

    * remedy: unless ``error`` has one
    """
    why = f"it is damaged ({type(error).__name__}: {error})"
    if isinstance(error, OSError):
        why = error.strerror or str(error)
    elif isinstance(error, VserverError):
        why, remedy = error.what if error.why is None else f"{error.what} ({error.why})", error.remedy or remedy
    return VserverError(f"read the record {path}", why=why, remedy=remedy)


def section(facet: str, values: Mapping[str, Any]) -> Any:
    """A section as it was before it was written (pure). Raises one of :data:`DAMAGE`."""
    kind, read = _SECTIONS[facet]
    return kind(**{**values, **read(values)})


def _addresses(values: Mapping[str, Any]) -> dict[str, Any]:
    addresses = tuple(values["addresses"])
    for text in addresses:
        address_of(text)
    return {"addresses": addresses}


def _powers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"add": tuple(values["add"]), "drop": tuple(values["drop"])}


def _rlimits(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"rlimits": {name: (soft, hard) for name, (soft, hard) in values["rlimits"].items()}}


def _xid_and_init(values: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values["xid"], int) or not 0 <= values["xid"] <= XID_MAX:
        raise ValueError(f"xid is {values['xid']!r}")
    return {"init": None if values["init"] is None else tuple(values["init"])}


#: What reading a record raises that nobody has written like that.
DAMAGE = (KeyError, TypeError, ValueError, AttributeError)
#: Facet → its section, and what of that JSON does not tell as it was.
_SECTIONS: Mapping[str, tuple[Any, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "root": (Root, lambda _values: {}),
    "binding": (Binding, _addresses),
    "capabilities": (Capabilities, _powers),
    "limits": (Limits, _rlimits),
    "context": (Context, _xid_and_init),
}
