# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.linux.vserver.plugins.module_utils._engine.cli.table import NONE, moment, size

DOCUMENTATION = r"""
name: table
short_description: Show guests as an aligned table
description:
  - Turns guests, as M(linux.vserver.guest_info) tells them, into the lines of a table.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
positional: _input
options:
  _input:
    description: The guests, as in RV(linux.vserver.guest_info#module:guests), and the C(host) of each if that is known.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at all guests
  linux.vserver.guest_info:
  register: all_guests

- name: Show them
  ansible.builtin.debug:
    msg: "{{ all_guests.guests | linux.vserver.table }}"
"""

RETURN = r"""
_value:
  description: The lines, headings first.
  type: list
  elements: str
"""


def _text(value: Any) -> str:
    return NONE if value in (None, "", 0) else str(value)


#: Heading, cell of a guest, whether numbers stand in it.
_COLUMNS: Sequence[tuple[str, Callable[[Mapping[str, Any]], str], bool]] = (
    ("GUEST", lambda guest: _text(guest["name"]), False),
    ("XID", lambda guest: _text(guest.get("xid")), True),
    ("ADDRESS", lambda guest: ",".join(guest.get("addresses") or ()) or NONE, False),
    ("STATE", lambda guest: str(guest["state"]), False),
    ("PROCESSES", lambda guest: _text(guest.get("processes")), True),
    ("MEMORY", lambda guest: size(guest.get("memory_bytes")), True),
    ("DISK USED", lambda guest: size(guest.get("disk_bytes")), True),
    ("STARTED (UTC)", lambda guest: moment(guest.get("started_at")), False),
)


#: In front of them, when guests of several hosts are told apart.
_HOST = ("HOST", lambda guest: str(guest["host"]), False)


def table(guests: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines of a table of ``guests``."""
    try:
        guests = list(guests)
        columns = [_HOST, *_COLUMNS] if any("host" in guest for guest in guests) else _COLUMNS
        rows = [[cell(guest) for _heading, cell, _right in columns] for guest in guests]
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(
            f"linux.vserver.table takes the guests of linux.vserver.guest_info: {type(error).__name__}: {error}"
        ) from error
    rows.insert(0, [heading for heading, _cell, _right in columns])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, (_heading, _cell, right) in zip(row, widths, columns)
        ).rstrip()
        for row in rows
    ]


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"table": table}
