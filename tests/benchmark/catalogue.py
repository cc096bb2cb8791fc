# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: the names of all figures, and what each one says in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One figure as the reader of the README meets it.

    * what: what was done, with Markdown
    * rounds: how many times each side does it
    """

    what: str
    unit: str
    rounds: int = 1


#: How many guests make up a crowd, for what is told per guest.
CROWD = 20
#: How many platforms molecule makes at once.
PLATFORMS = 10
#: How many are in a list that a module gets, and how many of such lists a host takes here.
LIST, LISTS = 100, 10

CATALOGUE: Mapping[str, Entry] = {
    "clone": Entry("Clone a Debian template", "ms", 5),
    "start": Entry("Start a clone, until its init runs", "ms", 9),
    "boot": Entry("Start a clone, until systemd in it is done booting", "ms", 5),
    "stop": Entry("Stop a guest whose init is deaf, and clean up behind it", "ms", 9),
    "configure-noop": Entry("Configure a running guest as it is already", "ms", 15),
    "info": Entry(f"Tell all about {CROWD} running guests", "ms", 9),
    "attach": Entry("Attach one guest's address binding", "ms", 15),
    "readdress": Entry("Change an address of a running guest", "ms", 15),
    "memory": Entry("Host memory for one idle guest", "KiB", 3),
    "mounts": Entry("Lines that one guest adds to the host's mount table", "mounts"),
    "disk": Entry("Disk space of a fresh clone", "KiB"),
    "module-noop": Entry("An Ansible task that finds nothing to change", "ms", 5),
    "connection": Entry("A task in a guest, through ssh to its host", "ms", 5),
    "list-noop": Entry(f"An Ansible task that finds nothing to change for {LIST} running guests", "ms", 5),
    "list-start": Entry(f"Clone and start {LIST} guests in one call, for each", "ms", 3),
    "fleet-start": Entry(f"Clone and start {LIST} guests beside {LIST * (LISTS - 1)} others, for each", "ms"),
    "fleet-noop": Entry(f"Find nothing to change in {LIST * LISTS:,} running guests in one call, for each", "ms"),
    "fleet-info": Entry(f"Tell all about {LIST * LISTS:,} running guests, for each", "ms"),
    "fleet-stop": Entry(f"Stop {LIST} guests beside {LIST * (LISTS - 1)} others, for each", "ms"),
    "fleet-memory": Entry(f"Host memory for each of {LIST * LISTS:,} idle guests", "KiB"),
    "fleet-mounts": Entry("Lines that each of them adds to the host's mount table", "mounts"),
    "fleet-groups": Entry("Control groups that each of them adds, over all hierarchies", "groups"),
    "fleet-addresses": Entry("Addresses that each of them, with one IPv4 address, adds", "addresses"),
    "lxc-create": Entry(f"Ansible: create and start {CROWD} guests", "ms"),
    "lxc-noop": Entry(f"Ansible: find {CROWD} guests running", "ms", 3),
    "lxc-destroy": Entry(f"Ansible: destroy {CROWD} running guests", "ms"),
    "podman-create": Entry(f"Ansible: create and start {CROWD} guests", "ms"),
    "podman-noop": Entry(f"Ansible: find {CROWD} guests running", "ms", 3),
    "podman-destroy": Entry(f"Ansible: destroy {CROWD} running guests", "ms"),
    "molecule-create": Entry(
        f"Molecule: create {PLATFORMS} guests with systemd, booted; containers that sleep", "ms", 3
    ),
    "molecule-destroy": Entry(f"Molecule: destroy {PLATFORMS} of them", "ms", 3),
}

#: Figures of the network, of which more is better: the host's own process, a guest, a guest behind veth and bridge.
NETWORK: Mapping[str, Entry] = {
    "net-stream": Entry("TCP, one stream", "B/s", 8),
    "net-request": Entry("TCP, a byte there and one back", "/s", 8),
    "net-connect": Entry("TCP connections taken and closed", "/s", 8),
    "net-connect-out": Entry("TCP connections made by the guest", "/s", 8),
    "net-datagram": Entry("UDP packets taken and answered", "/s", 8),
}

#: Figures beside other modules of Ansible, what those take of Debian, and what says where their environment is.
RIVALS = tuple(f"{name}-{step}" for name in ("lxc", "podman") for step in ("create", "noop", "destroy"))
RIVAL_PACKAGES = ("lxc", "podman", "python3-lxc")
ENVIRONMENT = "VSERVER_RIVALS"
