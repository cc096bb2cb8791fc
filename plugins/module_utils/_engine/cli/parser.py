# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be written on the command line of ``vserver``."""

from __future__ import annotations

import argparse
import os

#: The modules of this package that do what commands say.
GROUPS = ("life", "inside", "look", "service")
#: Those of a guest's unit, see :mod:`..guest_unit`.
STEPS = ("start", "stop", "clear")


def parser(version: str) -> argparse.ArgumentParser:
    """The parser; what it parses has ``group`` and ``command``: a module of this package, a key of its COMMANDS.

    * version: what ``--version`` says
    """
    top = argparse.ArgumentParser(prog="vserver", description="Act on the guests of this host.")
    top.add_argument("--version", action="version", version=f"vserver {version}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(group: str, name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(group=group, command=name)
        return command

    command = add("look", "list", "show all guests of this host")
    command.add_argument("--json", action="store_true", help="everything known of each, as an array in JSON")
    add("life", "start", "start a guest; it is fine when it runs").add_argument("name", metavar="NAME")
    command = add("life", "stop", "stop guests in order; it is fine when they do not run")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?")
    which.add_argument("--all", action="store_true", help="every guest that runs, all at a time")
    command = add("life", "autostart", "start the guests that are to start with the host")
    command.add_argument("--parallel", metavar="N", type=_count, default=os.cpu_count() or 1, help="as many at a time")
    command = add("inside", "enter", "a login shell in a running guest, on a terminal of its own")
    command.add_argument("name", metavar="NAME")
    command = add("inside", "exec", "run a command as root in a running guest; its exit status is ours")
    command.add_argument("--tty", action="store_true", help="on a terminal of its own")
    command.add_argument(
        "--report", metavar="WORD", help="have its exit status on standard error, after WORD, instead of as ours"
    )
    command.add_argument("name", metavar="NAME")
    command.add_argument("argv", metavar="-- COMMAND [ARGUMENT ...]", nargs=argparse.REMAINDER)
    command = add("service", "bind-unit", "for systemd: bind the unit this runs in")
    command.add_argument("name", metavar="UNIT")
    command = add("service", "guest-unit", "for systemd: a step of the unit that a guest is")
    command.add_argument("step", metavar="STEP", choices=STEPS, help=", ".join(STEPS))
    command.add_argument("name", metavar="NAME")
    return top


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
