# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that we put on the host for several guests at once: who has each, so that it goes with the last of them.

Calls between reading and writing are made under :func:`locked`, whichever guest they are for.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from . import files, record, store
from .errors import VserverError
from .site import Site

#: Address with prefix → its interface, and the names of the guests that have it.
Table = dict[str, dict[str, Any]]


def locked(site: Site) -> AbstractContextManager[int]:
    return store.lock(site, "shared-addresses")


def exist(site: Site) -> bool:
    """Whether any guest has shared an address since the host has booted."""
    return _file(site).exists()


def read(site: Site) -> Table:
    """The table. Raises :class:`VserverError` when it is damaged: then nobody knows whose addresses may go."""
    try:
        noted = files.read_json(_file(site))
        return {
            text: {"interface": str(entry["interface"]), "guests": list(entry["guests"])}
            for text, entry in noted.items()
        }
    except FileNotFoundError:
        return {}
    except (VserverError, *record.DAMAGE) as error:
        remedy = "Remove it: what it named stays on the host's interfaces until a reboot, and no guest is disturbed."
        raise record.unreadable(_file(site), error, remedy) from error


def write(site: Site, table: Table) -> None:
    files.write_json(_file(site), table)


def joined(table: Table, name: str, addresses: dict[str, str | None]) -> Table:
    """``table`` with guest ``name`` at each of ``addresses`` that it has, or that has an interface to be put on (pure).

    The same address with another prefix length is the same address.
    """
    known = {text.split("/")[0]: text for text in table}
    result = dict(table)
    for text, interface in addresses.items():
        text = known.get(text.split("/")[0], text)
        if text in table:
            result[text] = {**table[text], "guests": sorted({*table[text]["guests"], name})}
        elif interface is not None:
            result[text] = {"interface": interface, "guests": [name]}
    return result


def left(table: Table, name: str, keep: set[str]) -> tuple[Table, dict[str, str]]:
    """``table`` without guest ``name``, but for addresses in ``keep``; and what nobody has then → its interface (pure).

    * keep: addresses without prefix
    """
    result, orphans = {}, {}
    for text, entry in table.items():
        guests = [other for other in entry["guests"] if other != name or text.split("/")[0] in keep]
        if guests:
            result[text] = {**entry, "guests": guests}
        else:
            orphans[text] = entry["interface"]
    return result, orphans


def _file(site: Site) -> Path:
    return site.run / ".shared-addresses.json"
