# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one guest is asked to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidInput
from .facets.order import FACETS
from .holdings import plain
from .model import Guest, check_name

STATES = ("present", "started", "stopped", "restarted", "frozen", "absent")


@dataclass(frozen=True)
class Wish:
    """What guest ``name`` is asked to be.

    * options: facet → options as its ``parse`` takes them; a facet that is missing is not looked at
    * state: one of STATES
    * restart: a running guest may be restarted, once, for a setting that cannot reach it otherwise
    * keep_data: whether ``absent`` leaves the clone with the guest's data
    """

    name: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: str = "present"
    restart: bool = False
    keep_data: bool = True

    def __post_init__(self) -> None:
        check_name("guest", self.name)
        if self.state not in STATES:
            raise InvalidInput(f"state {self.state!r} is unknown", remedy=f"Use one of {', '.join(STATES)}.")

    @property
    def asks_settings(self) -> bool:
        """Whether any setting is asked for: a value that is None asks for none."""
        return any(value is not None for options in self.options.values() for value in options.values())

    def parsed(self, base: Guest) -> Guest:
        """``base`` with the sections that are asked for (pure). Raises :class:`InvalidInput`."""
        asked = {name: facet for name, facet in FACETS.items() if name in self.options}
        sections = {name: facet.parse(self.options[name], base.section(name)) for name, facet in asked.items()}
        return dataclasses.replace(base, **sections)


def check_together(guests: Sequence[Guest]) -> list[str]:
    """Why ``guests`` cannot all be on one host, a sentence each (pure)."""
    complaints = []
    xids: dict[int, str] = {}
    holders: dict[str, list[Guest]] = {}
    for guest in guests:
        if guest.xid:
            first = xids.setdefault(guest.xid, guest.name)
            if first != guest.name:
                complaints.append(f"guests {first} and {guest.name} both ask for xid {guest.xid}")
        for text in sorted(plain(guest.binding)):
            holders.setdefault(text, []).append(guest)
    for text, held in holders.items():
        if len(held) > 1 and not all(guest.binding.shared for guest in held):
            names = " and ".join(guest.name for guest in held)
            complaints.append(f"guests {names} ask for address {text}, and not all of them say shared")
    return complaints
