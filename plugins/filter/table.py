# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.linux.vserver.plugins.module_utils._engine.cli.table import (
    NONE,
    Column,
    duration,
    lines,
    moment,
    size,
    text,
    words,
)

DOCUMENTATION = r"""
name: table
short_description: Show guests as an aligned table
description:
  - Turns guests, as M(linux.vserver.guest_info) tells them, into the lines of a table. With what they use, where that
    has been gathered.
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


_COLUMNS: Sequence[Column] = (
    Column("GUEST", "name", _text),
    Column("XID", "xid", _text, right=True),
    Column("ADDRESS", "addresses", words),
    Column("STATE", "state", _text),
    Column("PROCESSES", "processes", _text, right=True),
    Column("MEMORY", "memory_bytes", size, right=True),
    Column("DISK USED", "disk_bytes", size, right=True),
    Column("STARTED (UTC)", "started_at", moment),
)


def _counter(show: Callable[[Any], str], counter: str) -> Callable[[Any], str]:
    """A counter of a guest's usage."""
    return lambda usage: show((usage or {}).get(counter))


def _traffic(counter: str) -> Callable[[Any], str]:
    """What passed an interface of the host's other than lo."""

    def show(usage: Mapping[str, Any] | None) -> str:
        slots = (usage or {}).get("network")
        return size(slots and sum(slots[family][counter] for family in ("ipv4", "ipv6")))

    return show


#: Before the last of them, when what guests use has been gathered.
_USAGE: Sequence[Column] = (
    Column("CPU TIME", "usage", _counter(duration, "cpu_seconds"), right=True),
    Column("READ", "usage", _counter(size, "read_bytes"), right=True),
    Column("WRITTEN", "usage", _counter(size, "written_bytes"), right=True),
    Column("RECEIVED", "usage", _traffic("received_bytes"), right=True),
    Column("SENT", "usage", _traffic("sent_bytes"), right=True),
    Column("OOM", "usage", _counter(text, "oom_kills"), right=True),
)
#: In front of them, when guests of several hosts are told apart.
_HOST = Column("HOST", "host", _text)


def table(guests: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines of a table of ``guests``."""
    try:
        rows = list(guests)
        several, used = (any(key in guest for guest in rows) for key in ("host", "usage"))
        return lines([*[_HOST][:several], *_COLUMNS[:-1], *(_USAGE if used else ()), _COLUMNS[-1]], rows)
    except (AttributeError, KeyError, TypeError) as error:
        raise AnsibleFilterError(
            f"linux.vserver.table takes the guests of linux.vserver.guest_info: {type(error).__name__}: {error}"
        ) from error


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"table": table}
