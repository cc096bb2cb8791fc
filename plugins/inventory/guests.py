# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: Find the guests that hosts have
description:
  - Asks each host once, all of them side by side, which guests it has.
  - Guests get the connection P(linux.vserver.guest#connection), and are in the groups C(vserver_guests),
    C(vserver_host_HOST) and C(vserver_state_STATE).
  - What a host says of a guest is its variable C(vserver_info), as in RV(linux.vserver.guest_info#module:guests).
  - The file's name has to end in C(vserver.yml) or C(vserver.yaml).
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
notes:
  - Hosts are those of inventory sources before this one, also within a directory, whose files are read in the order of
    their names. Their own variables say how to reach them.
options:
  plugin:
    description: Has to be V(linux.vserver.guests).
    type: str
    required: true
    choices:
      - linux.vserver.guests
  hosts:
    description: Groups and hosts of the inventory to ask.
    type: list
    elements: str
    default:
      - vserver_hosts
  host_become:
    description: How to become root on the hosts, as O(linux.vserver.guest#connection:host_become).
    type: str
    choices:
      - none
      - sudo
      - doas
    default: none
  timeout:
    description: Seconds in which a host has to take up the connection.
    type: int
    default: 10
  strict:
    description:
      - Whether a host that does not answer, and an expression that cannot be evaluated, ends it all.
      - Otherwise there is a warning for a host that does not answer, and the others' guests are there.
"""

EXAMPLES = r"""
# guests.vserver.yml
plugin: linux.vserver.guests
host_become: sudo
keyed_groups:
  - key: vserver_info.root.template
    prefix: template
compose:
  first_address: vserver_info.addresses | first | default(none)
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleParserError
from ansible.inventory.helpers import get_group_vars
from ansible.playbook.play_context import PlayContext
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

from ansible_collections.linux.vserver.plugins.plugin_utils import _host

#: Hosts asked at a time.
_AT_ONCE = 20
Found = dict[str, list[dict[str, Any]]]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Guests by host."""

    NAME = "linux.vserver.guests"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(("vserver.yml", "vserver.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        use, found = self.get_option("cache") and cache, None
        if use:
            found = self._cache.get(key)
        if found is None:
            found, complete = self._ask(self._hosts())
            if self.get_option("cache") and complete:
                self._cache[key] = found
        for host, guests in sorted(found.items()):
            for guest in guests:
                self._add(host, guest)

    def _hosts(self) -> list[str]:
        names: dict[str, None] = {}
        for name in self.get_option("hosts"):
            group = self.inventory.groups.get(name)
            if group is None and name not in self.inventory.hosts and name != "localhost":
                self.display.warning(f"linux.vserver.guests: no inventory source before this one has {name}")
                continue
            names.update(dict.fromkeys([host.name for host in group.get_hosts()] if group else [name]))
        return list(names)

    def _variables(self, name: str) -> dict[str, Any]:
        """Of a host, as far as inventory sources before this one have them, with group_vars and host_vars."""
        host = self.inventory.get_host(name)
        sources = self.inventory.processed_sources
        groups = host.get_groups()
        variables = combine_vars(
            get_group_vars(groups), get_vars_from_inventory_sources(self.loader, sources, groups, "all")
        )
        variables = combine_vars(variables, host.get_vars())
        variables = combine_vars(variables, get_vars_from_inventory_sources(self.loader, sources, [host], "all"))
        self.templar.available_variables = variables
        of_connection = {key: value for key, value in variables.items() if key.startswith("ansible_")}
        return {**self.templar.template(of_connection), "inventory_hostname": name}

    def _ask(self, names: list[str]) -> tuple[Found, bool]:
        """The guests of the hosts that answer, and whether all of them did."""
        # Made one after another: Ansible's loader of plugins is not for several threads.
        keys = {"timeout": self.get_option("timeout")}
        hosts = {name: _host.connection(PlayContext(), self._variables(name), keys) for name in names}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = {name: pool.submit(self._ask_one, host) for name, host in hosts.items()}
        found: Found = {}
        for name, answer in answers.items():
            try:
                found[name] = answer.result()
            except (AnsibleError, ValueError) as error:
                text = f"host {name} does not tell its guests: {error}"
                if self.get_option("strict"):
                    raise AnsibleParserError(text) from error
                self.display.warning(text)
        return found, len(found) == len(names)

    def _ask_one(self, host: Any) -> list[dict[str, Any]]:
        words = _host.line([_host.PROGRAM, "list", "--json"], self.get_option("host_become"))
        status, stdout, stderr = host.exec_command(words, in_data=_host.Nothing(), sudoable=False)
        if status:
            raise AnsibleConnectionFailure(_host.failure(status, stderr))
        guests: list[dict[str, Any]] = json.loads(stdout)
        return guests

    def _add(self, host: str, guest: Mapping[str, Any]) -> None:
        name = guest["name"]
        known = self.inventory.get_host(name)
        other = known.get_vars().get("vserver_host") if known else None
        if other not in (None, host):
            self.display.warning(f"guest {name} of {host} is left out: {other} has a guest of that name")
            return
        for group in ("vserver_guests", f"vserver_host_{host}", f"vserver_state_{guest['state']}"):
            self.inventory.add_host(name, group=self.inventory.add_group(self._sanitize_group_name(group)))
        variables: dict[str, Any] = {
            "ansible_connection": "linux.vserver.guest",
            "vserver_host": host,
            "vserver_name": name,
            "vserver_info": dict(guest),
        }
        if self.get_option("host_become") != "none":
            variables["vserver_host_become"] = self.get_option("host_become")
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
