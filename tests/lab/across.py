# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest does on the network between two hosts: attacks, and what it is there for.

Steps are those of ``tests/integration/attacker.py``. A name with a star is the address of the socket's family:

* A: the guest's own address
* HERE, NEXT: its host's address, and that of another guest there
* THERE, PEER: the address of the other host, and of a guest there that has a service
* NOBODY: an address of the network that nobody has
* SERVICE, GUESTS: the ports at which hosts, and other guests, have a service on any address that lets others share it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

ALL = "tcp4 tcp6 udp4 udp6"
TCP, UDP = "tcp4 tcp6", "udp4 udp6"


@dataclass(frozen=True)
class Deed:
    """What a guest does, and the kinds of sockets it does it with.

    * arrives: it reaches the other host or its guest; from the guest's own address, as everything does
    * harmless: nothing comes of it that must not be, also without the binding
    """

    name: str
    kinds: str
    steps: str
    arrives: bool = False
    harmless: bool = False

    def tests(self) -> Iterator[Deed]:
        for kind in self.kinds.split():
            yield replace(self, kinds=kind, steps=self.steps.replace("*", "6" if kind.endswith("6") else ""))


DEEDS = (
    # What it is there for; without the binding it comes from the host's address.
    Deed("connect to the other host", ALL, "connect THERE* SERVICE; send", arrives=True),
    Deed("connect to a guest there", ALL, "connect PEER* GUESTS; send", arrives=True),
    Deed("connect, bound to any", "tcp4 udp4", "bind ANY; connect PEER GUESTS; send", arrives=True),
    Deed(
        "connect, bound to any",
        "tcp6 udp6",
        "option IPV6_V6ONLY 1; bind ANY6; connect PEER6 GUESTS; send",
        arrives=True,
    ),
    Deed("connect, mapped", "tcp6 udp6", "connect mapped:THERE SERVICE; send", arrives=True),
    Deed("send", UDP, "sendto THERE* SERVICE; sendto PEER* GUESTS", arrives=True),
    Deed("send, mapped", "udp6", "sendto mapped:PEER GUESTS", arrives=True),
    Deed("fast open", TCP, "sendto THERE* SERVICE 0x20000000", arrives=True),
    # Somebody else's address as source.
    Deed("bind to the host's address", ALL, "bind HERE*; connect THERE* SERVICE; send", arrives=True),
    Deed("bind to the other guest's address", ALL, "bind NEXT*; connect THERE* SERVICE; send", arrives=True),
    Deed(
        "bind to nobody's address",
        "tcp4 udp4",
        "option IP_FREEBIND 1; bind NOBODY; connect THERE SERVICE; send",
        arrives=True,
        harmless=True,
    ),
    Deed(
        "bind to nobody's address",
        "tcp6 udp6",
        "option IPV6_FREEBIND 1; bind NOBODY6; connect THERE6 SERVICE; send",
        arrives=True,
    ),
    Deed("bind transparently", "udp4", "option IP_TRANSPARENT 1; bind PEER; connect THERE SERVICE; send", arrives=True),
    Deed(
        "bind transparently",
        "udp6",
        "option IPV6_TRANSPARENT 1; bind PEER6; connect THERE6 SERVICE; send",
        arrives=True,
    ),
    Deed("bind, mapped", "tcp6 udp6", "bind mapped:HERE; connect mapped:THERE SERVICE; send", arrives=True),
    Deed(
        "bind without a port",
        "tcp4 udp4",
        "option IP_BIND_ADDRESS_NO_PORT 1; bind HERE; connect THERE SERVICE; send",
        arrives=True,
    ),
    Deed("name the host as source", UDP, "from HERE* THERE* SERVICE; from HERE* PEER* GUESTS"),
    Deed("name the other guest as source", UDP, "from NEXT* THERE* SERVICE; from NEXT* PEER* GUESTS"),
    Deed("name a source, mapped", "udp6", "from mapped:HERE mapped:THERE SERVICE"),
    Deed("name a source, connected", UDP, "connect THERE* SERVICE; from HERE*; from NEXT*"),
    Deed("name a source, bound", UDP, "bind A*; from HERE* THERE* SERVICE; from NEXT* THERE* SERVICE"),
    Deed("name a source for the rest", UDP, "sendto THERE* SERVICE 0x8000; from HERE* THERE* SERVICE"),
    Deed("stick to a source", "udp6", "option IPV6_PKTINFO HERE6+index:lo; sendto THERE6 SERVICE"),
    Deed("dissolve, then elsewhere", ALL, "connect THERE* SERVICE; dissolve; connect PEER* GUESTS; send", arrives=True),
    Deed("refused, then allowed", ALL, "bind HERE*; bind NEXT*; connect PEER* GUESTS; send", arrives=True),
    Deed("by the loopback", ALL, "bind LOCAL*; connect THERE* SERVICE; send"),
    Deed("raw sockets", "raw4 raw6 icmp4 icmp6", "sendto THERE* 0", harmless=True),
    Deed("packet sockets", "packet", "bind HERE", harmless=True),
    # Somebody else's address to be reached at.
    Deed("listen at any", ALL, "bind ANY* 7201; listen"),
    Deed("listen at any, for both families", "tcp6 udp6", "option IPV6_V6ONLY 0; bind ANY6 7201; listen"),
    Deed("listen at the host's address", ALL, "bind HERE* 7202; listen"),
    Deed("listen at the other guest's address", ALL, "bind NEXT* 7203; listen"),
    Deed("listen without bind", TCP, "listen"),
    Deed("bound by a datagram", UDP, "sendto THERE* 9"),
    Deed("share a host's port", ALL, "option SO_REUSEADDR 1; option SO_REUSEPORT 1; bind ANY* SERVICE; listen"),
    Deed("share a guest's port", ALL, "option SO_REUSEADDR 1; option SO_REUSEPORT 1; bind ANY* GUESTS; listen"),
    Deed("take a service's address", ALL, "option SO_REUSEADDR 1; option SO_REUSEPORT 1; bind HERE* SERVICE; listen"),
    Deed("take a guest's address", ALL, "option SO_REUSEADDR 1; option SO_REUSEPORT 1; bind NEXT* GUESTS; listen"),
)
