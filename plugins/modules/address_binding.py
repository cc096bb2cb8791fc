#!/usr/bin/python
# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: address_binding
short_description: Lock a guest to its own IP addresses
description:
  - Binds a guest to a set of IPv4 and IPv6 addresses, as C(chbind) did for Linux-VServer. The guest shares the network
    stack of the host, without bridge, virtual interface or address translation.
  - A guest that listens on all addresses listens on its own. It can use no other address, neither as a server nor as a
    client, and needs no privilege over the host for ports below 1024.
  - The addresses are put on an interface of the host when the guest starts, and taken off when it stops. An address
    that is already there is left there.
  - On an Ethernet interface, an address that another machine answers for is refused. One that comes up is announced to
    the link, by ARP or neighbour advertisement, and can be used at once.
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
  addresses:
    description:
      - The guest's addresses, IPv4 or IPv6, each with or without a prefix length. The first of a family is its default
        source address.
      - A range has its first and its last address with a hyphen between, as in V(192.0.2.10-192.0.2.19/24). A guest has
        at most 256 addresses of one family.
      - Without a prefix length, neither here nor in O(prefix), an address is a single one (V(/32), V(/128)).
      - An empty list leaves the guest with its private loopback address only.
    type: list
    elements: str
  interface:
    description:
      - The host's interface that carries the addresses while the guest runs.
      - When never given, it is the one whose network the address lies in, and otherwise the loopback interface.
    type: str
  prefix:
    version_added: 0.2.0
    description:
      - The prefix length of those O(addresses) that are given without one.
    type: int
  network:
    description:
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
seealso:
  - module: linux.vserver.context
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
    binding:
      addresses:
        - 192.0.2.10/24
      interface: eth0
      network: bound
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
    module.configure("binding")


if __name__ == "__main__":
    main()
