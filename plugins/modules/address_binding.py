#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: address_binding
short_description: Lock a guest, or a service of the host, to IP addresses
description:
  - Binds a guest to a set of IPv4 and IPv6 addresses, as C(chbind) did for Linux-VServer. The guest shares the network
    stack of the host, without bridge, virtual interface or address translation.
  - A guest that listens on all addresses listens on its own. It can use no other address, neither as a server nor as a
    client, and needs no privilege over the host for ports below 1024.
  - The addresses are put on an interface of the host when the guest starts, and taken off when it stops. An address
    that is already there is left there.
  - On an Ethernet interface, an address that another machine answers for is refused. One that comes up is announced to
    the link, by ARP or neighbour advertisement, and can be used at once.
  - A service of the host is locked to some of the host's addresses in the same way, so that guests can have the port on
    theirs. It is a systemd unit, bound whenever it starts, or any control group of version 2, bound until it is gone.
  - All of it changes on a running guest at once.
version_added: 0.1.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - linux.vserver._attributes
  - linux.vserver._attributes.changes
  - linux.vserver._attributes.actiongroup_vserver
  - linux.vserver._host
options:
  name:
    description:
      - The guest's name, of 1 to 63 letters, digits, C(_), C(-) and single dots, beginning with a letter or digit.
      - Exactly one of O(name), O(unit) and O(cgroup) is required.
    type: str
  unit:
    description:
      - A systemd unit of the host, such as V(ssh.service) or V(ssh.socket). Without a suffix it is a service.
      - Needs the program that M(linux.vserver.engine) installs, which binds the unit at each of its starts.
      - A service whose sockets systemd opens is refused as long as the socket unit is not bound.
    type: str
    version_added: 0.2.0
  cgroup:
    description:
      - A control group of the host, as a path relative to the top of the version 2 hierarchy, or absolute.
      - After a reboot, or when the group was made again, it has to be bound again.
    type: str
    version_added: 0.2.0
  state:
    description:
      - V(present) binds.
      - V(absent) lets a service of the host use every address again. It is not for guests, which have O(network).
    type: str
    choices:
      - present
      - absent
    default: present
    version_added: 0.2.0
  restart:
    description:
      - Whether a unit may be restarted when it has sockets open at other addresses than O(addresses). A service that
        does not run is never started by this option.
      - When V(false), RV(restart_required) tells of such sockets.
      - A guest takes every change without a restart.
    type: bool
    default: false
  addresses:
    description:
      - For a service of the host, some of the host's addresses. What the module is connected by has to be among them if
        the service is the one that Ansible connects to. They are required the first time.
      - For a guest, the guest's addresses, IPv4 or IPv6, each with or without a prefix length. The first of a family is
        its default source address.
      - A range has its first and its last address with a hyphen between, as in V(192.0.2.10-192.0.2.19/24). A guest has
        at most 256 addresses of one family.
      - Without a prefix length, neither here nor in O(prefix), an address is a single one (V(/32), V(/128)).
      - An empty list leaves the guest with its private loopback address only.
    type: list
    elements: str
  interface:
    description:
      - The host's interface that carries the addresses while the guest runs.
      - Not for a service of the host.
      - When never given, it is the one whose network the address lies in, and otherwise the loopback interface.
    type: str
  prefix:
    version_added: 0.2.0
    description:
      - The prefix length of those O(addresses) that are given without one.
    type: int
  network:
    description:
      - Not for a service of the host.
      - V(bound) confines the guest to O(addresses) and its private loopback address. This is the default of a new
        guest.
      - V(host) gives the guest every address of the host, without any confinement. Only for guests you trust like the
        host.
    type: str
    choices:
      - bound
      - host
  loopback:
    version_added: 0.2.0
    description:
      - What V(127.0.0.1) and V(::1) are inside the guest.
      - V(private) is the default of a new guest. They are the guest's own, out of reach for other guests and the host,
        whose services are out of reach for the guest.
      - V(host) gives the guest the host's loopback addresses, with every service of the host that listens there.
      - V(none) leaves the guest without.
      - A service of the host has V(host), when never given, or V(none).
    type: str
    choices:
      - private
      - host
      - none
  ping:
    version_added: 0.2.0
    description:
      - Whether programs in the guest may send echo requests, from the guest's addresses only, as C(ping) does. Not, for
        a new guest.
      - Widens the host's C(net.ipv4.ping_group_range) to the guest's groups where it leaves them out.
    type: bool
  multicast:
    version_added: 0.2.0
    description:
      - Whether the guest may send to multicast and broadcast addresses, bind to them, and hear them. Not, for a new
        guest.
    type: bool
  shared:
    version_added: 0.2.0
    description:
      - Whether O(addresses) may be those of other guests of the host, too. All that have an address have to say so,
        four at most. Each port of it belongs to the guest that listens there first.
    type: bool
