# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operation reports: what it changed, or in check mode would change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import Conflict


@dataclass(frozen=True)
class Outcome:
    """The result of one call into the engine.

    * changed: something on the host was (check mode: would be) changed
    * before, after: only the settings that differ, by option name
    * subject: the template, service, units or engine as their module reports them, after the change (check mode: as
      they stand); empty when there is none, and of a guest, of whom :func:`.info.guest` tells who asks
    * restart_required: why a running guest must be restarted before all of its settings are in force
    * warnings: what works other than one may think, a text each, with the remedy
    """

    changed: bool
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    subject: dict[str, Any] = field(default_factory=dict)
    restart_required: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def in_the_way(conflict: Conflict, *, check: bool) -> tuple[str, ...]:
    """Raise what keeps something from being done; in check mode, where an earlier task may be what would clear it
    away, it is only a warning, which is returned."""
    if not check:
        raise conflict
    return (str(conflict),)
