# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entering a running guest: a command in its namespaces and cgroup, confined as its own processes are.

The runtime's ``exec`` is not used, because it cannot be kept from abstract unix sockets: the guest's own Landlock
domain can be inherited only, and a runtime inside another domain may not open the guest's namespaces (landlock(7),
"Ptrace restrictions"). So a domain is entered here, after the namespaces.

This finds out what has to be known of the guest; :mod:`.caller` then has :mod:`.joiner` take a command there.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from . import caller, files, oci, running, seccomp
from .caller import PLAIN
from .entrance import Entrance, Question
from .errors import InvalidInput, VserverError
from .facets import capabilities
from .joiner import Way
from .kernel import cgroup, cgroup_v1, seccomp_filter
from .model import ID_COUNT
from .site import Site


def run(site: Site, name: str, argv: Sequence[str], way: Way = PLAIN) -> int:
    """Run ``argv`` in guest ``name`` and return its exit status as a shell gives it: 128+n when signal n ended it.

    Signals that end a program are passed on meanwhile. 127 is a command that was not found, 126 one that cannot be
    executed; why is on its standard error. A command that is killed because the guest ends is an error. To be called
    from the only thread of a process. Raises :class:`InvalidInput`, :class:`VserverError`.
    """
    into = find(site, name)
    _check(way)
    return caller.run(into, name, argv, way)


def _check(way: Way) -> None:
    """Refuse what cannot be meant in any guest (pure)."""
    for number in (way.uid, way.gid):
        if not 0 <= number < ID_COUNT:
            raise InvalidInput(f"id {number} does not exist in a guest", remedy=f"Give 0 to {ID_COUNT - 1}.")
    for name, value in way.environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidInput(f"environment variable {name!r} cannot be set", remedy="Write NAME=VALUE.")
    if "\0" in way.cwd:
        raise InvalidInput(f"directory {way.cwd!r} does not exist", remedy="Give one of the guest's.")


def find(site: Site, name: str) -> Entrance:
    """The way into a guest. Raises :class:`InvalidInput` for one that does not run, :class:`VserverError`."""
    now = running.read(site, name)
    if now is None:
        raise InvalidInput(f"guest {name} does not run", remedy="Start it first.")
    try:
        layout = cgroup.layout()
        outer = running.outer_group(site, layout, name)
        others = cgroup_v1.groups(layout, outer)
        program = seccomp_filter.compiled(seccomp.profile(os.uname().machine))
    except OSError as error:
        raise VserverError(f"enter guest {name}", why=str(error.strerror or error)) from error
    limits, context = now.guest.limits, now.guest.context
    return Entrance(
        now.pid,
        now.start,
        str(layout.tree),
        f"{layout.tree}/{outer}/guest",
        others,
        capabilities.of(now.guest),
        program,
        {getattr(resource, f"RLIMIT_{key.upper()}"): pair for key, pair in limits.rlimits.items()},
        dict(setting.split("=", 1) for setting in oci.ENVIRONMENT),
        context.user_namespace,
        context.spectator,
    )


def find_and_note(site: Site, name: str, question: Question) -> Entrance:
    """Like :func:`find`, and the next one who has the same question will know."""
    into = find(site, name)
    with contextlib.suppress(VserverError):
        files.write(Path(question.place), question.answer(into))
    return into
