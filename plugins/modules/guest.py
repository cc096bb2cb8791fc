#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest
short_description: Make one guest all that it shall be
description:
  - All of M(linux.vserver.clone), M(linux.vserver.address_binding), M(linux.vserver.capabilities),
    M(linux.vserver.limits) and M(linux.vserver.context) in one task, with one restart at most.
  - Ends in the same settings and the same running guest as those modules one after another.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._guest
  - linux.vserver._host
options:
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
seealso:
  - module: linux.vserver.guests
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: A guest with an address and half a gigabyte of memory
  linux.vserver.guest:
    name: web1
    template: debian-12
    addresses:
      - 192.0.2.10/24
    memory: 512M

- name: Remove a guest with all of its data
  linux.vserver.guest:
    name: web1
    state: absent
    keep_data: false
"""

RETURN = r"""
guest:
  description:
    - The guest as it stands after the change, in the shape of RV(linux.vserver.guest_info#module:guests), but without
      C(disk_bytes) and C(disk_shared_bytes).
    - In check mode, the guest as it stands. Empty when it does not exist.
  returned: success
  type: dict
  sample:
    name: web1
    xid: 101
    state: running
    context:
      hostname: web1.example.com
      init: auto
      timeout: 30
      autostart: false
      user_namespace: true
      spectator: false
restart_required:
  description: Whether a running guest has settings that wait for a restart.
  returned: success
  type: bool
  sample: false
restart_reasons:
  description: What waits for a restart, one sentence a setting. Empty when nothing does.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    lifecycle = engine.load("lifecycle")
    return lifecycle.bring(site, module.wish(params), check=check)


def main() -> None:
    module.change(arguments.guest_spec(), operate)


if __name__ == "__main__":
    main()
