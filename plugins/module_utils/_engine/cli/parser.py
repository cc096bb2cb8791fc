# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be written on the command line of ``vserver``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence

#: The modules of this package that do what commands say.
GROUPS = ("activity", "inside", "life", "look", "run", "service", "watch")
SORTS = ("cpu", "memory", "io", "traffic", "processes", "sockets", "name", "disk")
TOP_SORTS = ("cpu", "memory", "time", "guest")
#: Those of a guest's unit, see :mod:`..guest_unit`.
STEPS = ("start", "stop", "clear")

EXIT_STATUS = """\
0 done, 1 not done (why is on standard error), 2 cannot be meant. exec, enter and run: the command's own,
128+n when signal n ended it, 126 or 127 when it cannot be executed or is not found. status: 3 when one does not run."""


class _Help(argparse.HelpFormatter):
    """As wide as the terminal. argparse makes one for every option, and would read a module to ask for the width."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdigit() else 80
        if not columns.isdigit():
            with contextlib.suppress(OSError):
                width = os.get_terminal_size().columns
        super().__init__(prog, width=width - 2)


def parser(version: str, only: str | None = None) -> argparse.ArgumentParser:
    """The parser; what it parses has ``group`` and ``command``: a module of this package, a key of its COMMANDS.

    * version: what ``--version`` says
    * only: the one command it is to know, because to make them all takes longer than to enter a guest
    """
    top = argparse.ArgumentParser(
        prog="vserver",
        description="Act on the guests of this host.",
        epilog=f"Exit status: {EXIT_STATUS}",
        formatter_class=_Help,
    )
    top.add_argument("--version", action="version", version=f"vserver {version}")
    commands = top.add_subparsers(prog="vserver", metavar="COMMAND", required=True)
    for name, (group, text, fill) in _COMMANDS.items():
        if only in (None, name):
            command = commands.add_parser(
                name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=_Help
            )
            command.set_defaults(group=group, command=name)
            fill(command)
    return top


def for_line(version: str, argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser that a command line needs: of its command where that is known, else of all."""
    return parser(version, argv[0] if argv and argv[0] in _COMMANDS else None)


# --- looking ---------------------------------------------------------------------------------------------------------


def _list(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="everything known of each, as an array in JSON")


def _status(command: argparse.ArgumentParser) -> None:
    _guests(command, "every guest")
    command.add_argument("--json", action="store_true", help="as an array in JSON")


def _logs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", action="store_true", help="what the host's journal has of the guest's unit instead")
    command.add_argument("--follow", action="store_true", help="go on with what comes")
    command.add_argument("--lines", metavar="N", type=_count, default=50, help="the last so many (50)")
    command.add_argument("--json", action="store_true", help="an object of JSON a line")
    command.add_argument("name", metavar="NAME")