notes:
  - An option that is not given is not managed and keeps its value. An empty list empties it.
seealso:
  - module: linux.vserver.context
  - module: linux.vserver.engine
  - module: linux.vserver.guest_info
"""

EXAMPLES = r"""
- name: Give a guest one IPv4 and one IPv6 address
  linux.vserver.address_binding:
    name: web1
    addresses:
      - 192.0.2.10/24
      - 2001:db8::10/64
    interface: eth0

- name: Give a guest an address of the loopback range
  linux.vserver.address_binding:
    name: test1
    addresses:
      - 127.0.80.1

- name: Give a guest ten addresses, and let it ping
  linux.vserver.address_binding:
    name: web2
    addresses:
      - 192.0.2.20-192.0.2.29
    prefix: 24
    ping: true

- name: Let a guest have the address of another one, which has to say the same
  linux.vserver.address_binding:
    name: mail1
    addresses:
      - 192.0.2.10/24
    shared: true

- name: Take all addresses away
  linux.vserver.address_binding:
    name: web1
    addresses: []

- name: Keep the host's sshd to the host's own address, so that guests can have port 22
  linux.vserver.address_binding:
    unit: ssh.service
    addresses:
      - 192.0.2.2
    restart: true

- name: Keep whatever runs in a control group to an address
  linux.vserver.address_binding:
    cgroup: batch/jobs
    addresses:
      - 192.0.2.3
    loopback: none

- name: Let sshd use every address of the host again
  linux.vserver.address_binding:
    unit: ssh.service
    state: absent
    restart: true
"""

RETURN = r"""
guest:
  description:
    - The guest as it stands after the change, in the shape of RV(linux.vserver.guest_info#module:guests), but without
      C(disk_bytes) and C(disk_shared_bytes).
    - In check mode, the guest as it stands. Empty when it does not exist.
  returned: success, with O(name)
  type: dict
  sample:
    name: web1
    xid: 101
    state: running
    binding:
      addresses:
        - 192.0.2.10/24
      interface: eth0
      network: bound
service:
  description:
    - The service of the host as it is bound after the change; in check mode, as it would be.
    - Empty with O(state=absent).
  returned: success, with O(unit) or O(cgroup)
  type: dict
  contains:
    unit:
      description: The unit's name as systemd has it.
      returned: with O(unit)
      type: str
      sample: ssh.service
    cgroup:
      description: The control group, relative to the top of the version 2 hierarchy.
      returned: with O(cgroup)
      type: str
      sample: batch/jobs
    addresses:
      description: The addresses it may use.
      returned: always
      type: list
      elements: str
      sample:
        - 192.0.2.2/32
    loopback:
      description: Whether it may use the V(host)'s V(127.0.0.1) and V(::1), or V(none).
      returned: always
      type: str
      sample: host
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
      description: Whether guests may have its addresses, too.
      returned: always
      type: bool
      sample: false
    group:
      description: The directory of its control group. V(null) while it does not run.
      returned: always
      type: str
      sample: /sys/fs/cgroup/system.slice/ssh.service
    programs:
      description: The binding's programs that the kernel runs for it now.
      returned: always
      type: list
      elements: str
      sample:
        - INET4_BIND
        - INET4_CONNECT
restart_required:
  description: Whether a running guest has settings that wait for a restart, or a service sockets at other addresses.
  returned: success
  type: bool
  sample: false
restart_reasons:
  description: What waits for a restart, one sentence a setting or socket. Empty when nothing does.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments, engine, module
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

TARGETS = ("name", "unit", "cgroup")


def operate(site: Site, params: dict[str, Any], check: bool) -> Any:
    lifecycle = engine.load("lifecycle")
    service_target = engine.load("service_target")
    services = engine.load("services")
    options = arguments.facet_options("binding", params)
    restart = params["restart"]
    if params["name"] is not None:
        if params["state"] == "absent":
            raise InvalidInput("a guest always has a binding", remedy="Use 'network: host' to give it every address.")
        return lifecycle.configure(site, params["name"], "binding", options, check=check, restart=restart)
    if params["unit"] is not None:
        kind, name = service_target.of_unit(params["unit"])
    else:
        kind, name = service_target.of_cgroup(site, params["cgroup"])
    if params["state"] == "absent":
        return services.absent(site, kind, name, check=check, restart=restart)
    return services.configure(site, kind, name, options, check=check, restart=restart)


def main() -> None:
    spec = {
        **arguments.facet_spec("binding"),
        **arguments.state_spec("present", "absent"),
        **{target: {"type": "str"} for target in TARGETS},
    }
    module.change(
        spec,
        operate,
        subject=lambda params: "service" if params["name"] is None else "guest",
        mutually_exclusive=[TARGETS],
        required_one_of=[TARGETS],
    )


if __name__ == "__main__":
    main()
