# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that run something in a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import enter
from ..errors import InvalidInput
from ..joiner import Way
from ..site import Site

if TYPE_CHECKING:
    import argparse

#: Every distribution has it; as a login shell it reads the guest's own profile.
_LOGIN_SHELL = ("/bin/sh", "-c", 'exec "$(command -v bash || echo sh)" -l')


def _enter(site: Site, arguments: argparse.Namespace) -> int:
    return enter.run(site, arguments.name, _LOGIN_SHELL, Way(tty=True))


def words(arguments: argparse.Namespace) -> list[str]:
    """The command to run; argparse leaves the ``--`` before it, or takes it away."""
    found: list[str] = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not found:
        raise InvalidInput("no command to run is given", remedy="Write it at the end: -- COMMAND [ARGUMENT ...].")
    return found


def way(arguments: argparse.Namespace) -> Way:
    """How the command is to be run (pure). Raises :class:`InvalidInput`."""
    if arguments.user is not None and (arguments.uid or arguments.gid):
        raise InvalidInput("user is given beside uid or gid", remedy="The user's own ids are those in its guest.")
    environment = {}
    for setting in arguments.env:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise InvalidInput(f"environment variable {setting!r} cannot be meant", remedy="Write NAME=VALUE.")
        environment[name] = value
    return Way(arguments.tty, arguments.uid, arguments.gid, arguments.user, arguments.cwd, environment)


def _exec(site: Site, arguments: argparse.Namespace) -> int:
    return enter.run(site, arguments.name, words(arguments), way(arguments))


COMMANDS = {"enter": _enter, "exec": _exec}
