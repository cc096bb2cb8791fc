#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_info
short_description: Tell the settings and the live state of guests
description:
  - Tells what is recorded of guests, and what is true of them now.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.info_module
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._host
options:
  names:
    description:
      - The guests to tell about, all of the host's when not given.
      - A name that no guest has is an error.
    type: list
    elements: str
  gather:
    description:
      - What to look for beyond settings and state. V([]) is nothing, and fast.
      - V(disk) is RV(guests[].disk_bytes) and RV(guests[].disk_shared_bytes), for which every file of the guests is
        looked at.
      - V(usage) is RV(guests[].usage).
    type: list
    elements: str
    choices:
      - disk
      - usage
    default:
      - disk
seealso:
  - module: linux.vserver.host_info
"""

EXAMPLES = r"""
- name: Look at all guests of the host
  linux.vserver.guest_info:
  register: all_guests

- name: Look at one guest
  linux.vserver.guest_info:
    names: web1
  register: web1

- name: Look at what all guests use
  linux.vserver.guest_info:
    gather: usage
  register: used

- name: Insist that the guest runs
  ansible.builtin.assert:
    that: web1.guests[0].state == "running"
"""

RETURN = r"""
guests:
  description: The guests, by name; in the order of O(names) when that is given.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The guest's name.
      returned: always
      type: str
      sample: web1
    xid:
      description: The number of its context.
      returned: always
      type: int
      sample: 101
    state:
      description:
        - V(running), V(stopped) or V(frozen).
        - V(unreadable) when its record, or what is noted of its run, cannot be read. Then there are name, state and
          RV(guests[].error) only.
      returned: always
      type: str
      sample: running
    error:
      description: Why nothing can be told of it, and what to do.
      returned: when the state is V(unreadable)
      type: str
      sample: >-
        read the record /var/lib/vserver/guests/web1/guest.json: not JSON (Expecting value: line 1 column 1 (char 0)).
        Put a backup of it in its place, or remove its directory, with the guest's data.
    hostname:
      description: Its host name.
      returned: always
      type: str
      sample: web1
    addresses:
      description: Its addresses, without prefix length.
      returned: always
      type: list
      elements: str
      sample:
        - 192.0.2.10
    pid:
      description: The host's process id of its init; V(none) when it is not running.
      returned: always
      type: int
      sample: 4711
    started_at:
      description: When its init started, in UTC; V(none) when it is not running.
      returned: always
      type: str
      sample: "2026-08-01T12:00:00+00:00"
    processes:
      description: Number of its processes.
      returned: always
      type: int
      sample: 9
    memory_bytes:
      description: Memory its processes use, page cache included.
      returned: always
      type: int
      sample: 23068672
    own_uptime:
      description:
        - Whether it is up since its own boot, by a time namespace, and not since the host's.
        - V(none) when it is not running.
      returned: always
      type: bool
      sample: true
    lxcfs:
      description:
        - Whether files of lxcfs show it its own memory, processors and load. V(none) when it is not running.
      returned: always
      type: bool
      sample: false
    disk_bytes:
      description: Space on disk that is its own, without what it shares with its template.
      returned: when V(disk) is in O(gather)
      type: int
      sample: 167936
    disk_shared_bytes:
      description: Space on disk of the template below its clone, which other clones have as well; 0 of a copy.
      returned: when V(disk) is in O(gather)
      type: int
      sample: 245366784
    usage:
      description:
        - What it has used since it started, and uses now, by the kernel's counters. V(none) when it is not running.
        - What this host's kernel does not count is V(none), and RV(guests[].usage.not_counted) says why.
      returned: when V(usage) is in O(gather)
      type: dict
      contains:
        uptime_seconds:
          description: Seconds since its init started.
          returned: always
          type: float
          sample: 86400.5
        cpu_seconds:
          description: Processor time.
          returned: always
          type: float
          sample: 12.5
        cpu_user_seconds:
          description: Of it, in programs.
          returned: always
          type: float
          sample: 9.5
        cpu_system_seconds:
          description: Of it, in the kernel.
          returned: always
          type: float
          sample: 3.0
        cpu_periods:
          description: Periods of its limit of processor time so far.
          returned: always
          type: int
          sample: 1200
        throttled_periods:
          description: Those of them in which it had used it up.
          returned: always
          type: int
          sample: 30
        throttled_seconds:
          description: How long it had used it up.
          returned: always
          type: float
          sample: 1.25
        memory_bytes:
          description: Memory, page cache included.
          returned: always
          type: int
          sample: 23068672
        memory_peak_bytes:
          description: The most of it so far.
          returned: always
          type: int
          sample: 41943040
        memory_swap_bytes:
          description: Swap.
          returned: always
          type: int
          sample: 0
        memory_anonymous_bytes:
          description: Memory of its processes that is in no file.
          returned: always
          type: int
          sample: 12582912
        memory_cache_bytes:
          description: Page cache.
          returned: always
          type: int
          sample: 8388608
        memory_low_events:
          description: How often it had to give back memory that it was promised.
          returned: always
          type: int
          sample: 0
        memory_high_events:
          description: How often it was at C(memory_high).
          returned: always
          type: int
          sample: 0
        memory_max_events:
          description: How often it was at C(memory).
          returned: always
          type: int
          sample: 0
        oom_events:
          description: How often an allocation was about to fail for want of memory.
          returned: always
          type: int
          sample: 0
        oom_kills:
          description: Processes that were killed for want of memory.
          returned: always
          type: int
          sample: 0
        read_bytes:
          description: Read from disks.
          returned: always
          type: int
          sample: 1048576
        written_bytes:
          description: Written to disks.
          returned: always
          type: int
          sample: 4096
        read_operations:
          description: Number of reads.
          returned: always
          type: int
          sample: 64
        written_operations:
          description: Number of writes.
          returned: always
          type: int
          sample: 1
        processes:
          description: Number of its processes.
          returned: always
          type: int
          sample: 9
        tasks:
          description:
            - What counts for its limit C(processes).
            - Also each thread, and each process that has ended and is not waited for.
          returned: always
          type: int
          sample: 11
        processes_refused:
          description: How often one was too many.
          returned: always
          type: int
          sample: 0
        process_states:
          description: Number of processes in each state, by the letter that C(ps) has for it.
          returned: always
          type: dict
          sample:
            R: 1
            S: 8
        sockets:
          description: TCP and UDP sockets, however they are connected.
          returned: always
          type: int
          sample: 4
        sockets_refused:
          description: How often a socket was one too many.
          returned: always
          type: int
          sample: 0
        pressure:
          description:
            - By resource, V(cpu), V(memory) and V(io), how much of the time V(some) of its processes waited for it, or
              V(full), all of them at once. Of each, C(avg10), C(avg60) and C(avg300) in percent of the last so many
              seconds, and C(total_seconds).
          returned: always
          type: dict
          sample:
            cpu:
              some:
                avg10: 1.5
                avg60: 0.5
                avg300: 0.25
                total_seconds: 12.5
        network:
          description:
            - What the programs of its binding let through, by family, V(ipv4) and V(ipv6), each with C(received_bytes),
              C(received_packets), C(sent_bytes) and C(sent_packets). Bytes count from the IP header on.
            - V(local_ipv4) and V(local_ipv6) are what passed C(lo), that is between it and itself, the host, or other
              guests of the host.
          returned: always
          type: dict
          sample:
            ipv4:
              received_bytes: 1048576
              received_packets: 800
              sent_bytes: 40960
              sent_packets: 400
        not_counted:
          description: Why what is V(none) is not counted, by its name.
          returned: always
          type: dict
          sample:
            pressure: "the kernel measures no pressure: it was built without, or psi=1 is not on its command line"
    root:
      description: Where its root comes from, as set by M(linux.vserver.clone).
      returned: always
      type: dict
      contains:
        template:
          description: The template's name.
          returned: always
          type: str
          sample: debian-12
        version:
          description: The template's version.
          returned: always
          type: str
          sample: 20260801T120000Z
        method:
          description: How it was cloned, V(overlay) or V(copy).
          returned: always
          type: str
          sample: overlay
    binding:
      description: Its network, as set by M(linux.vserver.address_binding).
      returned: always
      type: dict
      contains:
        addresses:
          description: The addresses with their prefix lengths.
          returned: always
          type: list
          elements: str
          sample:
            - 192.0.2.10/24
        interface:
          description: The interface that carries them.
          returned: always
          type: str
          sample: eth0
        network:
          description: V(bound) to the addresses, or all of the V(host)'s.
          returned: always
          type: str
          sample: bound
        loopback:
          description: Whether V(127.0.0.1) and V(::1) are V(private), the V(host)'s, or V(none).
          returned: always
          type: str
          sample: private
        ping:
          description: Whether it may send echo requests.
          returned: always
          type: bool
          sample: false
        multicast:
          description: Whether it may use multicast and broadcast.
          returned: always
          type: bool
          sample: false
        shared:
          description: Whether other guests may have its addresses, too.
          returned: always
          type: bool
          sample: false
        programs:
          description: The binding's programs that the kernel runs for this guest's process 1 now.
          returned: always
          type: list
          elements: str
          sample:
            - INET4_BIND
            - INET4_CONNECT
    capabilities:
      description: Its capabilities, as set by M(linux.vserver.capabilities).
      returned: always
      type: dict
      contains:
        profile:
          description: The set it starts from.
          returned: always
          type: str
          sample: system
        add:
          description: What is on top of it.
          returned: always
          type: list
          elements: str
          sample: []
        drop:
          description: What is taken out of it.
          returned: always
          type: list
          elements: str
          sample:
            - CAP_MKNOD
        bounding:
          description: The bounding set as the kernel tells it of the running guest.
          returned: always
          type: list
          elements: str
          sample:
            - CAP_CHOWN
            - CAP_KILL
    limits:
      description: Its limits, as set by M(linux.vserver.limits). V(none) is no limit of ours.
      returned: always
      type: dict
      contains:
        memory:
          description: Bytes of memory.
          returned: always
          type: int
          sample: 536870912
        memory_high:
          description: Bytes of memory above which it is slowed down.
          returned: always
          type: int
          sample: 503316480
        memory_swap:
          description: Bytes of swap.
          returned: always
          type: int
          sample: 0
        memory_low:
          description: Bytes of memory that are not taken from it while others have some to spare.
          returned: always
          type: int
          sample: 67108864
        memory_min:
          description: Bytes of memory that are never taken from it.
          returned: always
          type: int
          sample: null
        cpus:
          description: Processors' worth of time.
          returned: always
          type: float
          sample: 1.5
        cpu_period:
          description: Microseconds in which it is dealt out; V(none) is the kernel's own 100000.
          returned: always
          type: int
          sample: null
        cpu_burst:
          description: Microseconds that may be saved up.
          returned: always
          type: int
          sample: null
        cpu_weight:
          description: Its share; V(none) is the usual 100.
          returned: always
          type: int
          sample: 400
        cpu_idle:
          description: Whether it gets only what nobody else wants.
          returned: always
          type: bool
          sample: false
        cpuset:
          description: The processors it may run on.
          returned: always
          type: str
          sample: 0-1
        processes:
          description: Number of processes and threads.
          returned: always
          type: int
          sample: 200
        sockets:
          description: Number of network sockets that it may make.
          returned: always
          type: int
          sample: null
        disk:
          description: Bytes on disk of its own.
          returned: always
          type: int
          sample: 10737418240
        inodes:
          description: Files and directories of its own.
          returned: always
          type: int
          sample: null
        io:
          description: By device, each with those of C(read), C(write) (bytes a second), C(read_operations) and
            C(write_operations) (a second) that are limited.
          returned: always
          type: dict
          sample:
            /dev/sda:
              read: 20971520
        rlimits:
          description: Resource limits of processes, each with C(soft) and C(hard).
          returned: always
          type: dict
          sample:
            nofile:
              soft: 1024
              hard: 4096
        sysctls:
          description: Kernel settings of its own namespaces.
          returned: always
          type: dict
          sample:
            kernel.shmmni: "4096"
    context:
      description: Its context, as set by M(linux.vserver.context).
      returned: always
      type: dict
      contains:
        hostname:
          description: The host name that was asked for; V(none) for the guest's name.
          returned: always
          type: str
          sample: null
        init:
          description: The list of arguments of process 1, or V(auto), the distribution's own init.
          returned: always
          type: raw
          sample: auto
        timeout:
          description: Seconds an orderly stop may take.
          returned: always
          type: int
          sample: 30
        autostart:
          description: Whether it starts with the host.
          returned: always
          type: bool
          sample: false
        user_namespace:
          description: Whether it has a user namespace of its own.
          returned: always
          type: bool
          sample: true
        spectator:
          description: Whether it sees all processes of the host, and can act on none but its own.
          returned: always
          type: bool
          sample: false
    restart_required:
      description: Whether settings wait for a restart.
      returned: always
      type: bool
      sample: false
    restart_reasons:
      description: What waits for a restart.
      returned: always
      type: list
      elements: str
      sample: []
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def read(site: Site, params: dict[str, Any]) -> dict[str, Any]:
    usage = engine.load("usage")
    return {"guests": usage.gathered(site, params["names"], params["gather"])}


def main() -> None:
    gather = {"type": "list", "elements": "str", "choices": ["disk", "usage"], "default": ["disk"]}
    module.inform({"names": {"type": "list", "elements": "str"}, "gather": gather}, read)


if __name__ == "__main__":
    main()
