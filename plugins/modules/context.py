#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: context
short_description: Define, start, stop, restart, freeze or forget a guest, or run one command in a context
description:
  - Manages the context of a guest and whether it runs, as C(chcontext) and C(vserver NAME start) did for Linux-VServer.
    A context is a set of namespaces and one control group, numbered by its xid.
  - With O(command) it runs one command in a new context instead, and removes that when the command ends. It is what
    C(vserver run) does on the host.
  - The ids of a guest's users begin at C(xid << 16), so C(uid >> 16) of any process tells its context.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._guest
  - linux.vserver._host
attributes:
  check_mode:
    support: partial
    details:
      - The task is skipped when there is a O(command).
  diff_mode:
    support: partial
    details:
      - A O(command) has no diff.
  idempotent:
    support: partial
    details:
      - A O(command) is run each time.
options:
  name:
    description:
      - The guest's name. Either this or O(command) is required.
      - 1 to 63 letters, digits, C(_), C(-) and single dots, beginning with a letter or digit.
    type: str
    required: false
  command:
    description:
      - A program with its arguments, to be run once by the root of a new context.
      - It has no input, no address but a private V(127.0.0.1), and whatever it writes to its root is removed with it.
      - The task fails when the exit status is not 0, or when it writes more than 4 MiB to its standard output or error.
      - Of the other options, O(root), O(xid), O(hostname) and O(spectator) go with it.
    type: list
    elements: str
  root:
    description:
      - The name of the template that the root of O(command) is a clone of, of its newest version.
      - When not given, it is the host's own root file system, copy-on-write, with the rights of a user who owns nothing
        there. What every user may read can be read, and nothing more.
    type: str
  state:
    description:
      - V(present) sets the options and leaves the guest running or not, as it is.
      - V(started) starts the guest unless it runs, and thaws it when it is frozen. The task ends when its init runs.
      - Whatever starts a guest warns of programs of the host that listen on every address, or on one of the guest's.
        The guest cannot have their ports.
      - V(stopped) stops the guest in order, and kills what is left after O(timeout).
      - V(restarted) stops and starts the guest; each call does so.
      - V(frozen) starts the guest unless it runs and stops the time of all of its processes, until V(started).
      - V(absent) stops the guest and forgets its settings. Its data stays, until M(linux.vserver.clone) removes it.
        Other options are not looked at.
    type: str
    choices:
      - present
      - started
      - stopped
      - restarted
      - frozen
      - absent
    default: present
  xid:
    description:
      - The context's number, from 2 to 32767, unique on the host.
      - When never given, it is the lowest free one from 28672 on, and stays that.
    type: int
  hostname:
    description:
      - The guest's host name. When never given, it is the guest's name.
    type: str
  init:
    description:
      - What runs as the guest's process 1, as a list of arguments, the program with its full path first.
      - V(auto) alone is the distribution's own init. This is the default of a new guest.
    type: list
    elements: str
  timeout:
    description:
      - Seconds an orderly stop may take, before the whole context is killed. 30 for a new guest.
    type: int
  autostart:
    description:
      - Whether the guest starts with the host. Not for a new guest.
    type: bool
  user_namespace:
    description:
      - Whether the guest has a user namespace of its own. A new guest has.
      - V(false) makes the guest's root the host's root, confined only by capabilities, system call filter and masked
        paths. Only for guests you trust like the host.
    type: bool
  spectator:
    description:
      - Whether it is a spectator, for what watches a host. A new guest is not.
      - It has the host's process ids, and sees every process of the host and of all guests as a user does who owns none
        of them. It can signal, trace or change none but its own. Control groups of the host can be read.
      - Needs an O(init) that is a program of yours, and a user namespace.
    type: bool
seealso:
  - module: linux.vserver.clone
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: Start a guest
  linux.vserver.context:
    name: web1
    state: started

- name: Choose the xid and the host name of a guest, and start it
  linux.vserver.context:
    name: web1
    xid: 101
    hostname: web1.example.com
    state: started

- name: Run one program as a guest
  linux.vserver.context:
    name: worker1
    init:
      - /usr/bin/sleep
      - infinity
    state: started

- name: Run a program of the host where it can change nothing
  linux.vserver.context:
    command:
      - /usr/bin/python3
      - -c
      - print(open("/etc/hostname").read())

- name: Count the processes of the host and of all its guests
  linux.vserver.context:
    command:
      - sh
      - -c
      - ls -d /proc/[0-9]* | wc -l
    spectator: true

- name: Keep a monitoring agent that sees all processes and can signal none
  linux.vserver.context:
    name: watcher
    init:
      - /usr/bin/prometheus-node-exporter
    spectator: true
    state: started

- name: Run a program of a template
  linux.vserver.context:
    command:
      - nginx
      - -t
    root: debian-12

- name: Stop a guest, and forget it without removing its data
  linux.vserver.context:
    name: web1
    state: absent
"""

RETURN = r"""
guest:
  description:
    - The guest as it stands after the change, in the shape of RV(linux.vserver.guest_info#module:guests), but without
      C(disk_bytes) and C(disk_shared_bytes).
    - In check mode, the guest as it stands. Empty when it does not exist.
  returned: O(name) is given
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
  returned: O(name) is given
  type: bool
  sample: false
restart_reasons:
  description: What waits for a restart, one sentence a setting. Empty when nothing does.
  returned: O(name) is given
  type: list
  elements: str
  sample: []
rc:
  description: The exit status of O(command); 128+n when signal n ended it, 127 when it was not found.
  returned: O(command) is given, but in check mode
  type: int
  sample: 0
truncated:
  description:
    - Which of RV(stdout) and RV(stderr) have only the beginning of what O(command) wrote, the first 4 MiB.
  returned: failure, when it wrote more
  type: list
  elements: str
  sample:
    - stdout
stdout:
  description: What O(command) wrote to its standard output.
  returned: O(command) is given, but in check mode
  type: str
  sample: host1
stderr:
  description: What O(command) wrote to its standard error.
  returned: O(command) is given, but in check mode
  type: str
  sample: ""
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

#: Options of a guest that a command leaves nothing to do.
_OF_GUESTS = ("name", "init", "timeout", "autostart", "user_namespace")
_ONCE: arguments.Spec = {
    "name": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
    "root": {"type": "str"},
}


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    lifecycle = engine.load("lifecycle")
    options = arguments.facet_options("context", params)
    return lifecycle.set_state(site, params["name"], params["state"], options, check=check, restart=params["restart"])


def once(site: Site, params: dict[str, Any]) -> Any:
    throwaway = engine.load("throwaway")
    root = {"method": "host"} if params["root"] is None else {"template": params["root"]}
    context = {name: params[name] for name in ("xid", "hostname", "spectator")}
    return throwaway.capture(site, {"root": root, "context": context}, params["command"])


def main() -> None:
    made = module.Module(
        {**arguments.facet_spec("context"), **arguments.state_spec(*arguments.STATES), **_ONCE},
        required_one_of=[("name", "command")],
        mutually_exclusive=[("command", option) for option in _OF_GUESTS],
        required_by={"root": ("command",)},
    )
    if made.params["command"] is None:
        module.perform(made, operate)
    elif made.params["state"] != "present" or made.params["restart"]:
        made.fail_json(msg="a command is run once: state and restart are of guests, and have no meaning beside it")
    else:
        module.run(made, once)


if __name__ == "__main__":
    main()
