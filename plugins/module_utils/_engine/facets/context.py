# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet context: the context's identity and its process 1 (Linux-VServer: chcontext, vserver start and stop)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .. import running, uts
from ..errors import Conflict, InvalidInput
from ..facet import Change, compare_fields
from ..model import Context, Guest, check_xid
from ..running import Running
from ..site import Site

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
#: The kernel's limit, __NEW_UTS_LEN (include/uapi/linux/utsname.h).
_HOSTNAME_MAX = 64


def parse(options: Mapping[str, Any], recorded: Context) -> Context:
    """Options: the fields of :class:`Context`; ``init`` is ``auto`` or argv, ``timeout`` seconds."""
    plain = ("xid", "hostname", "timeout", "autostart", "user_namespace", "spectator")
    given = {key: options.get(key) for key in plain}
    init = options.get("init")
    if given["xid"] is not None:
        check_xid(given["xid"])
    if given["hostname"] is not None:
        name = given["hostname"]
        if len(name) > _HOSTNAME_MAX or not _HOSTNAME.fullmatch(name):
            raise InvalidInput(
                f"hostname {name[:70]!r} is not valid",
                remedy=f"Use letters, digits, '-' and dots, at most {_HOSTNAME_MAX} characters (hostname(7)).",
            )
    if given["timeout"] is not None and not 0 <= given["timeout"] <= 3600:
        raise InvalidInput(f"timeout {given['timeout']} is out of range", remedy="Give 0 to 3600 seconds.")
    values = {key: getattr(recorded, key) if value is None else value for key, value in given.items()}
    return _possible(Context(init=recorded.init if init is None else _parse_init(init), **values))


def _possible(context: Context) -> Context:
    """Refuse a spectator that could not be one (pure)."""
    if context.spectator and context.init is None:
        raise InvalidInput(
            "a spectator cannot boot a distribution",
            why="it has the host's process ids, in which process 1 is the host's own",
            remedy="Name the program it is to run (init).",
        )
    if context.spectator and not context.user_namespace:
        raise InvalidInput(
            "a spectator without a user namespace would be the host's root, and could signal whom it sees",
            remedy="Leave user_namespace at true.",
        )
    return context


def _parse_init(init: Any) -> tuple[str, ...] | None:
    if init in ("auto", ["auto"]):
        return None
    argv = [init] if isinstance(init, str) else list(init)
    if not argv or not str(argv[0]).startswith("/") or any("\0" in str(word) for word in argv):
        raise InvalidInput(
            f"init {init!r} is not valid", remedy="Give auto, or a list that begins with an absolute path."
        )
    return tuple(str(word) for word in argv)


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Context:
    """Refuse an xid that another guest has."""
    for other in others:
        if other.xid == guest.xid:
            raise Conflict(
                f"give guest {guest.name} xid {guest.xid}",
                why=f"guest {other.name} has it",
                remedy="Choose another, or leave xid out for an automatic one.",
            )
    return guest.context


def observe(site: Site, guest: Guest, now: Running | None) -> Context | None:
    return None if now is None else now.guest.context


def compare(desired: Context, observed: Context | None) -> list[Change]:
    """The host name changes live, ``timeout`` and ``autostart`` concern the host only; the rest needs a restart."""
    if observed is None:
        return []
    return compare_fields("context", desired, observed, live=("hostname", "timeout", "autostart"))


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    now = running.read(site, guest.name)
    if now is None:
        return
    if any(change.option == "hostname" for change in changes):
        uts.set_hostname(now.pid, guest.hostname)
    live = {change.option: change.after for change in changes}
    running.update_section(
        site, guest.with_section("context", dataclasses.replace(now.guest.context, **live)), "context"
    )
