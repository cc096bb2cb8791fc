# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every guest of a site, read once: what is taken, and by whom."""

from __future__ import annotations

from . import running, store
from .model import Guest
from .site import Site


class Registry:
    """The guests as recorded, and as they still run where that is different: both hold what they name.

    Whoever means to save a record holds the lock "registry" from before it is read until it is saved.
    """

    def __init__(self, site: Site) -> None:
        self._recorded = {guest.name: guest for guest in store.load_all(site)}
        found = (running.read(site, name) for name in self._recorded)
        self._in_force = {now.guest.name: now.guest for now in found if now is not None}

    def names(self) -> list[str]:
        """The names of all that are recorded."""
        return list(self._recorded)

    def recorded(self, name: str) -> Guest | None:
        """What is recorded of guest ``name``, or None."""
        return self._recorded.get(name)

    def others(self, name: str) -> list[Guest]:
        """All guests but ``name``."""
        recorded = [guest for guest in self._recorded.values() if guest.name != name]
        in_force = [guest for guest in self._in_force.values() if guest.name != name]
        return [*recorded, *(guest for guest in in_force if guest != self._recorded.get(guest.name))]

    def free_xid(self) -> int:
        """The lowest automatic xid that no guest has. Raises :class:`Conflict` when all are taken."""
        return store.free_xid([*self._recorded.values(), *self._in_force.values()])

    def put(self, guest: Guest) -> None:
        """From now on ``guest`` is what is recorded of it."""
        self._recorded[guest.name] = guest

    def drop(self, name: str, keep: Guest | None) -> None:
        """From now on nothing is recorded of guest ``name`` but ``keep``, and it does not run."""
        self._in_force.pop(name, None)
        self._recorded.pop(name, None)
        if keep is not None:
            self._recorded[name] = keep
