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
from collections.abc import Sequence

from . import lifecycle, store, unit_start
from .errors import VserverError
from .site import Site


def main(version: str, argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 0, 1 for what did not work, 2 for what cannot be meant.

    * version: of the file that is run (see :mod:`.engine_file`)
    """
    arguments = _parser(version).parse_args(argv)
    if os.geteuid() != 0:
        print(f"vserver: this needs root, and runs as uid {os.geteuid()}", file=sys.stderr)
        return 1
    try:
        arguments.act(Site(), arguments)
    except VserverError as error:
        print(f"vserver: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"vserver: {error}", file=sys.stderr)
        return 1
    return 0


def _parser(version: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vserver", description="Act on the guests of this host.")
    parser.add_argument("--version", action="version", version=f"vserver {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, act, text in (
        ("start", _start, "start a guest; it is fine when it runs"),
        ("stop", _stop, "stop a guest in order; it is fine when it does not run"),
        ("bind-unit", _bind_unit, "for systemd: bind the unit this runs in to its addresses"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("name", metavar="UNIT" if act is _bind_unit else "NAME")
        command.set_defaults(act=act)
    return parser


def _start(site: Site, arguments: argparse.Namespace) -> None:
    store.require(site, arguments.name)
    lifecycle.set_state(site, arguments.name, "started", {})


def _stop(site: Site, arguments: argparse.Namespace) -> None:
    store.require(site, arguments.name)
    lifecycle.set_state(site, arguments.name, "stopped", {})


def _bind_unit(site: Site, arguments: argparse.Namespace) -> None:
    unit_start.bind_unit(site, arguments.name)
