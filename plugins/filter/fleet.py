# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: fleet
short_description: Put together what hosts say of their guests
description:
  - Makes one list, for P(linux.vserver.table#filter), of what M(linux.vserver.guest_info) has said of each host.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
positional: _input
options:
  _input:
    description:
      - Those who act for guests, by their names in the inventory. Each has a variable C(vserver_acting), an element of
        what P(linux.vserver.selection#filter) returns, and what it has registered as C(vserver_status).
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show all guests
  ansible.builtin.debug:
    msg: "{{ groups.vserver_acting | linux.vserver.fleet(hostvars) | linux.vserver.table }}"
"""

RETURN = r"""
_value:
  description:
    - The guests, as in RV(linux.vserver.guest_info#module:guests), each with its C(host).
    - A guest that the inventory has and its host has not is V(missing). A host without guests, or without an answer, is
      there once.
  type: list
  elements: dict
"""


def fleet(acting: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All guests of those who act for them."""
    return [row for name in acting for row in _rows(hostvars[name], hostvars)]


def _rows(variables: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    acting, found = variables["vserver_acting"], variables.get("vserver_status") or {}
    host = acting["host"]
    if "guests" not in found:
        return [{"host": host, "name": None, "state": "no answer"}]
    known = {guest["name"]: {**guest, "host": host} for guest in found["guests"]}
    expected = {}
    for name in acting["guests"]:
        of_guest = hostvars[name]
        called = str(of_guest.get("vserver_name") or name)
        gone = of_guest.get("vserver_state") == "absent"
        expected[called] = {"host": host, "name": called, "state": "absent" if gone else "missing"}
    if acting["name"] != host:
        return [known.get(name, row) for name, row in expected.items()]
    missing = [row for name, row in expected.items() if name not in known and row["state"] == "missing"]
    return [*known.values(), *missing] or [{"host": host, "name": None, "state": "no guests"}]


class FilterModule:
    """The collection's filter for what all hosts say."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet": fleet}
