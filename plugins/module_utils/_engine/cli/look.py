# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that show guests and their journals."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from .. import enter, info, running, store
from ..errors import InvalidInput
from ..site import Site
from . import table

#: Exit status of ``status`` when a guest does not run, as the LSB has it for services.
_NOT_RUNNING = 3

_COLUMNS = (
    table.Column("GUEST", "name"),
    table.Column("XID", "xid", right=True),
    table.Column("STATE", "state", colour=table.state_colour),
    table.Column("ADDRESSES", "addresses", table.words),
    table.Column("PROCESSES", "processes", right=True),
    table.Column("MEMORY", "memory_bytes", table.size, right=True),
    table.Column("STARTED (UTC)", "started_at", table.moment),
)


def _list(site: Site, arguments: argparse.Namespace) -> int:
    if arguments.json:
        table.show_json(info.guests(site))
    else:
        guests = info.guests(site, disk=False)
        table.show(_COLUMNS, guests)
        sys.stdout.flush()
        sys.stderr.write("".join(f"vserver: warning: {guest['error']}\n" for guest in guests if "error" in guest))
    return 0


def _status(site: Site, arguments: argparse.Namespace) -> int:
    guests = info.guests(site, None if arguments.all else arguments.names)
    if arguments.json:
        table.show_json(guests)
    else:
        sys.stdout.write("\n\n".join("\n".join(_lines(guest)) for guest in guests) + "\n")
    return 0 if all(guest["state"] == "running" for guest in guests) else _NOT_RUNNING


def _lines(guest: Mapping[str, Any]) -> list[str]:
    """What is known of one guest, for people."""
    state = str(guest["state"])
    title = table.painted(guest["name"], "bold") if table.coloured() else guest["name"]
    if "error" in guest:
        return [title, f"  state  {state}", f"  error  {guest['error']}"]
    root, binding, limits = guest["root"], guest["binding"], guest["limits"]
    facts = {
        "state": table.painted(state, table.state_colour(state)) if table.coloured() else state,
        "xid": guest["xid"],
        "host name": guest["hostname"],
        "root": f"{root['template']} {root['version']} ({root['method']})",
        "addresses": table.words(guest["addresses"]),
        "network": binding["network"],
        "capabilities": _capabilities(guest["capabilities"]),
        "memory": f"{table.size(guest['memory_bytes'])} of {table.size(limits['memory'])}",
        "processors": table.text(limits["cpus"]),
        "processes": f"{guest['processes']} of {table.text(limits['processes'])}",
        "disk": f"{table.size(guest['disk_bytes'])} of {table.size(limits['disk'])}, "
        f"beside {table.size(guest['disk_shared_bytes'])} of its template",
        "autostart": "yes" if guest["context"]["autostart"] else "no",
        "process 1": f"{table.text(guest['pid'])}, since {table.moment(guest['started_at'])} UTC",
    }
    if guest["pid"] is None:
        del facts["process 1"]
    width = max(map(len, facts))
    return [
        title,
        *(f"  {key.ljust(width)}  {value}" for key, value in facts.items()),
        *(f"  waits for a restart: {reason}" for reason in guest["restart_reasons"]),
    ]


def _capabilities(of: Mapping[str, Any]) -> str:
    changes = [f"+{name}" for name in of["add"]] + [f"-{name}" for name in of["drop"]]
    return " ".join([of["profile"], *changes])


def _logs(site: Site, arguments: argparse.Namespace) -> int:
    """journalctl(1): the guest's own, in the guest; or the host's, of the guest's unit."""
    store.require(site, arguments.name)
    words = ["journalctl", "--no-pager", "--lines", str(arguments.lines)]
    words += ["--follow"] if arguments.follow else []
    words += ["--output", "json"] if arguments.json else []
    if arguments.host:
        words += ["--unit", site.unit(arguments.name)]
        try:
            os.execvp(words[0], words)
        except FileNotFoundError as error:
            raise InvalidInput(
                f"show the host's journal of guest {arguments.name}",
                why="this host has no journalctl",
                remedy=f"Look at {site.bundle(arguments.name) / 'runtime.log'}.",
            ) from error
    if running.read(site, arguments.name) is None:
        raise InvalidInput(
            f"show the journal of guest {arguments.name}",
            why="the guest does not run",
            remedy="Start it, or see with --host what the host has noted of it.",
        )
    return enter.run(site, arguments.name, words)


COMMANDS = {"list": _list, "status": _status, "logs": _logs}
