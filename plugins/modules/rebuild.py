#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rebuild
short_description: Give a guest a new root from a newer template, and keep its data
description:
  - Makes a new clone for a guest, takes over the directories that hold its data, and removes the old clone.
  - Nothing happens when the guest has a clone of that template and version already.
  - The old clone stays as it is until the new one takes its place in one step. Whatever is killed on the way, the guest
    has one of them whole; the same call again completes the work.
  - Settings, xid and addresses stay. B(All that is in no directory of) O(data) B(goes with the old clone.)
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
    description: The template to clone. The one that the guest has, when not given.
    type: str
  version:
    description: The template's version. The newest, when not given.
    type: str
  data:
    description:
      - The directories to keep, by their absolute paths in the guest. They replace what the template has there.
      - What the guest wrote there gets a second name instead of a copy, so it takes neither time nor space.
      - A directory that does not exist, or whose path leads over a symbolic link, is refused; nothing has changed then.
    type: list
    elements: str
    required: true
notes:
  - A guest that runs is refused unless O(restart=true). It is down while its directories are taken over, and runs
    afterwards.
seealso:
  - module: linux.vserver.template
  - module: linux.vserver.clone
"""

EXAMPLES = r"""
- name: Build a new version of the template
  linux.vserver.template:
    name: debian-12
    suite: bookworm
    refresh: true

- name: Have the guest on it, with its databases
  linux.vserver.rebuild:
    name: db1
    data:
      - /var/lib/postgresql
      - /etc/postgresql
    restart: true
"""

RETURN = r"""
guest:
  description:
    - The guest as it stands after the change, in the shape of RV(linux.vserver.guest_info#module:guests), but without
      C(disk_bytes) and C(disk_shared_bytes).
    - In check mode, the guest as it stands.
  returned: success
  type: dict
  sample:
    name: db1
    xid: 28672
    state: running
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
    rebuild = engine.load("rebuild")
    return rebuild.rebuild(site, params["name"], params, check=check, restart=params["restart"])


def main() -> None:
    spec: arguments.Spec = {
        **arguments.GUEST,
        "template": {"type": "str"},
        "version": {"type": "str"},
        "data": {"type": "list", "elements": "str", "required": True},
    }
    module.change(spec, operate)


if __name__ == "__main__":
    main()
