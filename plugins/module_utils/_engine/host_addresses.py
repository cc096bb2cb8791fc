# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's addresses on the host's interfaces: put there at start, taken off at stop.

An address that is there already stays as it is. Those that we put there are noted before that, so that whatever happens
exactly those are taken off again; what guests share is noted for all of them together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import faults, files, shared_addresses
from .chbind.policy import loopback_addresses
from .errors import VserverError
from .kernel import address
from .model import Guest
from .site import Site

#: Local as a whole, on no particular interface.
_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def wanted(guest: Guest) -> tuple[str, ...]:
    """The addresses a running guest needs on the host (pure)."""
    return (*guest.binding.addresses, *_private(guest))


def _private(guest: Guest) -> tuple[str, ...]:
    """The guest's private ::1, which unlike its 127.0.0.1 has to be put on the host's loopback interface (pure)."""
    if guest.binding.network == "host" or guest.binding.loopback != "private":
        return ()
    return (f"{loopback_addresses(guest.xid)[1]}/128",)


def up(site: Site, guest: Guest) -> None:
    """Put the guest's addresses on the host's interfaces where they are not local yet. Raises :class:`VserverError`.

    One that we put on another interface than the guest now asks for moves, unless it is shared.
    """
    if guest.binding.interface is not None:
        noted = _noted(site, guest.name)
        moving = {
            text
            for text in guest.binding.addresses
            if noted.get(text, guest.binding.interface) != guest.binding.interface
        }
        down(site, guest.name, keep=[text for text in (*noted, *shared_addresses.read(site)) if text not in moving])
    missing = _note_missing(site, guest)
    faults.reached("start:addresses-noted")
    for text, interface in missing.items():
        try:
            address.add(interface, ipaddress.ip_interface(text))
        except OSError as error:
            raise VserverError(
                f"start guest {guest.name}",
                why=error.strerror,
                remedy="Set interface to one of this host's, or leave it out.",
            ) from error


def _note_missing(site: Site, guest: Guest) -> dict[str, str]:
    """Note what is about to be put on the host, and return it: address → interface."""
    noted = _noted(site, guest.name)
    if guest.binding.shared:
        with shared_addresses.locked(site):
            missing = _missing(guest)
            own = {text: missing.get(text) or noted.get(text) for text in guest.binding.addresses}
            shared_addresses.write(site, shared_addresses.joined(shared_addresses.read(site), guest.name, own))
        noting = {text: interface for text, interface in {**noted, **missing}.items() if text not in own}
    else:
        missing = _missing(guest)
        noting = {**noted, **missing}
    if noting != noted:
        files.write_json(_note(site, guest.name), noting)
    return missing


def lost(guest: Guest) -> dict[str, str]:
    """The guest's own addresses that are not local on this host → the interface each belongs on."""
    missing = {}
    own = [text for text in guest.binding.addresses if ipaddress.ip_interface(text).ip not in _LOOPBACK]
    if own:
        present = address.addresses()
        local = {held.ip for entries in present.values() for held in entries}
        for text in own:
            if ipaddress.ip_interface(text).ip not in local:
                found = address.interface_for(ipaddress.ip_interface(text), present)
                missing[text] = guest.binding.interface or found
    return missing


def _missing(guest: Guest) -> dict[str, str]:
    """Like :func:`lost`, with the private ::1."""
    missing = lost(guest)
    if address.has_ipv6():
        # Nobody else has it, and to add it twice does no harm.
        missing.update(dict.fromkeys(_private(guest), "lo"))
    return missing


def down(site: Site, name: str, keep: Sequence[str] = ()) -> None:
    """Take the addresses that we put there off again, but for those in ``keep``. Raises :class:`VserverError`."""
    noted = _noted(site, name)
    leaving = {text: interface for text, interface in noted.items() if text not in keep}
    _remove(name, leaving)
    if leaving:
        files.write_json(_note(site, name), {text: noted[text] for text in noted if text not in leaving})
    if shared_addresses.exist(site):
        with shared_addresses.locked(site):
            before = shared_addresses.read(site)
            after, orphans = shared_addresses.left(before, name, {text.split("/")[0] for text in keep})
            _remove(name, orphans)
            if after != before:
                shared_addresses.write(site, after)


def _remove(name: str, leaving: Mapping[str, str]) -> None:
    for text, interface in leaving.items():
        try:
            address.remove(interface, ipaddress.ip_interface(text))
        except OSError as error:
            raise VserverError(f"stop guest {name}", why=error.strerror) from error


def _note(site: Site, name: str) -> Path:
    return site.bundle(name) / "addresses.json"


def _noted(site: Site, name: str) -> Mapping[str, str]:
    """Address → interface, of those we put there."""
    try:
        return dict(files.read_json(_note(site, name)))
    except FileNotFoundError:
        return {}
