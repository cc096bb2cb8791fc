# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The man page vserver(8), made from the parser, so that neither can be without the other (pure)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

from . import parser
from .completion import commands

#: Begins the page, and tells it from another program's.
MARK = '.\\" linux.vserver engine'

_DESCRIPTION = (
    "vserver acts on the guests of this host as the modules of the Ansible collection linux.vserver do; it is made of "
    "the same source. It needs root. Guests are defined by Ansible, and described in the collection's documentation.",
    "Commands that take several guests act on them side by side, and tell at the end which of them failed. Tables are "
    "coloured on a terminal only. Where \\fB\\-\\-json\\fR is an option, what it writes is for programs.",
)
_INSIDE = (
    "Who enters a guest is confined as its own processes are: by the same namespaces, control group, capabilities, "
    "system call filter and addresses. The command is found, and its user looked up, by what lies in the guest. "
    "Standard input, output and signals that end a program are passed on.",
)
_RUN = (
    "What \\fBrun\\fR makes is a guest as any other while it lasts, named run\\-XXXXXXXX. One that was killed is "
    "removed by the next \\fBrun\\fR, \\fBstart\\fR or \\fBautostart\\fR. Over the host's own tree the command has "
    "the rights of a user who owns nothing there: it reads what everybody may, and what it writes is gone afterwards. "
    "The host's tree is that of its root file system alone; with /usr on a file system of its own, name a template.",
    "With \\fB\\-\\-spectator\\fR it has the host's process ids and sees every process of the host and of all guests, "
    "as a user does who owns none of them. Whatever acts on another process than its own is refused.",
)
_FILES = {
    "/var/lib/vserver": "templates, guests and their settings",
    "/run/vserver": "what runs now; gone after a reboot",
    "/etc/systemd/system/vserver@.service": "the unit that each guest is on hosts with systemd",
}
_ENVIRONMENT = {"NO_COLOR": "when not empty, nothing is coloured", "TERM": "passed on to a terminal in a guest"}
_EXAMPLES = {
    "vserver list": "what there is, and what of it runs",
    "vserver enter web1": "a login shell in guest web1",
    "vserver exec \\-\\-user www\\-data \\-\\-cwd /srv web1 \\-\\- ls \\-l": "one command, as a user of the guest",
    "vserver run \\-\\-memory 256M \\-\\-address 192.0.2.7 \\-\\- make check": "a program of the host, held in bounds",
    "vserver run \\-\\-spectator \\-\\- htop": "all processes of the host and of its guests, to look at only",
    "vserver stat \\-\\-once \\-\\-json": "what guests use, for a program",
}


def page(version: str) -> str:
    """The page in roff (man(7)) for this version of the engine."""
    known = commands(parser.parser(version))
    lines = [f"{MARK} {version}", f'.TH VSERVER 8 "" "linux.vserver {version}" "System Administration"']
    lines += [".SH NAME", "vserver \\- act on the guests of this host"]
    lines += [".SH SYNOPSIS", ".nf", *map(_synopsis, known.values()), ".fi"]
    lines += [".SH DESCRIPTION", *_paragraphs(_DESCRIPTION), ".SH COMMANDS"]
    for name, command in known.items():
        lines += [f".SS {_text(name)}", _synopsis(command), ".PP", _text(command.description or "")]
        lines += _paragraphs({"enter": _INSIDE, "run": _RUN}.get(name, ()))
        lines += [line for action in command._actions for line in _option(action)]
    lines += [".SH EXIT STATUS", _text(parser.EXIT_STATUS)]
    for heading, entries in (("FILES", _FILES), ("ENVIRONMENT", _ENVIRONMENT)):
        lines += [f".SH {heading}", *_tagged({_text(word): _text(meaning) for word, meaning in entries.items()})]
    lines += [".SH EXAMPLES", *_tagged(_EXAMPLES)]
    lines += [".SH SEE ALSO", ".BR namespaces (7),", ".BR cgroups (7),", ".BR systemd.unit (5)"]
    return "\n".join(lines) + "\n"


def _text(words: str) -> str:
    """Words as roff takes them literally."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def _paragraphs(of: Sequence[str]) -> Iterator[str]:
    for paragraph in of:
        yield from (".PP", paragraph.replace("'", "\\(aq"))


def _tagged(of: Mapping[str, str]) -> Iterator[str]:
    for word, meaning in of.items():
        yield from (".TP", f"\\fB{word}\\fR", meaning)


def _synopsis(command: argparse.ArgumentParser) -> str:
    """The command with its arguments, and its options as one word."""
    words = [f"\\fB{_text(command.prog)}\\fR"]
    if any(action.option_strings and action.dest != "help" for action in command._actions):
        words.append("[\\fIOPTION\\fR ...]")
    for action in command._actions:
        if not action.option_strings:
            words.append(_argument(action))
    return " ".join(words)


def _argument(action: argparse.Action) -> str:
    if action.nargs == argparse.REMAINDER:
        return _text(str(action.metavar))
    name = f"\\fI{_text(_metavar(action))}\\fR"
    return f"[{name} ...]" if action.nargs == "*" else name


def _metavar(action: argparse.Action) -> str:
    return "|".join(action.choices) if action.choices else str(action.metavar or action.dest.upper())


def _option(action: argparse.Action) -> Iterator[str]:
    """An option of a command, or an argument that is explained; --help goes without saying."""
    if action.dest == "help" or not (action.help and action.help != argparse.SUPPRESS):
        return
    words = ", ".join(f"\\fB{_text(word)}\\fR" for word in action.option_strings)
    value = "" if action.nargs == 0 else f"\\fI{_text(_metavar(action))}\\fR"
    yield from (".TP", f"{words} {value}".strip(), _text(action.help))
