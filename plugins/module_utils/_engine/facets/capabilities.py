# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet capabilities: what is left of root's powers (Linux-VServer: bcapabilities, reducecap).

The set is the bounding set of the guest's process 1, and holds in the guest's own user namespace only: none of these
powers reaches the host.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInput
from ..facet import Change, compare_fields
from ..kernel import capability
from ..model import Capabilities, Guest
from ..running import Running
from ..site import Site

_COMMON = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_TTY_CONFIG",
    "LEASE",
    "SETFCAP",
    "SYS_BOOT",
    "AUDIT_WRITE",
]

#: Profile → the names it keeps, without ``CAP_``.
PROFILES: Mapping[str, tuple[str, ...]] = {
    # An unmodified systemd: it mounts (SYS_ADMIN), drops capabilities of its services (SETPCAP) and sets their
    # scheduling (SYS_NICE); dbus and journald look after SysV IPC of users who log out (IPC_OWNER). A ping that is
    # installed with NET_RAW in its file is not even executed without it; it is no power over the host's network.
    "system": (*_COMMON, "SETPCAP", "SYS_ADMIN", "SYS_NICE", "IPC_OWNER", "NET_RAW"),
    # Linux-VServer's own list: util-vserver, lib/getinsecurebcaps.c.
    "classic": tuple(_COMMON),
    "none": (),
}


#: What a spectator is left without, whatever its profile; they would reach its own processes only.
_OVER_PROCESSES = frozenset(("CAP_KILL", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE"))


def parse(options: Mapping[str, Any], recorded: Capabilities) -> Capabilities:
    """Options: ``profile``, ``add``, ``drop``; names with or without ``CAP_``, in any case."""
    profile, add, drop = (options.get(key) for key in ("profile", "add", "drop"))
    if profile is not None and profile not in PROFILES:
        raise InvalidInput(f"capability profile {profile!r} is unknown", remedy=f"Use one of {', '.join(PROFILES)}.")
    result = Capabilities(
        recorded.profile if profile is None else profile,
        recorded.add if add is None else _names(add),
        recorded.drop if drop is None else _names(drop),
    )
    both = sorted(set(result.add) & set(result.drop))
    if both:
        raise InvalidInput(f"{', '.join(both)} both added and dropped", remedy="Name each capability once.")
    return result


def _names(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({_name(str(text)) for text in given}))


def _name(text: str) -> str:
    name = "CAP_" + text.strip().upper().removeprefix("CAP_")
    if name not in capability.NAMES:
        import difflib  # for a mistake; who enters a guest waits for the others

        near = difflib.get_close_matches(name, capability.NAMES, n=1, cutoff=0.0)
        raise InvalidInput(f"capability {text!r} is unknown", remedy=f"Did you mean {near[0]}?")
    return name


@functools.lru_cache(maxsize=64)
def kept(section: Capabilities) -> tuple[str, ...]:
    """The capabilities a guest keeps, full names, sorted (pure)."""
    profile = {"CAP_" + name for name in PROFILES[section.profile]}
    return tuple(sorted((profile | set(section.add)) - set(section.drop)))


def of(guest: Guest) -> tuple[str, ...]:
    """The capabilities a guest keeps, full names, sorted; a spectator none that are over processes (pure)."""
    withheld = _OVER_PROCESSES if guest.context.spectator else frozenset()
    return tuple(name for name in kept(guest.capabilities) if name not in withheld)


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Capabilities:
    """Refuse to give a spectator power over processes."""
    refused = _OVER_PROCESSES & set(guest.capabilities.add)
    if guest.context.spectator and refused:
        raise InvalidInput(
            f"give guest {guest.name} {', '.join(sorted(refused))}",
            why="it is a spectator, which acts on no process",
            remedy="Take it out of add, or have it be no spectator.",
        )
    return guest.capabilities


def observe(site: Site, guest: Guest, now: Running | None) -> Capabilities | None:
    """The set in force: as started, plus what the kernel says process 1 holds beyond it."""
    if now is None:
        return None
    started = now.guest.capabilities
    excess = set(capability.bounding(now.pid)) - set(kept(started))
    if not excess:
        return started
    return Capabilities(started.profile, tuple(sorted({*started.add, *excess})), started.drop)


def compare(desired: Capabilities, observed: Capabilities | None) -> list[Change]:
    """A process's bounding set can only shrink from inside, so every difference needs a restart."""
    if observed is None or kept(desired) == kept(observed):
        return []
    return compare_fields("capabilities", desired, observed)


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    raise AssertionError("no capability changes live")
