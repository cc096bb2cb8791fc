# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``vserver``: what a host does with its guests when no Ansible is there.

Everything it can need of the engine is imported when it starts: the file it comes from may be replaced while it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from . import autostart, enter, lifecycle, store, unit_start
from .errors import InvalidInput, VserverError
from .site import Site

#: Every distribution has it; as a login shell it reads the guest's own profile.
_LOGIN_SHELL = ("/bin/sh", "-c", 'exec "$(command -v bash || echo sh)" -l')


def main(version: str, argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 0, 1 for what did not work, 2 for what cannot be meant.

    * version: of the file that is run (see :mod:`.engine_file`)
    """
    arguments = _parser(version).parse_args(argv)
    if os.geteuid() != 0:
        sys.stderr.write(f"vserver: this needs root, and runs as uid {os.geteuid()}\n")
        return 1
    try:
        status: int = arguments.act(Site(), arguments)
    except (VserverError, OSError) as error:
        sys.stderr.write(f"vserver: {error}\n")
        return 1
    return status


def _parser(version: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vserver", description="Act on the guests of this host.")
    parser.add_argument("--version", action="version", version=f"vserver {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, act: Callable[[Site, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(act=act)
        return command

    add("start", _start, "start a guest; it is fine when it runs").add_argument("name", metavar="NAME")
    command = add("stop", _stop, "stop guests in order; it is fine when they do not run")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?")
    which.add_argument("--all", action="store_true", help="every guest that runs, all at a time")
    command = add("autostart", _autostart, "start the guests that are to start with the host")
    command.add_argument("--parallel", metavar="N", type=_count, default=os.cpu_count() or 1, help="as many at a time")
    add("enter", _enter, "a login shell in a running guest, on a terminal of its own").add_argument(
        "name", metavar="NAME"
    )
    command = add("exec", _exec, "run a command as root in a running guest; its exit status is ours")
    command.add_argument("--tty", action="store_true", help="on a terminal of its own")
    command.add_argument("name", metavar="NAME")
    command.add_argument("argv", metavar="-- COMMAND [ARGUMENT ...]", nargs=argparse.REMAINDER)
    add("bind-unit", _bind_unit, "for systemd: bind the unit this runs in").add_argument("name", metavar="UNIT")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _start(site: Site, arguments: argparse.Namespace) -> int:
    store.require(site, arguments.name)
    lifecycle.set_state(site, arguments.name, "started", {})
    return 0


def _stop(site: Site, arguments: argparse.Namespace) -> int:
    if arguments.all:
        autostart.stop(site)
        return 0
    store.require(site, arguments.name)
    lifecycle.set_state(site, arguments.name, "stopped", {})
    return 0


def _autostart(site: Site, arguments: argparse.Namespace) -> int:
    autostart.start(site, arguments.parallel)
    return 0


def _enter(site: Site, arguments: argparse.Namespace) -> int:
    return enter.run(site, arguments.name, _LOGIN_SHELL, tty=True)


def _exec(site: Site, arguments: argparse.Namespace) -> int:
    words = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not words:
        raise InvalidInput("no command to run is given", remedy="Write vserver exec NAME -- COMMAND [ARGUMENT ...].")
    return enter.run(site, arguments.name, words, tty=arguments.tty)


def _bind_unit(site: Site, arguments: argparse.Namespace) -> int:
    unit_start.bind_unit(site, arguments.name)
    return 0