def _ps(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", metavar="NAME", nargs="*", help="of these guests only")
    command.add_argument("--host", action="store_true", help="the host's own too")
    command.add_argument("--json", action="store_true", help="as an array in JSON")


def _stat(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", metavar="NAME", nargs="*", help="these guests only")
    command.add_argument("--disk", action="store_true", help="with what is on disk: looks at every file once a minute")
    _live(command, SORTS)


def _top(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", metavar="NAME", nargs="*", help="of these guests only")
    command.add_argument("--host", action="store_true", help="the host's own too")
    _live(command, TOP_SORTS)


def _live(command: argparse.ArgumentParser, sorts: Sequence[str]) -> None:
    command.add_argument("--sort", choices=sorts, default="cpu", help="the order (cpu)")
    command.add_argument("--interval", metavar="SECONDS", type=_seconds, default=2.0, help="between two looks (2)")
    command.add_argument("--once", action="store_true", help="once, after one interval; so it is without a terminal")
    command.add_argument("--json", action="store_true", help="once, as an array in JSON")


def _metrics(command: argparse.ArgumentParser) -> None:
    command.add_argument("--disk", action="store_true", help="with what is on disk: looks at every file of the guests")
    command.add_argument("--openmetrics", action="store_true", help="as OpenMetrics")


def _events(command: argparse.ArgumentParser) -> None:
    command.add_argument("--hook", metavar="PROGRAM", help="run it for each: PROGRAM GUEST EVENT COUNT DETAIL")
    command.add_argument("--journal", action="store_true", help="in the host's journal, not on standard output")
    command.add_argument("--interval", metavar="SECONDS", type=_seconds, default=1.0, help="between two looks (1)")
    command.add_argument("--json", action="store_true", help="an object of JSON a line")


# --- their lives -----------------------------------------------------------------------------------------------------


def _every(command: argparse.ArgumentParser) -> None:
    _guests(command, "every guest")


def _running(command: argparse.ArgumentParser) -> None:
    _guests(command, "every guest that runs")


def _kill(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--signal", metavar="SIGNAL", type=_signal, help="by name or number; the guests are not stopped"
    )
    _running(command)


def _autostart(command: argparse.ArgumentParser) -> None:
    command.add_argument("--parallel", metavar="N", type=_count, default=os.cpu_count() or 1, help="as many at a time")


# --- inside ----------------------------------------------------------------------------------------------------------


def _enter(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME")


def _exec(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME")
    _how(command)


def _task(command: argparse.ArgumentParser) -> None:
    command.add_argument("word", metavar="WORD", help="has its exit status after it, on standard error")
    command.add_argument("name", metavar="NAME")
    command.add_argument("argv", metavar="COMMAND [ARGUMENT ...]", nargs=argparse.REMAINDER)


def _run(command: argparse.ArgumentParser) -> None:
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
    command.add_argument(
        "--spectator", action="store_true", help="it sees every process of the host, and can act on none but its own"
    )
    _how(command)


def _how(command: argparse.ArgumentParser) -> None:
    """How a command is run in a guest, and the command."""
    command.add_argument("--tty", action="store_true", help="on a terminal of its own")
    command.add_argument("--uid", metavar="N", type=int, default=0, help="as this user of the guest (0)")
    command.add_argument("--gid", metavar="N", type=int, default=0, help="as this group of the guest (0)")
    command.add_argument(
        "--user", metavar="NAME", help="as this user of the guest's /etc/passwd, with its groups and home directory"
    )
    command.add_argument("--cwd", metavar="DIRECTORY", default="/", help="in this directory of the guest (/)")
    command.add_argument(
        "--env", metavar="NAME=VALUE", action="append", default=[], help="with this variable; may be repeated"
    )
    command.add_argument("argv", metavar="-- COMMAND [ARGUMENT ...]", nargs=argparse.REMAINDER)


def _guests(command: argparse.ArgumentParser, all_of: str) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("names", metavar="NAME", nargs="*", default=[])
    which.add_argument("--all", action="store_true", help=all_of)


def _completion(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", choices=("bash",))


# --- for systemd -----------------------------------------------------------------------------------------------------


def _bind_unit(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="UNIT")


def _guest_unit(command: argparse.ArgumentParser) -> None:
    command.add_argument("step", metavar="STEP", choices=STEPS, help=", ".join(STEPS))
    command.add_argument("name", metavar="NAME")


def _lxcfs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wait", metavar="SECONDS", type=_seconds, default=0.0, help="for its answer, so long (0)")


#: Command → its group, what it does, and what fills its parser.
_COMMANDS: Mapping[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {
    "list": ("look", "show all guests of this host", _list),
    "status": ("look", "tell what is known of guests; 3 when one of them does not run", _status),
    "logs": ("look", "show the journal of a running guest", _logs),
    "ps": ("activity", "show processes, each with its guest", _ps),
    "top": ("activity", "show processes, each with its guest, again and again", _top),
    "stat": ("activity", "show what running guests use, again and again", _stat),
    "metrics": ("activity", "print what guests use, for Prometheus", _metrics),
    "events": ("watch", "tell what happens to guests, as it happens, until it is ended", _events),
    "start": ("life", "start guests; it is fine when they run", _every),
    "stop": ("life", "stop guests in order; it is fine when they do not run", _running),
    "restart": ("life", "stop guests in order, and start them", _running),
    "kill": ("life", "end every process of guests at once, or send each a signal", _kill),
    "freeze": ("life", "stop the time of running guests", _running),
    "thaw": ("life", "have frozen guests go on", _running),
    "autostart": ("life", "start the guests that are to start with the host", _autostart),
    "enter": ("inside", "a login shell in a running guest, on a terminal of its own", _enter),
    "exec": ("inside", "run a command in a running guest, as its root; its exit status is ours", _exec),
    "run": ("run", "run a command in a new guest, which is removed when it ends", _run),
    "completion": ("", "print what a shell needs to complete command lines", _completion),
    "task": ("", "for the connection plugin: run a command in a running guest, as its root", _task),
    "bind-unit": ("service", "for systemd: bind the unit this runs in", _bind_unit),
    "guest-unit": ("service", "for systemd: a step of the unit that a guest is", _guest_unit),
    "lxcfs": ("service", "have running guests show what the lxcfs of now tells, or nothing of a dead one", _lxcfs),
}


# --- values ----------------------------------------------------------------------------------------------------------


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
