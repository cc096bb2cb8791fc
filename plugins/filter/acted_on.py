# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments

DOCUMENTATION = r"""
name: acted_on
short_description: Turn the guests of a selection into options of module guests
description:
  - A guest of the inventory has every option of module M(linux.vserver.guests) as a variable, with C(vserver_) before
    it. Its name on its host is C(vserver_name), or its name in the inventory.
  - C(data), the directories that M(linux.vserver.rebuild) keeps, may be there, too.
  - A guest with none of these variables has been found on its host by P(linux.vserver.guests#inventory), and nobody has
    said what it shall be. It is left out where no O(state) is asked for.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
positional: _input
options:
  _input:
    description: Guests that the host lists, in its variable C(vserver_guests), each with options of the module.
    type: list
    elements: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  acting:
    description: Who acts for which guests, an element of what P(linux.vserver.selection#filter) returns.
    type: dict
    required: true
  state:
    description:
      - The only thing to ask of each guest. Without it, all that is said of them.
      - V(rebuilt) turns them into options of M(linux.vserver.rebuild), and insists that C(data) is said of each.
    type: str
"""

EXAMPLES = r"""
- name: Stop the selected guests
  linux.vserver.guests:
    guests: "{{ vserver_guests | default([]) | linux.vserver.acted_on(hostvars, vserver_acting, 'stopped') }}"
"""

RETURN = r"""
_value:
  description: The guests, as M(linux.vserver.guests) takes them.
  type: list
  elements: dict
"""

#: Variables of a guest that are no options of it: how it is reached, and what was found out about it.
KNOWN = ("data", "host", "host_become", "info", "name", "pipelining")
_OPTIONS = [name for name in arguments.guest_spec() if name != "name"]


def _options(guest: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """All that the inventory says of one guest."""
    for variable in variables:
        option = str(variable).removeprefix("vserver_")
        if option == variable or option in _OPTIONS or option in KNOWN:
            continue
        near = difflib.get_close_matches(option, _OPTIONS, 1, 0.8)
        if near:
            raise AnsibleFilterError(f"guest {guest} has a variable {variable}; is vserver_{near[0]} meant?")
    all_options = [*_OPTIONS, "data"]
    given = {option: variables[f"vserver_{option}"] for option in all_options if f"vserver_{option}" in variables}
    return {"name": _name(guest, variables), **{option: value for option, value in given.items() if value is not None}}


def _name(guest: str, variables: Mapping[str, Any]) -> str:
    return str(variables.get("vserver_name") or guest)


def _rebuilt(guest: Mapping[str, Any]) -> dict[str, Any]:
    if guest.get("data") is None:
        raise AnsibleFilterError(
            f"nothing says what of guest {guest['name']} is kept: name its directories in vserver_data, or [] for none"
        )
    return {option: guest[option] for option in ("name", "template", "version", "data") if option in guest}


def acted_on(
    listed: Iterable[Mapping[str, Any]],
    hostvars: Mapping[str, Mapping[str, Any]],
    acting: Mapping[str, Any],
    state: str | None = None,
) -> list[dict[str, Any]]:
    """What to ask of the guests of one host."""
    guests: Sequence[Mapping[str, Any]] = list(listed) if acting["name"] == acting["host"] else []
    found = [_options(name, hostvars[name]) for name in acting["guests"]]
    if state is None:
        said = [*guests, *(guest for guest in found if guest.keys() - {"name", "data"})]
        return [{option: value for option, value in guest.items() if option != "data"} for guest in said]
    there = [guest for guest in (*guests, *found) if state == "absent" or guest.get("state") != "absent"]
    if state == "rebuilt":
        return [_rebuilt(guest) for guest in there]
    return [{"name": guest["name"], "state": state} for guest in there]


class FilterModule:
    """The collection's filter for what is asked of selected guests."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"acted_on": acted_on}
