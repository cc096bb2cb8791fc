#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: clone
short_description: Give a guest its root as a copy-on-write clone of a template
description:
  - Makes the root of a guest from a template of M(linux.vserver.template), or removes it.
  - A clone shares everything with its template until it writes, so it takes no time and no space, whatever the size of
    the template. This is what C(vclone) and C(vunify) did for Linux-VServer.
  - A new guest gets the lowest free xid; M(linux.vserver.context) can choose another.
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
  template:
    description:
      - The template's name. Required for a guest that has no clone yet.
      - The template of an existing clone cannot be changed, because what the guest wrote lies on top of it.
        M(linux.vserver.rebuild) makes a new clone and keeps what it is told to.
    type: str
  version:
    description:
      - The template's version. When never given, it is the newest at the time of cloning, and stays that.
    type: str
  method:
    description:
      - V(overlay) puts an overlay of the guest's own on the shared template.
      - V(copy) copies the template, which takes its time and space, and works on every file system.
      - V(auto) is V(overlay) where the host can do it, else V(copy).
    type: str
    choices:
      - auto
      - overlay
      - copy
  state:
    description:
      - V(present) makes the clone when there is none.
      - V(absent) removes the guest's root with all data in it. Refused while the guest runs.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: linux.vserver.template
  - module: linux.vserver.rebuild
  - module: linux.vserver.context
"""

EXAMPLES = r"""
- name: Clone a guest from the newest version of a template
  linux.vserver.clone:
    name: web1
    template: debian-12

- name: Clone a guest that shares nothing with its template
  linux.vserver.clone:
    name: db1
    template: debian-12
    method: copy

- name: Remove a guest's data for good
  linux.vserver.clone:
    name: web1
    state: absent
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
    xid: 28672
    state: stopped
    root:
      template: debian-12
      version: 20260801T120000Z
      method: overlay
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
    if params["state"] == "absent":
        return lifecycle.remove_root(site, params["name"], check=check)
    options = arguments.facet_options("root", params)
    return lifecycle.configure(site, params["name"], "root", options, check=check, restart=params["restart"])


def main() -> None:
    module.change({**arguments.facet_spec("root"), **arguments.state_spec("present", "absent")}, operate)


if __name__ == "__main__":
    main()
