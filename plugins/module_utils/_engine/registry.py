# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every guest of a site, read once: what is taken, and by whom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from . import holdings, running, service, store
from .errors import Conflict, VserverError
from .model import XID_AUTO_MAX, XID_AUTO_MIN, Guest
from .site import Site


class Registry:
    """The guests as recorded, and as they still run where that is different: both hold what they name.

    Whoever means to save a record holds the lock "registry" from before it is read until it is saved.
    """

    def __init__(self, site: Site) -> None:
        records = store.load_all(site)
        self._recorded = {guest.name: guest for guest in records.known}
        self._unreadable = {each.known.name: each for each in records.unreadable}
        services = service.load_all(site)
        #: Those of the host that are bound, and whose record is understood.
        self.services = services.known
        self._unknown_services = services.unknown
        self._site = site
        #: The guests that run with other settings than are recorded: with those.
        self._in_force = dict(_otherwise(site, self._recorded, records.texts))
        #: What only one guest can have → the names of those that have, or had, it.
        self._holders: dict[int | str, set[str]] = {}
        #: Below it no automatic xid is free.
        self._lowest = XID_AUTO_MIN
        for guest in (*self._recorded.values(), *self._in_force.values()):
            self._hold(guest)

    def _hold(self, guest: Guest) -> None:
        for what in holdings.of(guest):
            self._holders.setdefault(what, set()).add(guest.name)

    def names(self) -> list[str]:
        """The names of all that are recorded."""
        return list(self._recorded)

    def recorded(self, name: str) -> Guest | None:
        """What is recorded of guest ``name``, or None. Raises :class:`VserverError` when that cannot be read."""
        if name in self._unreadable:
            raise self._unreadable[name].error
        return self._recorded.get(name)

    def rivals(self, guest: Guest) -> list[Guest]:
        """The other guests that have, or had, something that ``guest`` asks for: its xid, or one of its addresses."""
        return [other for other in self.having(holdings.of(guest)) if other.name != guest.name]

    def having(self, claims: Iterable[int | str]) -> list[Guest]:
        """The guests that have, or had, one of these: xids and addresses."""
        names = {name for what in claims for name in self._holders.get(what, ())}
        return [each for name in sorted(names) for each in self._both(name)]

    def unknown_guests(self) -> dict[str, VserverError]:
        """Which guest may have any address → why that cannot be told; those that run tell it all the same."""
        return {
            f"guest {name}": each.error
            for name, each in self._unreadable.items()
            if not each.bound and not any(guest.binding.addresses for guest in self._both(name))
        }

    def unknown_holders(self) -> dict[str, VserverError]:
        """The same, with services of the host."""
        services = {f"{each.kind} {each.name} of the host": each.error for each in self._unknown_services}
        return {**self.unknown_guests(), **services}

    def _both(self, name: str) -> list[Guest]:
        """Guest ``name`` as recorded, and as it runs where that is different."""
        return [each for each in (self._recorded.get(name), self._in_force.get(name)) if each is not None]

    def free_xid(self) -> int:
        """The lowest automatic xid that no guest has. Raises :class:`Conflict` when all are taken, or may be."""
        for name in self._unreadable:
            if not any(guest.xid for guest in self._both(name)):
                raise Conflict(
                    "choose an xid",
                    why=f"guest {name} may have any, for its record cannot be read",
                    remedy="Restore or remove that guest, or give xid explicitly.",
                )
        for xid in range(self._lowest, XID_AUTO_MAX + 1):
            if not any(guest.xid == xid for name in self._holders.get(xid, ()) for guest in self._both(name)):
                self._lowest = xid
                return xid
        raise Conflict(
            "choose an xid", why=f"all of {XID_AUTO_MIN} to {XID_AUTO_MAX} are taken", remedy="Give xid explicitly."
        )

    def put(self, guest: Guest) -> None:
        """From now on ``guest`` is what is recorded of it."""
        before = self._recorded.get(guest.name)
        if before is not None and before != guest and guest.name not in self._in_force:
            self._in_force.update(_otherwise(self._site, {guest.name: guest}, {}))
        if before is not None and before.xid != guest.xid:
            self._lowest = XID_AUTO_MIN
        self._recorded[guest.name] = guest
        self._hold(guest)

    def drop(self, name: str, keep: Guest | None) -> None:
        """From now on nothing is recorded of guest ``name`` but ``keep``, and it does not run."""
        self._in_force.pop(name, None)
        self._recorded.pop(name, None)
        self._lowest = XID_AUTO_MIN
        if keep is not None:
            self.put(keep)


def _otherwise(site: Site, recorded: Mapping[str, Guest], texts: Mapping[str, bytes]) -> Iterator[tuple[str, Guest]]:
    """Those that run with other settings than the recorded ones. Whether one runs is asked last: it mostly does.

    * texts: name → record, of those whose record is understood
    """
    for name, guest in recorded.items():
        if name in texts and running.says(site, name, texts[name]):
            continue
        with contextlib.suppress(VserverError):  # what is noted of its run is damaged; the record holds its own
            run = running.left(site, name)
            if run is not None and run.guest != guest and running.found(site, name) is not None:
                yield name, run.guest
