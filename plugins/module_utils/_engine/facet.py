# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every facet of a guest has in common: five verbs, and the shape of a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .model import Guest
from .running import Running
from .site import Site


@dataclass(frozen=True)
class Change:
    """One setting that differs.

    * live: a running guest takes it at once; otherwise it needs a restart
    """

    facet: str
    option: str
    before: Any
    after: Any
    live: bool


class Facet(Protocol):
    """One facet of a guest: a module with this shape, in ``facets/``.

    ``observe`` → what is true on this host now, ``compare`` → what differs (pure), ``apply`` → make it so. Before them,
    ``parse`` turns options into a section (pure) and ``resolve`` fills in what only the host can decide.
    """

    def parse(self, options: Mapping[str, Any], recorded: Any) -> Any:
        """Return the section that ``options`` ask for, starting from the recorded one (pure).

        An option that is None or absent keeps what is recorded; ``[]`` or ``{}`` empties it.
        Raises :class:`~.errors.InvalidInput`.
        """

    def resolve(self, site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Any:
        """Return ``guest``'s section with what the host decides filled in; changes nothing.

        Raises when the host or one of the ``others`` is in the way: the guests that have something this one asks for.
        In check mode, what an earlier step of the same run would have made may be missing.
        """

    def observe(self, site: Site, guest: Guest, now: Running | None) -> Any | None:
        """Return the section as it is in force now, or None when nothing of it is (not cloned, not running).

        * now: what of the guest runs
        """

    def compare(self, desired: Any, observed: Any | None) -> list[Change]:
        """Return what would have to change for ``desired`` to be in force (pure)."""

    def apply(self, site: Site, guest: Guest, changes: Sequence[Change]) -> None:
        """Make ``changes``, all of them live ones, true on the host."""


def compare_fields(facet: str, desired: Any, observed: Any, live: Collection[str] = ()) -> list[Change]:
    """Compare two sections of the same dataclass field by field; the fields in ``live`` need no restart."""
    if desired == observed:
        return []
    return [
        Change(facet, field.name, getattr(observed, field.name), getattr(desired, field.name), field.name in live)
        for field in dataclasses.fields(desired)
        if getattr(desired, field.name) != getattr(observed, field.name)
    ]
