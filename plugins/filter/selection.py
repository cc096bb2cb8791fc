# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.parsing.dataloader import DataLoader

DOCUMENTATION = r"""
name: selection
short_description: Find out which guests on which hosts a run is about
description:
  - Hosts know nothing of C(--limit) on their guests, and guests nothing of one on their host. This tells, for both, who
    acts for which guests.
  - A host acts for its guests, as far as the limit does not exclude them. A guest that is in the limit while its host
    is not acts for itself and its fellows, through its host; unless the limit excludes its host.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
positional: _input
options:
  _input:
    description: The inventory's groups, C(groups). Guests are in the group C(vserver_guests).
    type: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars). A guest's C(vserver_host) names its host.
    type: dict
    required: true
  limit:
    description: What C(--limit) says, C(ansible_limit). Empty, when there is none.
    type: str
    default: ""
  hosts:
    description: The pattern of hosts of guests.
    type: str
    default: vserver_hosts
"""

EXAMPLES = r"""
- name: Show who acts for whom
  ansible.builtin.debug:
    msg: "{{ groups | linux.vserver.selection(hostvars, ansible_limit | default('')) }}"
"""

RETURN = r"""
_value:
  description: Those who act, in the order of the inventory.
  type: list
  elements: dict
  contains:
    name:
      description: The host, or the first of the guests that act by themselves.
      type: str
      sample: host1
    host:
      description: The host of the guests.
      type: str
      sample: host1
    guests:
      description: The guests, by their names in the inventory.
      type: list
      elements: str
      sample:
        - web1
"""


def _inventory(groups: Mapping[str, Sequence[str]], limit: str = "") -> InventoryManager:
    inventory = InventoryManager(DataLoader(), parse=False)
    for group, names in groups.items():
        inventory.add_group(group)
        for name in names:
            inventory.add_host(name, group=group)
    inventory.subset(limit or None)
    return inventory


def _excluded(groups: Mapping[str, Sequence[str]], limit: str) -> set[str]:
    """All that the limit names only to leave it out."""
    patterns = []
    for pattern in split_host_pattern(limit):
        if pattern.startswith("@"):
            with open(pattern[1:], encoding="utf-8") as file:
                patterns += [line.strip() for line in file]
        else:
            patterns.append(pattern)
    out = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return {host.name for host in _inventory(groups).get_hosts(out)} if out else set()


def selection(
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    limit: str = "",
    hosts: str = "vserver_hosts",
) -> list[dict[str, Any]]:
    """Who acts for which guests."""
    inventory, excluded = _inventory(groups, limit), _excluded(groups, limit)
    everywhere = {host.name for host in _inventory(groups).get_hosts(hosts)}
    selected: dict[str, list[str]] = {host.name: [] for host in inventory.get_hosts(hosts)}
    acting = set(selected)
    within = {host.name for host in inventory.list_hosts("vserver_guests")} if "vserver_guests" in groups else set()
    for guest in groups.get("vserver_guests", ()):
        if not acting and guest not in within:
            continue  # its variables need not be looked at, which takes a while for all guests of a fleet
        host = _host_of(guest, groups, hostvars)
        if host not in everywhere or host in excluded or guest in excluded:
            continue
        if host in acting:
            selected[host].append(guest)
        elif guest in within:
            selected.setdefault(host, []).append(guest)
    return [
        {"name": host if host in acting else guests[0], "host": host, "guests": guests}
        for host, guests in selected.items()
    ]


def _host_of(guest: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    host = hostvars[guest].get("vserver_host")
    if host is None:
        raise AnsibleFilterError(f"guest {guest} of the inventory has no variable vserver_host, which names its host")
    if host not in groups["all"]:
        raise AnsibleFilterError(f"guest {guest} is to be on host {host}, which the inventory does not have")
    return str(host)


class FilterModule:
    """The collection's filter for the selection of guests."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"selection": selection}
