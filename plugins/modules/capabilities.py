#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capabilities
short_description: Set which of root's powers a guest keeps
description:
  - Sets the capability bounding set of a guest, as C(reducecap) and the C(bcapabilities) file did for Linux-VServer. No
    process of the guest, root included, can have a capability outside of it.
  - Inside a guest's user namespace, a capability is power over what belongs to the guest, never over the host.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._guest
  - linux.vserver._host
options:
  profile:
    description:
      - The set to start from.
      - V(system) is what a distribution that boots with systemd needs. This is the default of a new guest.
      - V(classic) is the list Linux-VServer gave its guests.
      - V(none) is the empty set.
    type: str
    choices:
      - system
      - classic
      - none
  add:
    description:
      - Capabilities on top of O(profile), with or without C(CAP_), in any case.
    type: list
    elements: str
  drop:
    description:
      - Capabilities taken out of O(profile), with or without C(CAP_), in any case.
    type: list
    elements: str
seealso:
  - module: linux.vserver.context
    description: Its option O(linux.vserver.context#module:user_namespace) decides what a capability reaches.
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: Keep what Linux-VServer allowed, without tracing processes
  linux.vserver.capabilities:
    name: web1
    profile: classic
    drop:
      - sys_ptrace

- name: A guest that runs one program and needs next to nothing
  linux.vserver.capabilities:
    name: worker1
    profile: none
    add:
      - CAP_SETUID
      - CAP_SETGID
    restart: true
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
    capabilities:
      profile: classic
      add: []
      drop:
        - CAP_MKNOD
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

from ansible_collections.linux.vserver.plugins.module_utils._ansible import module


def main() -> None:
    module.configure("capabilities")


if __name__ == "__main__":
    main()
