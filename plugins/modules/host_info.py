#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell what a host can do for guests
description:
  - Tells what a host has of what guests need or can use, and what brings the rest.
  - Everything is tried out rather than concluded from version numbers. A user namespace is made, an overlay of idmapped
    layers is mounted and written to in a mount namespace of its own, a control group is frozen, programs are loaded
    into the kernel, and every installed OCI runtime runs a container.
  - Takes well below a second and leaves nothing behind.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.info_module
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._host
notes:
  - This module itself needs neither pyroute2 nor psutil nor a runtime; it tells that they are missing.
seealso:
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: Look at what the host can do
  linux.vserver.host_info:
  register: probed

- name: Insist that guests can run here
  ansible.builtin.assert:
    that: probed.missing | length == 0
    fail_msg: "{{ probed.missing | map(attribute='needs') | join('; ') }}"

- name: Use the reflink feature where the host has it
  ansible.builtin.debug:
    msg: Copies of files cost no space here.
  when: probed.host.features.reflink.available
"""

RETURN = r"""
host:
  description: What was found.
  returned: success
  type: dict
  contains:
    kernel:
      description: The kernel's release, as C(uname -r) tells it.
      returned: always
      type: str
      sample: 6.1.0-40-amd64
    architecture:
      description: The machine's architecture, as C(uname -m) tells it.
      returned: always
      type: str
      sample: x86_64
    distribution:
      description: The distribution, as its os-release file tells it.
      returned: always
      type: dict
      contains:
        id:
          description: Its short name.
          returned: always
          type: str
          sample: debian
        version:
          description: Its version, empty where there is none.
          returned: always
          type: str
          sample: "12"
        name:
          description: Its name for people.
          returned: always
          type: str
          sample: Debian GNU/Linux 12 (bookworm)
    init:
      description: V(systemd) when the host was booted by it, otherwise the name of process 1.
      returned: always
      type: str
      sample: systemd
    cgroups:
      description: The control group hierarchies.
      returned: always
      type: dict
      contains:
        mode:
          description:
            - V(unified) when everything is in the version 2 tree, V(hybrid) when some is elsewhere,
              V(legacy) when there is no such tree.
          returned: always
          type: str
          sample: unified
        unified:
          description: Where the version 2 tree is mounted; V(none) when it is not.
          returned: always
          type: str
          sample: /sys/fs/cgroup
        controllers:
          description: Each controller with the mount point of the hierarchy it is in.
          returned: always
          type: dict
          sample:
            cpu: /sys/fs/cgroup
            memory: /sys/fs/cgroup
            pids: /sys/fs/cgroup
    storage:
      description: The file system that holds, or will hold, templates and guests.
      returned: always
      type: dict
      contains:
        path:
          description: The directory for templates and guests; it need not exist yet.
          returned: always
          type: str
          sample: /var/lib/vserver
        mount_point:
          description: Where the file system is mounted.
          returned: always
          type: str
          sample: /
        source:
          description: Its device.
          returned: always
          type: str
          sample: /dev/vda1
        type:
          description: Its type.
          returned: always
          type: str
          sample: ext4
        size:
          description: Its size in bytes.
          returned: always
          type: int
          sample: 42949672960
        free:
          description: Bytes that are free.
          returned: always
          type: int
          sample: 32212254720
        restrictions:
          description: Those of V(ro), V(nosuid), V(nodev) and V(noexec) it is mounted with.
          returned: always
          type: list
          elements: str
          sample: []
        project_quota:
          description: Whether it is mounted with project quota, which limits guests' disk space.
          returned: always
          type: bool
          sample: false
    runtime:
      description: Name of the OCI runtime that guests get, C(crun) where it works; V(none) when no runtime works.
      returned: always
      type: str
      sample: crun
    runtimes:
      description: The installed OCI runtimes, the preferred first.
      returned: always
      type: list
      elements: dict
      contains:
        name:
          description: The runtime's name.
          returned: always
          type: str
          sample: crun
        path:
          description: Its program.
          returned: always
          type: str
          sample: /usr/bin/crun
        version:
          description: Its version.
          returned: always
          type: str
          sample: 1.8.1
        works:
          description: Whether it has just run a container built like a guest.
          returned: always
          type: bool
          sample: true
        detail:
          description: Why it did not, in its own words; empty when it works.
          returned: always
          type: str
          sample: ""
    features:
      description:
        - Everything that was tried, by name.
        - Each has C(available), C(detail), C(needs) and C(required), which mean what they mean in RV(missing).
      returned: always
      type: dict
      sample:
        overlay_idmapped:
          available: true
          detail: ""
          needs: null
          required: true
        landlock_scope:
          available: false
          detail: ABI 2, scopes came with 6
          needs: Linux 6.12 with CONFIG_SECURITY_LANDLOCK and landlock among lsm=
          required: false
missing:
  description: The features that guests cannot be had without, and that this host lacks.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The feature's name.
      returned: always
      type: str
      sample: pyroute2
    available:
      description: Always V(false) here.
      returned: always
      type: bool
      sample: false
    detail:
      description: The reason, in the words of the kernel or the tool.
      returned: always
      type: str
      sample: this Python cannot import it
    needs:
      description: The package, setting or kernel version that brings it.
      returned: always
      type: str
      sample: package python3-pyroute2 (Debian, Ubuntu, Fedora, RHEL)
    required:
      description: Always V(true) here.
      returned: always
      type: bool
      sample: true
wildcard_listeners:
  description:
    - The host's own programs that listen on every address, by port. Each takes its port away from every guest that is
      bound to addresses, and answers on guests' addresses.
    - Bind them to the host's own address. UDP sockets on a client's port are left out.
    - V(none) where the kernel cannot list sockets, because it lacks C(tcp_diag) or C(udp_diag).
  returned: success
  type: list
  elements: dict
  contains:
    protocol:
      description: V(tcp) or V(udp).
      returned: always
      type: str
      sample: tcp
    port:
      description: The port.
      returned: always
      type: int
      sample: 22
    addresses:
      description: V(0.0.0.0), V(::) or both. A dual-stack socket has both.
      returned: always
      type: list
      elements: str
      sample:
        - 0.0.0.0
        - "::"
    process:
      description: Name of the first process that has the socket; V(none) when no process has it.
      returned: always
      type: str
      sample: sshd
    pid:
      description: Its process id.
      returned: always
      type: int
      sample: 812
    unit:
      description: The systemd service it belongs to; V(none) when it belongs to none.
      returned: always
      type: str
      sample: ssh.service
"""

import contextlib
import dataclasses
from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def read(site: Site, params: dict[str, Any]) -> dict[str, Any]:
    listeners = engine.load("host.listeners")
    probe = engine.load("host.probe")
    found = probe.probe(site)
    held = None
    with contextlib.suppress(OSError):
        held = [{**dataclasses.asdict(each), "addresses": list(each.addresses)} for each in listeners.listeners(site)]
    return {
        "host": found.to_dict(),
        "missing": [dataclasses.asdict(feature) for feature in found.missing()],
        "wildcard_listeners": held,
    }


def main() -> None:
    module.inform({}, read)


if __name__ == "__main__":
    main()
