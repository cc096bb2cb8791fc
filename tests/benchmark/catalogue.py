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
}

#: Figures of the network, of which more is better: the host's own process, a guest, a guest behind veth and bridge.
NETWORK: Mapping[str, Entry] = {
    "net-stream": Entry("TCP, one stream", "B/s", 8),
    "net-request": Entry("TCP, a byte there and one back", "/s", 8),
    "net-connect": Entry("TCP connections taken and closed", "/s", 8),
    "net-connect-out": Entry("TCP connections made by the guest", "/s", 8),
    "net-datagram": Entry("UDP packets taken and answered", "/s", 8),
}
