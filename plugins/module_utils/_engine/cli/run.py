# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that makes a guest for one command."""

from __future__ import annotations

import argparse
from typing import Any

from .. import throwaway
from ..errors import InvalidInput
from ..site import Site
from .inside import way, words


def options(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What is asked of each facet (pure). Raises :class:`InvalidInput`."""
    if arguments.template is None and arguments.version is not None:
        raise InvalidInput("version is given without template", remedy="Name the template as well.")
    clone = {"template": arguments.template, "version": arguments.version}
    return {
        "root": {"method": "host"} if arguments.template is None else clone,
        "binding": {
            "addresses": arguments.address,
            "interface": arguments.interface,
            "network": arguments.network,
            "loopback": arguments.loopback,
        },
        "capabilities": {"profile": arguments.profile, "add": arguments.add, "drop": arguments.drop},
        "limits": {
            "memory": arguments.memory,
            "cpus": arguments.cpus,
            "processes": arguments.processes,
            "rlimits": dict(map(_rlimit, arguments.rlimit)),
        },
        "context": {"hostname": arguments.hostname, "xid": arguments.xid, "spectator": arguments.spectator},
    }


def _rlimit(text: str) -> tuple[str, dict[str, str]]:
    name, equals, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if not (equals and soft):
        raise InvalidInput(f"rlimit {text!r} cannot be meant", remedy="Write NAME=SOFT or NAME=SOFT:HARD.")
    return name, {"soft": soft, "hard": hard if colon else soft}


def _run(site: Site, arguments: argparse.Namespace) -> int:
    return throwaway.run(site, options(arguments), words(arguments), way(arguments))


COMMANDS = {"run": _run}
