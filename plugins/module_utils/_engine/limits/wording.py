# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kinds of limits have in common: how a ceiling is written, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InvalidInput, Unsupported
from ..kernel import cgroup, controller

NO_LIMIT = "max"


def ceiling(option: str, value: Any, convert: Callable[[str, Any], Any], least: float) -> Any:
    """A number that is at least ``least``; None for ``max`` (pure). Raises :class:`InvalidInput`."""
    if str(value).strip().lower() == NO_LIMIT:
        return None
    number = convert(option, value)
    if number < least:
        raise InvalidInput(f"{option} {value} is too small", remedy=f"Give at least {least:g}, or max for no limit.")
    return number


def require(option: str, name: str, file: str, v1_file: str | None) -> None:
    """Refuse ``option`` where controller ``name`` or its file is missing. Raises :class:`Unsupported`."""
    layout = cgroup.layout()
    if controller.name_in(layout, name) is None:
        raise Unsupported(
            f"limit {option}",
            why=f"this host has no cgroup controller {name!r}",
            remedy=f"Boot a kernel that has it, without cgroup_disable={name}.",
        )
    if not controller.offers(layout, name, file, v1_file):
        raise Unsupported(
            f"limit {option}",
            why=f"this host's cgroup controller {name!r} has no {_missing(layout, name, file, v1_file)}",
            remedy="Take the option out for this host, or boot one with control groups v2 and a newer kernel.",
        )


def _missing(layout: cgroup.Layout, name: str, file: str, v1_file: str | None) -> str:
    top = layout.controllers[str(controller.name_in(layout, name))]
    return file if top == layout.unified else v1_file or f"{file}, being of version 1"


def refuse_above(option: str, value: Any, most: Any, of: str) -> None:
    """Refuse a value above the host's. Raises :class:`InvalidInput`."""
    if value > most:
        raise InvalidInput(
            f"{option} {value} is too large", why=f"this host has {most} {of}", remedy="Give less, or max for no limit."
        )
