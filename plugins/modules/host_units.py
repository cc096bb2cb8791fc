#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_units
short_description: Have systemd start and stop guests, watch over them, and show them their limits
description:
  - Has the units in C(/etc/systemd/system) that run the program of M(linux.vserver.engine). Their files, whether they
    start with the host, and whether they run are all put right.
  - C(vserver@.service) in C(vserver.slice) is what each guest is where systemd has the control groups of version 2 as
    one tree.
  - C(vserver-guests.service) starts guests with C(autostart) at boot, and when it first comes, and stops all guests in
    order at shutdown. It is never stopped for a new file, and neither is a guest.
  - C(vserver-events.service) and C(vserver-lxcfs.service) come and go as the options say. The first is restarted for a
    new file of its own and for another version of the program; the second, whose end guests would notice, is not.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._host
requirements:
  - systemd
options:
  autostart_parallel:
    description:
      - How many guests start at a time when the host boots. As many as the host has processors, when not given.
    type: int
  events:
    description:
      - Whether C(vserver-events.service) watches over guests, and has the journal tell what happens to them beside how
        they end, which is told without it.
      - When not given, it does if there is an O(event_hook).
    type: bool
  event_hook:
    description:
      - The absolute path of a program on the host that C(vserver-events.service) runs for everything that happens to a
        guest.
    type: path
  lxcfs:
    description:
      - Whether guests show their own memory, processors and load in C(/proc), by C(lxcfs), which
        C(vserver-lxcfs.service) runs. The package C(lxcfs) has to be there.
      - Running guests take it on and off.
    type: bool
    default: false
  state:
    description:
      - V(present) has the units there, enabled and started.
      - V(absent) removes all of them. It fails while guests run.
      - A file of such a name from somewhere else is never touched; where the unit is wanted, the task fails.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: linux.vserver.engine
"""

EXAMPLES = r"""
- name: Have the program
  linux.vserver.engine:

- name: Have guests start and stop with the host
  linux.vserver.host_units:

- name: Have somebody told of what happens to guests as well, and guests show their own limits
  linux.vserver.host_units:
    autostart_parallel: 4
    event_hook: /usr/local/sbin/tell-me
    lxcfs: true

- name: Remove the units, once all guests are stopped
  linux.vserver.host_units:
    state: absent
"""

RETURN = r"""
units:
  description: The units that are there, by name.
  returned: success
  type: dict
  contains:
    enabled:
      description: Whether it starts with the host; V(none) for C(vserver.slice) and C(vserver@.service), which start
        when a guest does.
      returned: always
      type: bool
      sample: true
    active:
      description: Whether it runs; V(none) likewise.
      returned: always
      type: bool
      sample: true
  sample:
    vserver.slice:
      enabled: null
      active: null
    vserver@.service:
      enabled: null
      active: null
    vserver-guests.service:
      enabled: true
      active: true
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    host_units = engine.load("host_units")
    unit_files = engine.load("unit_files")
    wishes = unit_files.parse(params)
    if params["state"] == "absent":
        return host_units.absent(site, check=check)
    return host_units.ensure(site, wishes, check=check)


def main() -> None:
    spec: arguments.Spec = {
        "autostart_parallel": {"type": "int"},
        "events": {"type": "bool"},
        "event_hook": {"type": "path"},
        "lxcfs": {"type": "bool", "default": False},
    }
    module.change({**spec, **arguments.state_spec("present", "absent")}, operate, subject="units")


if __name__ == "__main__":
    main()
