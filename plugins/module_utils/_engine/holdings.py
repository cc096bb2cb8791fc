# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only one guest can have: its xid, addresses and private loopback addresses. Who asks for another's is refused.

Services of the host that are bound to addresses are among the others.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from .chbind.policy import loopback_texts
from .errors import Conflict, VserverError
from .model import Binding, Guest, address_of
from .service import Service


def of(guest: Guest) -> set[int | str]:
    """The guest's xid, and what its binding holds (pure)."""
    return {guest.xid, *held(guest)}


def held(guest: Guest) -> frozenset[str]:
    """What of a guest's no other may have, or only if both share it: its addresses and private loopbacks (pure)."""
    return plain(guest.binding) | _private(guest)


@functools.lru_cache(maxsize=4096)
def plain(binding: Binding) -> frozenset[str]:
    """The binding's addresses without their prefixes (pure)."""
    return frozenset(str(address_of(text).ip) for text in binding.addresses)


def taken_from(guest: Guest, other: Binding) -> frozenset[str]:
    """The addresses of another binding that are the guest's, unless both share them (pure)."""
    both_share = guest.binding.shared and other.shared
    return plain(other) & (_private(guest) if both_share else held(guest))


def _private(guest: Guest) -> frozenset[str]:
    """The guest's private loopback addresses (pure)."""
    return frozenset(loopback_texts(guest.xid))


def refuse_taken(guest: Guest, others: Iterable[Guest], services: Iterable[Service]) -> None:
    """Raise :class:`Conflict` when an address of the guest is another's or a service's of the host, unless both share
    it (pure)."""
    for bound in services:
        taken = taken_from(guest, bound.binding)
        if taken:
            raise Conflict(
                f"bind guest {guest.name} to {', '.join(sorted(taken))}",
                why=f"{bound.kind} {bound.name} of the host is bound to it",
                remedy="Give the guest addresses of its own, or 'shared: true' to both.",
            )
    for other in others:
        taken = taken_from(other, guest.binding) or (plain(other.binding) & _private(guest))
        if taken:
            raise Conflict(
                f"bind guest {guest.name} to {', '.join(sorted(taken))}",
                why=f"guest {other.name} (xid {other.xid}) has it",
                remedy="Give each guest addresses of its own, or 'shared: true' to all that have them on purpose; "
                "127.(xid >> 8).(xid & 255).1 is a guest's loopback and never shared.",
            )


def refuse_undecided(who: str, wanted: Binding, before: Binding | None, unknown: Mapping[str, VserverError]) -> None:
    """Raise :class:`Conflict` when ``who`` asks for an address that it does not have, which somebody may have (pure).

    * before: what it has
    * unknown: who may have any address → why that cannot be told
    """
    kept = plain(before) if before is not None and (wanted.shared or not before.shared) else frozenset()
    coming = plain(wanted) - kept
    for holder, error in unknown.items() if coming else ():
        raise Conflict(
            f"bind {who} to {', '.join(sorted(coming))}",
            why=f"{holder} may have any address, for its record cannot be read ({error.what}: {error.why})",
            remedy=error.remedy,
        )
