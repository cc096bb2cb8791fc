# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many network sockets a guest may make: TCP, UDP and whatever else its binding allows, IPv4 and IPv6.

They are counted from the guest's start, whether limited or not, so that a limit given later knows of all. Those that
come of accept(2) are not among them: see docs/limits.md for what bounds these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import units
from ..errors import Unsupported, VserverError
from ..model import Guest, Limits
from . import socket_counter
from .wording import ceiling, refuse_above

FIELDS: tuple[str, ...] = ("sockets",)
_MOST = Path("/proc/sys/fs/file-max")


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``sockets``, a number or ``max``."""
    value = options.get("sockets")
    if value is None:
        return recorded
    return dataclasses.replace(recorded, sockets=ceiling("sockets", value, units.parse_count, 0))


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep this limit."""
    if limits.sockets is None:
        return
    answer = socket_counter.missing()
    if answer:
        raise Unsupported(
            "limit sockets",
            why=f"this kernel cannot count them ({answer})",
            remedy="Take the option out for this host, or boot Linux 6.1 or newer.",
        )
    refuse_above("sockets", limits.sockets, int(_MOST.read_text()), "open files at most (fs.file-max)")


def read(outer: Path) -> dict[str, Any]:
    """What is in force on the guest's outer group: field of :class:`Limits` → value."""
    return {"sockets": socket_counter.limit_in_force(outer)}


def write(guest: Guest, outer: Path) -> None:
    """Put the limit in force on the guest's outer group. Raises :class:`VserverError`."""
    try:
        socket_counter.attach(outer)
        socket_counter.set_limit(outer, guest.limits.sockets)
    except OSError as error:
        if guest.limits.sockets is not None:
            raise VserverError(f"limit the sockets of guest {guest.name}", why=error.strerror or str(error)) from error
