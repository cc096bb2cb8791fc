#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: limits
short_description: Set what a guest may use of memory, processors, disks and processes
description:
  - Sets what a guest may use at most, and its share where guests compete, as C(vlimit) and C(vsched) did for
    Linux-VServer, by the kernel's control groups and resource limits.
  - All of it changes on a running guest at once, and is read back from the kernel.
  - What this host cannot keep is refused, with the reason. That is so for a missing controller, an unknown device, more
    than the host has. Nothing is left out silently.
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
      - Memory in bytes, or with a unit (V(512M), V(1.5G)). Units are powers of 1024. Page cache counts.
      - What does not fit is reclaimed from the guest itself. When that does not do, a process of the guest is killed.
      - V(max) means no limit.
    type: str
  memory_high:
    description:
      - Memory above which the guest's processes are put to sleep and its memory is reclaimed, but nothing is killed.
      - A little below O(memory) it keeps many processes of a guest from reclaiming at once.
      - Needs control groups of version 2. V(max) means none.
    type: str
  memory_swap:
    description:
      - Swap that the guest may use beyond its memory. V(0) is no swap at all, V(max) means no limit.
      - With control groups of version 1, O(memory) is needed as well.
    type: str
  memory_low:
    description:
      - Memory that is not taken from the guest as long as others have some to spare, in bytes or with a unit.
      - The group that all guests are in, C(vserver.slice) on a host with systemd, claims the sum of it, so that it is
        kept from the host's own services as well.
      - Needs control groups of version 2, mounted with C(memory_recursiveprot), as systemd does. V(0) is none.
    type: str
  memory_min:
    description:
      - Memory that is never taken from the guest, under the same conditions as O(memory_low). When there is no other,
        processes are killed for want of memory.
    type: str
  cpus:
    description:
      - Processor time, in processors; V(1.5) is one and a half.
      - V(max) means no limit.
    type: str
  cpu_period:
    description:
      - The time in which O(cpus) is dealt out, from V(1ms) to V(1s). Without a unit it is microseconds.
      - The kernel's own, and the meaning of V(100ms), is a tenth of a second.
    type: str
  cpu_burst:
    description:
      - Processor time that the guest may save up when it does not use all it is given, up to one period's. V(0) is
        none.
      - Together, O(cpu_period), O(cpus) and O(cpu_burst) are the interval, fill rate and tokens of Linux-VServer's
        token bucket.
    type: str
  cpu_weight:
    description:
      - The guest's share of processor time where others want it too, from V(1) to V(10000). Everybody's is V(100)
        otherwise.
    type: str
  cpu_idle:
    description:
      - Whether the guest gets only the processor time that nobody else wants.
    type: bool
  cpuset:
    description:
      - The processors the guest may run on, such as V(0-2,5). V(max) means all.
    type: str
  processes:
    description:
      - Number of processes and threads.
      - V(auto), what a new guest has, is 15 % of what the host can have, as systemd lets a service. A systemd inside
        lets each of its services have 15 % of that.
      - V(max) means no limit.
    type: str
  sockets:
    description:
      - Number of network sockets (TCP, UDP and so on) that the guest's processes may have made and not closed. One more
        is refused with C(EPERM).
      - Connections that it accepts do not count. C(nofile) of O(rlimits) and O(processes) bound these.
      - Needs Linux 6.1. V(max) means no limit.
    type: str
  disk:
    description:
      - Space on disk that the guest may have of its own, in bytes or with a unit. What it shares with its template
        does not count. C(df) in the guest shows it.
      - Needs project quota on the file system of the guests, ext4 or XFS. V(max) means no limit.
    type: str
  inodes:
    description:
      - Number of files and directories of its own, under the same conditions.
    type: str
  io:
    description:
      - What the guest may read from and write to disks in a second.
      - The list is complete; a device that is not in it is not limited. V([]) lifts all.
      - With control groups of version 1, what goes through the page cache is not counted when it is written.
    type: list
    elements: dict
    suboptions:
      device:
        description: A whole disk, by any of its names in C(/dev).
        type: path
        required: true
      read:
        description: Bytes a second, or with a unit (V(10M)).
        type: str
      write:
        description: Bytes a second, or with a unit (V(10M)).
        type: str
      read_operations:
        description: Operations a second.
        type: str
      write_operations:
        description: Operations a second.
        type: str
  rlimits:
    description:
      - Resource limits of each of the guest's processes, as in C(setrlimit(2)), by name without C(RLIMIT_) in lower
        case (V(nofile), V(as), V(core), V(nice), V(rtprio), ...).
      - A value is a number or V(infinity) for both the soft and the hard limit, or a dictionary with C(soft) and
        C(hard).
      - The dictionary is complete; a limit that is not in it is not set by us.
    type: dict
  sysctls:
    description:
      - Kernel settings that each guest has for itself, by name (V(kernel.sem), V(kernel.shmmax), V(fs.mqueue.msg_max),
        V(user.max_inotify_instances), ...). Those of IPC and user namespaces are.
      - The dictionary is complete; a setting that is not in it is not set by us.
      - They are settings, no walls. The guest's own root may change them.
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

- name: No swap, slower before it is full, and no more than 20 MiB a second from and to the disk
  linux.vserver.limits:
    name: web1
    memory: 512M
    memory_high: 480M
    memory_swap: 0
    io:
      - device: /dev/sda
        read: 20M
        write: 20M

- name: A token bucket with 7 tokens every 32 ms, and at most 50
  linux.vserver.limits:
    name: web1
    cpus: 0.219
    cpu_period: 114ms
    cpu_burst: 24ms

- name: Keep 256 MiB for it while others have some to spare, and no more than 200 sockets
  linux.vserver.limits:
    name: web1
    memory_low: 256M
    sockets: 200

- name: Four times the share of others, on two processors
  linux.vserver.limits:
    name: web1
    cpu_weight: 400
    cpuset: 0-1

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
      C(disk_bytes) and C(disk_shared_bytes).
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
