# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's addresses on the host's interfaces: put there at start, taken off at stop.

An address that is there already stays as it is. Those that we put there are noted before that, so that whatever happens
exactly those are taken off again; what guests share is noted for all of them together. On an Ethernet they are
announced, so that neighbours and switches that knew the guest elsewhere learn at once; before that the link is asked
whether another machine has them.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import faults, files, shared_addresses
from .chbind.policy import loopback_texts
from .errors import Conflict, VserverError
from .kernel import address, announce, process
from .model import Guest, address_of
from .site import Site

#: Local as a whole, on no particular interface.
_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
#: Seconds that other machines have to answer for an address.
_ANSWER_TIME = 0.004


def wanted(guest: Guest) -> tuple[str, ...]:
    """The addresses a running guest needs on the host (pure)."""
    return (*guest.binding.addresses, *_private(guest))


def _private(guest: Guest) -> tuple[str, ...]:
    """The guest's private ::1, which unlike its 127.0.0.1 has to be put on the host's loopback interface (pure)."""
    if guest.binding.network == "host" or guest.binding.loopback != "private":
        return ()
    return (f"{loopback_texts(guest.xid)[1]}/128",)


def up(site: Site, guest: Guest) -> None:
    """Put the guest's addresses on the host's interfaces where they are not local yet. Raises :class:`VserverError`.

    One that we put on another interface than the guest now asks for moves, unless it is shared. One that another
    machine on the link answers for is a :class:`Conflict`.
    """
    if guest.binding.interface is not None:
        noted = _noted(site, guest.name)
        moving = {
            text
            for text in guest.binding.addresses
            if noted.get(text, guest.binding.interface) != guest.binding.interface
        }
        down(site, guest.name, keep=[text for text in (*noted, *shared_addresses.read(site)) if text not in moving])
    missing = _missing(guest)
    _refuse_claimed(guest, missing)
    missing = _note(site, guest, missing)
    faults.reached("start:addresses-noted")
    for text, interface in missing.items():
        try:
            address.add(interface, address_of(text))
        except OSError as error:
            raise VserverError(
                f"start guest {guest.name}",
                why=error.strerror,
                remedy="Set interface to one of this host's, or leave it out.",
            ) from error
    _announce(missing)


def _refuse_claimed(guest: Guest, coming: Mapping[str, str]) -> None:
    """Raise :class:`Conflict` when another machine answers for one of the addresses that are about to come up."""
    answers = {
        interface: process.aside(functools.partial(_ask, interface, own))
        for interface, own in _by_ethernet(coming).items()
    }
    claimed = []
    for interface, answer in answers.items():
        with contextlib.suppress(OSError):  # the link went down meanwhile
            claimed += [(text, interface, hardware) for text, hardware in answer().items()]
    for text, interface, hardware in claimed:
        raise Conflict(
            f"put {text} on {interface} for guest {guest.name}",
            why=f"the machine with the hardware address {hardware} has it",
            remedy="Take the address off that machine, or give the guest another one.",
        )


def _ask(interface: str, own: Sequence[announce.IP]) -> dict[str, str]:
    holders = announce.holders(interface, own, _ANSWER_TIME)
    return {str(held): hardware.hex(":") for held, hardware in holders.items()}


def _announce(added: Mapping[str, str]) -> None:
    """Tell each link of the addresses that have come up on it. Failing that, neighbours learn later, as they ask."""
    for interface, own in _by_ethernet(added).items():
        with contextlib.suppress(OSError):
            process.aside(functools.partial(announce.announce, interface, own))()


def _by_ethernet(added: Mapping[str, str]) -> dict[str, list[announce.IP]]:
    """Interface → addresses, for the interfaces that are an Ethernet."""
    found: dict[str, list[announce.IP]] = {}
    for text, interface in added.items():
        if interface in found or announce.hardware_address(interface) is not None:
            found.setdefault(interface, []).append(address_of(text).ip)
    return found


def _note(site: Site, guest: Guest, missing: dict[str, str]) -> dict[str, str]:
    """Note what is about to be put on the host, and return it: address → interface."""
    noted = _noted(site, guest.name)
    noting = {**noted, **missing}
    if guest.binding.shared:
        with shared_addresses.locked(site):
            missing = _missing(guest)
            own = {text: missing.get(text) or noted.get(text) for text in guest.binding.addresses}
            shared_addresses.write(site, shared_addresses.joined(shared_addresses.read(site), guest.name, own))
        noting = {text: interface for text, interface in {**noted, **missing}.items() if text not in own}
    if noting != noted:
        files.write_json(_note_file(site, guest.name), noting)
    return missing


def lost(guest: Guest) -> dict[str, str]:
    """The guest's own addresses that are not local on this host → the interface each belongs on."""
    known = {text: address_of(text) for text in guest.binding.addresses}
    missing = {text: own for text, own in known.items() if own.ip not in _LOOPBACK and not address.is_own(own.ip)}
    if guest.binding.interface is not None:
        return dict.fromkeys(missing, guest.binding.interface)
    present = address.addresses() if missing else {}
    return {text: address.interface_for(own, present) for text, own in missing.items()}


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
        files.write_json(_note_file(site, name), {text: noted[text] for text in noted if text not in leaving})
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
            address.remove(interface, address_of(text))
        except OSError as error:
            raise VserverError(f"stop guest {name}", why=error.strerror) from error


def _note_file(site: Site, name: str) -> Path:
    return site.bundle(name) / "addresses.json"


def _noted(site: Site, name: str) -> Mapping[str, str]:
    """Address → interface, of those we put there."""
    try:
        return dict(files.read_json(_note_file(site, name)))
    except FileNotFoundError:
        return {}
