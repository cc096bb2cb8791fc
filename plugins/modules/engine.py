#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: engine
short_description: Have the engine on the host, for what happens without Ansible
description:
  - Installs the engine of this collection as one program, C(/usr/sbin/vserver). It does what has to happen when no
    Ansible is there, such as at boot.
  - The program is a Python zip application made of the same source as the modules, and run by the same Python.
    C(vserver --version) tells which source.
  - Its man page, C(vserver.8), is in C(/usr/share/man/man8), and goes with it. So does what completes its words, in
    C(/usr/share/bash-completion/completions), where that directory exists.
  - The directories for guests and templates, below C(/var/lib/vserver), come with it as well. They stay.
  - It is replaced in one step. Running guests do not notice; the next start of anything uses the new one.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._host
options:
  state:
    description:
      - V(present) has the program there, as this version of the collection makes it.
      - V(absent) removes it. It fails while units of M(linux.vserver.host_units) or bound ones run it.
      - A program of that name from somewhere else is never touched; the task fails.
    type: str
    choices:
      - present
      - absent
    default: present
seealso:
  - module: linux.vserver.address_binding
  - module: linux.vserver.host_units
"""

EXAMPLES = r"""
- name: Have the engine on the host
  linux.vserver.engine:

- name: Remove it
  linux.vserver.engine:
    state: absent
"""

RETURN = r"""
restart_required:
  description: Whether C(vserver-events.service), which runs all the time, is still to be restarted for this version.
    Module M(linux.vserver.host_units) does so. Check mode foretells it.
  returned: success
  type: bool
restart_reasons:
  description: Why, in sentences.
  returned: success
  type: list
  elements: str
  sample:
    - vserver-events.service runs another version until module host_units, or role host, restarts it
engine:
  description: The program.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is.
      returned: always
      type: str
      sample: /usr/sbin/vserver
    version:
      description: Its version, a digest of its source. C(vserver --version) prints it as well.
      returned: O(state=present)
      type: str
      sample: 3f1c9a60b2d4
    python:
      description: The Python it is run by.
      returned: O(state=present)
      type: str
      sample: /usr/bin/python3
    mode:
      description: The permissions of the file.
      returned: O(state=present)
      type: str
      sample: "0755"
    manual:
      description: Where its man page is.
      returned: O(state=present)
      type: str
      sample: /usr/share/man/man8/vserver.8
    completion:
      description: Where what completes its words is.
      returned: O(state=present) and bash has a directory for that
      type: str
      sample: /usr/share/bash-completion/completions/vserver
    directories:
      description: The directories for guests and templates.
      returned: O(state=present)
      type: list
      elements: str
      sample:
        - /var/lib/vserver
        - /var/lib/vserver/guests
        - /var/lib/vserver/templates
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    engine_file = engine.load("engine_file")
    return (engine_file.ensure if params["state"] == "present" else engine_file.absent)(site, check=check)


def main() -> None:
    module.change(arguments.state_spec("present", "absent"), operate, subject="engine")


if __name__ == "__main__":
    main()
