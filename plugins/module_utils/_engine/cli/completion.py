# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion of the command line by a shell, made from the parser (pure)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ..site import Site

_BASH = """\
_vserver()
{{
    local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
        return
    fi
    case $command in
{cases}
    esac
    case $word in
        -*) ;;
        *) words=$(ls {guests} 2>/dev/null) ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _vserver vserver"""


def commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The commands of a parser by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options(command: argparse.ArgumentParser) -> list[str]:
    """The long options of a command, sorted."""
    return sorted(option for action in command._actions for option in action.option_strings if option[:2] == "--")


def bash(parser: argparse.ArgumentParser) -> str:
    """What bash is to read: commands, options, and names of guests as far as the caller may list them."""
    known = commands(parser)
    cases = "\n".join(f'        {name}) words="{" ".join(options(command))}" ;;' for name, command in known.items())
    return _BASH.format(commands=" ".join(known), cases=cases, guests=Site().guests)
