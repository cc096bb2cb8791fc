#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: limits
short_description: Set a guest's ceilings of memory, processor time, processes and per-process resources
description:
  - Sets what a guest may use at most, as C(vlimit) and C(vsched) did for Linux-VServer, by the kernel's control groups
    and resource limits.
  - All of it changes on a running guest at once.
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
  memory:
    description:
      - Memory in bytes, or with a unit (V(512M), V(1.5G)). Units are powers of 1024.
      - V(max) means no limit.
    type: str
  cpus:
    description:
      - Processor time, in processors; V(1.5) is one and a half.
      - V(max) means no limit.
    type: str
  processes:
    description:
      - Number of processes and threads.
      - V(max) means no limit.
    type: str
  rlimits:
    description:
      - Resource limits of each of the guest's processes, as in C(setrlimit(2)), by name without C(RLIMIT_) in lower
        case (V(nofile), V(as), V(core), ...).
      - A value is a number or V(infinity) for both the soft and the hard limit, or a dictionary with C(soft) and
        C(hard).
      - The dictionary is complete; a limit that is not in it is not set by us.
    type: dict
seealso:
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: Half a gigabyte, one and a half processors, 200 processes
  linux.vserver.limits:
    name: web1
    memory: 512M
    cpus: 1.5
    processes: 200

- name: Lift the limit of memory, whatever else is set
  linux.vserver.limits:
    name: web1
    memory: max

- name: Set resource limits of processes
  linux.vserver.limits:
    name: web1
    rlimits:
      nofile:
        soft: 1024
        hard: 4096
      core: 0
"""

RETURN = r"""
guest:
  description:
    - The guest as it stands after the change, in the shape of RV(linux.vserver.guest_info#module:guests), but without
      C(disk_bytes).
    - In check mode, the guest as it stands. Empty when it does not exist.
  returned: success
  type: dict
  sample:
    name: web1
    xid: 101
    state: running
    limits:
      memory: 536870912
      cpus: 1.5
      processes: 200
      rlimits: {}
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
    module.configure("limits")


if __name__ == "__main__":
    main()
