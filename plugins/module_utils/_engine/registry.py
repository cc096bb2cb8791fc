# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every guest of a site, read once: what is taken, and by whom."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from . import holdings, running, service, store
from .errors import Conflict, VserverError
from .model import XID_AUTO_MAX, XID_AUTO_MIN, Guest
from .service import Service
from .site import Site


@dataclass(frozen=True)
class _All:
    """What there is, and what has become of it since it was read.

    * in_force: the guests that run with other settings than are recorded: with those
    * holders: what only one guest can have → the names of those that have, or had, it
    """

    recorded: dict[str, Guest]
    unreadable: Mapping[str, store.Unreadable]
    services: service.Records
    in_force: dict[str, Guest]
    holders: dict[int | str, set[str]]

    def hold(self, guest: Guest) -> None:
        for what in holdings.of(guest):
            self.holders.setdefault(what, set()).add(guest.name)


class Registry:
    """The guests as recorded, and as they still run where that is different: both hold what they name.

    All are read once, when somebody asks for more than a guest by its name. Whoever means to save a record holds the
    lock "registry" from before that until it is saved.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        #: Below it no automatic xid is free.
        self._lowest = XID_AUTO_MIN

    @functools.cached_property
    def _all(self) -> _All:
        records = store.load_all(self._site)
        recorded = {guest.name: guest for guest in records.known}
        unreadable = {each.known.name: each for each in records.unreadable}
        services = service.load_all(self._site)
        in_force = dict(_otherwise(self._site, recorded, records.texts))
        found = _All(recorded, unreadable, services, in_force, {})
        for guest in (*recorded.values(), *in_force.values()):
            found.hold(guest)
        return found

    @property
    def services(self) -> tuple[Service, ...]:
        """Those of the host that are bound, and whose record is understood."""
        return self._all.services.known

    def names(self) -> list[str]:
        """The names of all that are recorded."""
        return list(self._all.recorded)

    def recorded(self, name: str) -> Guest | None:
        """What is recorded of guest ``name``, or None. Raises :class:`VserverError` when that cannot be read."""
        if "_all" not in self.__dict__:  # nobody has asked for the others yet
            return store.load(self._site, name)
        if name in self._all.unreadable:
            raise self._all.unreadable[name].error
        return self._all.recorded.get(name)

    def rivals(self, guest: Guest) -> list[Guest]:
        """The other guests that have, or had, something that ``guest`` asks for: its xid, or one of its addresses."""
        return [other for other in self.having(holdings.of(guest)) if other.name != guest.name]

    def having(self, claims: Iterable[int | str]) -> list[Guest]:
        """The guests that have, or had, one of these: xids and addresses."""
        names = {name for what in claims for name in self._all.holders.get(what, ())}
        return [each for name in sorted(names) for each in self._both(name)]

    def unknown_guests(self) -> dict[str, VserverError]:
        """Which guest may have any address → why that cannot be told; those that run tell it all the same."""
        return {
            f"guest {name}": each.error
            for name, each in self._all.unreadable.items()
            if not each.bound and not any(guest.binding.addresses for guest in self._both(name))
        }

    def unknown_holders(self) -> dict[str, VserverError]:
        """The same, with services of the host."""
        services = {f"{each.kind} {each.name} of the host": each.error for each in self._all.services.unknown}
        return {**self.unknown_guests(), **services}

    def _both(self, name: str) -> list[Guest]:
        """Guest ``name`` as recorded, and as it runs where that is different."""
        return [each for each in (self._all.recorded.get(name), self._all.in_force.get(name)) if each is not None]

    def free_xid(self) -> int:
        """The lowest automatic xid that no guest has. Raises :class:`Conflict` when all are taken, or may be."""
        for name in self._all.unreadable:
            if not any(guest.xid for guest in self._both(name)):
                raise Conflict(
                    "choose an xid",
                    why=f"guest {name} may have any, for its record cannot be read",
                    remedy="Restore or remove that guest, or give xid explicitly.",
                )
        for xid in range(self._lowest, XID_AUTO_MAX + 1):
            if not any(guest.xid == xid for name in self._all.holders.get(xid, ()) for guest in self._both(name)):
                self._lowest = xid
                return xid
        raise Conflict(
            "choose an xid", why=f"all of {XID_AUTO_MIN} to {XID_AUTO_MAX} are taken", remedy="Give xid explicitly."
        )

    def put(self, guest: Guest) -> None:
        """From now on ``guest`` is what is recorded of it."""
        before = self._all.recorded.get(guest.name)
        if before is not None and before != guest and guest.name not in self._all.in_force:
            self._all.in_force.update(_otherwise(self._site, {guest.name: guest}, {}))
        if before is not None and before.xid != guest.xid:
            self._lowest = XID_AUTO_MIN
        self._all.recorded[guest.name] = guest
        self._all.hold(guest)

    def drop(self, name: str, keep: Guest | None) -> None:
        """From now on nothing is recorded of guest ``name`` but ``keep``, and it does not run."""
        self._all.in_force.pop(name, None)
        self._all.recorded.pop(name, None)
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
