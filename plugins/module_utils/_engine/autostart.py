# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that start and stop with the host: several at a time."""

from __future__ import annotations

from . import lifecycle, running, several, store
from .site import Site


def start(site: Site, parallel: int) -> None:
    """Start the guests that are to start with the host, in the order of their names, ``parallel`` at a time.

    One that does not start keeps none of the others from it. Raises :class:`ToolFailed` with the names of those.
    """
    records = store.load_all(site)
    # One that cannot be read is tried as well, so that it is named, unless it is known not to be meant.
    unknown = (each.known for each in records.unreadable if each.known.context.autostart or not each.known.xid)
    names = sorted(guest.name for guest in (*records.guests, *unknown) if guest.context.autostart or not guest.xid)
    several.each(names, parallel, "start", lambda name: lifecycle.set_state(site, name, "started", {}))


def stop(site: Site) -> None:
    """Stop every running guest in order, all at a time: each may take its own timeout, and mostly waits.

    Raises :class:`ToolFailed` with the names of those that did not stop.
    """
    names = [name for name in store.names(site) if running.may_run(site, name)]
    several.each(names, len(names), "stop", lambda name: lifecycle.set_state(site, name, "stopped", {}))
