# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be written on the command line of ``vserver``."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Callable

#: The modules of this package that do what commands say.
GROUPS = ("activity", "inside", "life", "look", "run", "service")
SORTS = ("cpu", "memory", "processes", "name")
#: Those of a guest's unit, see :mod:`..guest_unit`.
STEPS = ("start", "stop", "clear")

#: Adds a command: group, name, what it is for.
_Add = Callable[[str, str, str], argparse.ArgumentParser]

_EPILOG = """\
Exit status: 0 done, 1 not done (why is on standard error), 2 cannot be meant. exec and enter: the command's own,
128+n when signal n ended it, 126 or 127 when it cannot be executed or is not found. status: 3 when one does not run.
"""


def parser(version: str) -> argparse.ArgumentParser:
    """The parser; what it parses has ``group`` and ``command``: a module of this package, a key of its COMMANDS.

    * version: what ``--version`` says
    """
    top = argparse.ArgumentParser(prog="vserver", description="Act on the guests of this host.", epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"vserver {version}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(group: str, name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(group=group, command=name)
        return command

    _looking(add)
    _life(add)
    _inside(add)
    _run(add)
    command = add("", "completion", "print what a shell needs to complete command lines")
    command.add_argument("shell", choices=("bash",))
    command = add("service", "bind-unit", "for systemd: bind the unit this runs in")
    command.add_argument("name", metavar="UNIT")
    command = add("service", "guest-unit", "for systemd: a step of the unit that a guest is")
    command.add_argument("step", metavar="STEP", choices=STEPS, help=", ".join(STEPS))
    command.add_argument("name", metavar="NAME")
    return top


def _looking(add: _Add) -> None:
    command = add("look", "list", "show all guests of this host")
    command.add_argument("--json", action="store_true", help="everything known of each, as an array in JSON")
    command = add("look", "status", "tell what is known of guests; 3 when one of them does not run")
    _guests(command, "every guest")
    command.add_argument("--json", action="store_true", help="as an array in JSON")
    command = add("look", "logs", "show the journal of a running guest")
    command.add_argument("--host", action="store_true", help="what the host's journal has of the guest's unit instead")
    command.add_argument("--follow", action="store_true", help="go on with what comes")
    command.add_argument("--lines", metavar="N", type=_count, default=50, help="the last so many (50)")
    command.add_argument("--json", action="store_true", help="an object of JSON a line")
    command.add_argument("name", metavar="NAME")
    command = add("activity", "ps", "show processes, each with its guest")
    command.add_argument("names", metavar="NAME", nargs="*", help="of these guests only")
    command.add_argument("--host", action="store_true", help="the host's own too")
    command.add_argument("--json", action="store_true", help="as an array in JSON")
    command = add("activity", "stat", "show what running guests use, again and again")
    command.add_argument("names", metavar="NAME", nargs="*", help="these guests only")
    command.add_argument("--sort", choices=SORTS, default="cpu", help="the order (cpu)")
    command.add_argument("--interval", metavar="SECONDS", type=_seconds, default=2.0, help="between two looks (2)")
    command.add_argument("--once", action="store_true", help="once, after one interval; so it is without a terminal")
    command.add_argument("--json", action="store_true", help="once, as an array in JSON")


def _life(add: _Add) -> None:
    _guests(add("life", "start", "start guests; it is fine when they run"), "every guest")
    _guests(add("life", "stop", "stop guests in order; it is fine when they do not run"), "every guest that runs")
    _guests(add("life", "restart", "stop guests in order, and start them"), "every guest that runs")
    command = add("life", "kill", "end every process of guests at once, or send each a signal")
    command.add_argument(
        "--signal", metavar="SIGNAL", type=_signal, help="by name or number; the guests are not stopped"
    )
    _guests(command, "every guest that runs")
    _guests(add("life", "freeze", "stop the time of running guests"), "every guest that runs")
    _guests(add("life", "thaw", "have frozen guests go on"), "every guest that runs")
    command = add("life", "autostart", "start the guests that are to start with the host")
    command.add_argument("--parallel", metavar="N", type=_count, default=os.cpu_count() or 1, help="as many at a time")


def _inside(add: _Add) -> None:
    command = add("inside", "enter", "a login shell in a running guest, on a terminal of its own")
    command.add_argument("name", metavar="NAME")
    command = add("inside", "exec", "run a command as root in a running guest; its exit status is ours")
    command.add_argument(
        "--report", metavar="WORD", help="have its exit status on standard error, after WORD, instead of as ours"
    )
    command.add_argument("name", metavar="NAME")
    _how(command)


def _run(add: _Add) -> None:
    command = add("run", "run", "run a command in a new guest, which is removed when it ends")
    command.add_argument(
        "--template", metavar="NAME", help="its root is a clone of this; else the host's, copy-on-write"
    )
    command.add_argument("--version", metavar="VERSION", help="of the template; else the newest")
    for option, metavar, text in (
        ("--address", "ADDRESS[/LENGTH]", "bind it to this address"),
        ("--add", "CAPABILITY", "keep this capability too"),
        ("--drop", "CAPABILITY", "take this capability away"),
        ("--rlimit", "NAME=SOFT[:HARD]", "a limit of each process"),
    ):
        command.add_argument(option, metavar=metavar, action="append", default=[], help=f"{text}; may be repeated")
    command.add_argument("--interface", metavar="NAME", help="where its addresses are put")
    command.add_argument("--network", choices=("bound", "host"), help="host: unrestricted")
    command.add_argument("--loopback", choices=("private", "host", "none"), help="what 127.0.0.1 is to it")
    command.add_argument("--profile", choices=("system", "classic", "none"), help="the capabilities it starts from")
    command.add_argument("--memory", metavar="SIZE", help="at most so much, such as 512M")
    command.add_argument("--cpus", metavar="N", help="at most so much processor time, such as 1.5")
    command.add_argument("--processes", metavar="N", help="at most so many")
    command.add_argument("--hostname", metavar="NAME", help="its host name")
    command.add_argument("--xid", metavar="N", type=int, help="the number of its context")
    _how(command)


def _how(command: argparse.ArgumentParser) -> None:
    """How a command is run in a guest, and the command."""
    command.add_argument("--tty", action="store_true", help="on a terminal of its own")
    command.add_argument("--uid", metavar="N", type=int, default=0, help="as this user of the guest (0)")
    command.add_argument("--gid", metavar="N", type=int, default=0, help="as this group of the guest (0)")
    command.add_argument("argv", metavar="-- COMMAND [ARGUMENT ...]", nargs=argparse.REMAINDER)


def _guests(command: argparse.ArgumentParser, all_of: str) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("names", metavar="NAME", nargs="*", default=[])
    which.add_argument("--all", action="store_true", help=all_of)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 3600:
        raise ValueError(text)
    return number


def _signal(text: str) -> signal.Signals:
    if text.isdigit():
        return signal.Signals(int(text))
    name = text.upper()
    if name.removeprefix("SIG") not in (each.name.removeprefix("SIG") for each in signal.Signals):
        raise ValueError(text)
    return signal.Signals["SIG" + name.removeprefix("SIG")]
