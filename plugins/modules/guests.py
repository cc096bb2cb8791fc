#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guests
short_description: Make many guests all that they shall be, in one call
description:
  - M(linux.vserver.guest) for a list. What is there is read once, compared in memory, and what differs is made so,
    several guests at a time.
  - Nothing is changed when an entry of the list cannot be meant, or two of them ask for the same name, xid or address.
  - A guest that fails keeps none of the others from being done. The task then fails at the end, and names them all.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._host
options:
  guests:
    description:
      - The guests. An option that is not given is not managed and keeps its value.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The guest's name.
        type: str
        required: true
      restart:
        description: Whether the running guest may be restarted, once, when a setting cannot reach it otherwise.
        type: bool
        default: false
      template:
        description: See O(linux.vserver.clone#module:template).
        type: str
      version:
        description: See O(linux.vserver.clone#module:version).
        type: str
      method:
        description: See O(linux.vserver.clone#module:method).
        type: str
        choices:
          - auto
          - overlay
          - copy
      addresses:
        description: See O(linux.vserver.address_binding#module:addresses).
        type: list
        elements: str
      interface:
        description: See O(linux.vserver.address_binding#module:interface).
        type: str
      prefix:
        description: See O(linux.vserver.address_binding#module:prefix).
        type: int
      network:
        description: See O(linux.vserver.address_binding#module:network).
        type: str
        choices:
          - bound
          - host
      loopback:
        description: See O(linux.vserver.address_binding#module:loopback).
        type: str
        choices:
          - private
          - host
          - none
      ping:
        description: See O(linux.vserver.address_binding#module:ping).
        type: bool
      multicast:
        description: See O(linux.vserver.address_binding#module:multicast).
        type: bool
      shared:
        description: See O(linux.vserver.address_binding#module:shared).
        type: bool
      capabilities_profile:
        description: See O(linux.vserver.capabilities#module:profile).
        type: str
        choices:
          - system
          - classic
          - none
      capabilities_add:
        description: See O(linux.vserver.capabilities#module:add).
        type: list
        elements: str
      capabilities_drop:
        description: See O(linux.vserver.capabilities#module:drop).
        type: list
        elements: str
      memory:
        description: See O(linux.vserver.limits#module:memory).
        type: str
      memory_high:
        description: See O(linux.vserver.limits#module:memory_high).
        type: str
      memory_swap:
        description: See O(linux.vserver.limits#module:memory_swap).
        type: str
      memory_low:
        description: See O(linux.vserver.limits#module:memory_low).
        type: str
      memory_min:
        description: See O(linux.vserver.limits#module:memory_min).
        type: str
      cpus:
        description: See O(linux.vserver.limits#module:cpus).
        type: str
      cpu_period:
        description: See O(linux.vserver.limits#module:cpu_period).
        type: str
      cpu_burst:
        description: See O(linux.vserver.limits#module:cpu_burst).
        type: str
      cpu_weight:
        description: See O(linux.vserver.limits#module:cpu_weight).
        type: str
      cpu_idle:
        description: See O(linux.vserver.limits#module:cpu_idle).
        type: bool
      cpuset:
        description: See O(linux.vserver.limits#module:cpuset).
        type: str
      processes:
        description: See O(linux.vserver.limits#module:processes).
        type: str
      sockets:
        description: See O(linux.vserver.limits#module:sockets).
        type: str
      disk:
        description: See O(linux.vserver.limits#module:disk).
        type: str
      inodes:
        description: See O(linux.vserver.limits#module:inodes).
        type: str
      io:
        description: See O(linux.vserver.limits#module:io).
        type: list
        elements: dict
        suboptions:
          device:
            description: A disk.
            type: path
            required: true
          read:
            description: Bytes a second.
            type: str
          write:
            description: Bytes a second.
            type: str
          read_operations:
            description: Operations a second.
            type: str
          write_operations:
            description: Operations a second.
            type: str
      rlimits:
        description: See O(linux.vserver.limits#module:rlimits).
        type: dict
      sysctls:
        description: See O(linux.vserver.limits#module:sysctls).
        type: dict
      xid:
        description: See O(linux.vserver.context#module:xid).
        type: int
      hostname:
        description: See O(linux.vserver.context#module:hostname).
        type: str
      init:
        description: See O(linux.vserver.context#module:init).
        type: list
        elements: str
      timeout:
        description: See O(linux.vserver.context#module:timeout).
        type: int
      autostart:
        description: See O(linux.vserver.context#module:autostart).
        type: bool
      user_namespace:
        description: See O(linux.vserver.context#module:user_namespace).
        type: bool
      spectator:
        description: See O(linux.vserver.context#module:spectator).
        type: bool
      state:
        description:
          - What the guest shall be at the end, as in O(linux.vserver.context#module:state).
          - V(absent) stops the guest and forgets its settings. Whether its data go as well has to be said.
        type: str
        choices:
          - present
          - started
          - stopped
          - restarted
          - frozen
          - absent
        default: started
      keep_data:
        description:
          - Whether an absent guest's clone stays with the guest's data. V(false) removes them for good.
          - Nothing is removed as long as this is not given.
        type: bool
  purge:
    description:
      - Whether the host's guests that are not in O(guests) become absent. O(keep_data) has to be given for it.
      - Those that C(vserver run) makes are let alone; they go by themselves.
    type: bool
    default: false
  keep_data:
    description:
      - Whether the data of purged guests, and of absent ones that do not say themselves, stay.
    type: bool
  parallel:
    description:
      - How many guests are worked on at a time. Twice as many as the host has processors, when not given.
    type: int
seealso:
  - module: linux.vserver.guest
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: Two guests, and no others
  linux.vserver.guests:
    guests:
      - name: web1
        template: debian-12
        addresses:
          - 192.0.2.10/24
      - name: db1
        template: debian-12
        state: stopped
    purge: true
    keep_data: true
"""

RETURN = r"""
results:
  description:
    - What became of each guest, in the order of the list, then those that were purged.
    - What they are now is told by M(linux.vserver.guest_info).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The guest's name.
      returned: always
      type: str
      sample: web1
    changed:
      description: Whether something of it was changed.
      returned: always
      type: bool
      sample: true
    failed:
      description: Whether it is not what it should be.
      returned: always
      type: bool
      sample: false
    msg:
      description: Why it failed, in one line. The parts are in C(what), C(why) and C(remedy).
      returned: when it failed
      type: str
      sample: guest web1 has no clone yet. Name the template to clone.
    diff:
      description: The settings that differ, C(before) and C(after).
      returned: always
      type: dict
      sample:
        before:
          memory: null
        after:
          memory: 536870912
    restart_required:
      description: Whether it runs with settings that wait for a restart.
      returned: always
      type: bool
      sample: false
    restart_reasons:
      description: What waits for a restart.
      returned: always
      type: list
      elements: str
      sample: []
restart_required:
  description: Whether one of the guests has settings that wait for a restart.
  returned: always
  type: bool
  sample: false
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    fleet = engine.load("fleet")
    keep = params["keep_data"]
    return fleet.bring_all(
        site,
        [module.wish(guest, keep) for guest in params["guests"]],
        purge=params["purge"],
        keep_data=keep is not False,
        parallel=params["parallel"],
        check=check,
    )


def main() -> None:
    spec: arguments.Spec = {
        "guests": {"type": "list", "elements": "dict", "required": True, "options": arguments.guest_spec()},
        "purge": {"type": "bool", "default": False},
        "keep_data": {"type": "bool"},
        "parallel": {"type": "int"},
    }
    module.change_all(spec, operate, required_if=[("purge", True, ("keep_data",))])


if __name__ == "__main__":
    main()
