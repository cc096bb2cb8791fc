# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that show guests."""

from __future__ import annotations

import argparse
import json

from .. import info
from ..site import Site
from . import table

_COLUMNS = (
    table.Column("GUEST", "name"),
    table.Column("XID", "xid", right=True),
    table.Column("STATE", "state"),
    table.Column("ADDRESSES", "addresses", table.words),
    table.Column("PROCESSES", "processes", right=True),
    table.Column("MEMORY", "memory_bytes", table.size, right=True),
    table.Column("STARTED (UTC)", "started_at", table.moment),
)


def _list(site: Site, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(json.dumps(info.guests(site), indent=1))
    else:
        print(*table.lines(_COLUMNS, info.guests(site)), sep="\n")
    return 0


COMMANDS = {"list": _list}
