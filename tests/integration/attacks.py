# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks on the address binding: what it is, the sockets it is tried with, its steps, what must be seen.

Steps are those of ``attacker.py``. Every kind of socket makes a test of its own; a name with a star is the address of
that kind's family: ``HOST*`` is HOST or HOST6. What must be seen are the steps that fail, and how, from inside; empty:
all of them succeed, and it is for the view from outside to find them harmless. What that looks for is the same after
every attack, and is in ``test_attacks.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ALL = "tcp4 tcp6 udp4 udp6"
TCP, UDP = "tcp4 tcp6", "udp4 udp6"


@dataclass(frozen=True)
class Attack:
    """One line of the table, or one test of it.

    * sees: the steps that fail, of any kind of socket but those in of_kind
    * harmless: nothing comes of it on this kernel, also without the binding
    * as_root: also made as the host's root, which has the same user id as services that let their ports be shared
    """

    name: str
    kinds: str
    steps: str
    sees: str = ""
    of_kind: Mapping[str, str] = field(default_factory=dict)
    harmless: bool = False
    as_root: bool = True

    def tests(self) -> Iterator[Attack]:
        for kind in self.kinds.split():
            steps = self.steps.replace("*", "6" if kind.endswith("6") else "")
            yield Attack(self.name, kind, steps, self.of_kind.get(kind, self.sees))

    def __str__(self) -> str:
        return f"{self.name}, {self.kinds}"


TABLE: tuple[Attack, ...] = (
    # Binding.
    Attack("bind to the host's address", ALL, "bind HOST*; listen", "bind EADDRNOTAVAIL"),
    Attack("bind to another guest's address", ALL, "bind B*; listen", "bind EADDRNOTAVAIL"),
    Attack("bind to an address nobody has", ALL, "bind NOBODY*; listen", "bind EADDRNOTAVAIL"),
    Attack("bind to any", ALL, "bind ANY*; listen"),
    Attack("bind to any, without IPV6_V6ONLY", "tcp6 udp6", "option IPV6_V6ONLY 0; bind ANY*; listen"),
    Attack("bind to any, IPV6_V6ONLY", "tcp6 udp6", "option IPV6_V6ONLY 1; bind ANY*; listen"),
    Attack("bind to mapped any", "tcp6 udp6", "bind mapped:ANY; listen"),
    Attack("bind to the host's address, mapped", "tcp6 udp6", "bind mapped:HOST; listen", "bind EADDRNOTAVAIL"),
    Attack("bind to another guest's address, mapped", "tcp6 udp6", "bind mapped:B; listen", "bind EADDRNOTAVAIL"),
    Attack("bind with the address of the other family", "tcp6 udp6", "bind HOST; listen", "bind EINVAL"),
    Attack(
        "bind with no family",
        ALL,
        "bind unspec:HOST; bind unspec:ANY; listen",
        "bind EADDRNOTAVAIL, bind EAFNOSUPPORT",
        of_kind={"tcp6": "bind EINVAL, bind EINVAL", "udp6": "bind EINVAL, bind EINVAL"},
    ),
    Attack("bind twice", ALL, "bind ANY* 7100; bind HOST* 7100; listen", "bind EADDRNOTAVAIL"),
    Attack(
        "bind to the host's address, IP_FREEBIND",
        "tcp4 udp4",
        "option IP_FREEBIND 1; bind HOST; listen",
        "bind EADDRNOTAVAIL",
    ),
    Attack(
        "bind to the host's address, IPV6_FREEBIND",
        "tcp6 udp6",
        "option IPV6_FREEBIND 1; bind HOST6; listen",
        "bind EADDRNOTAVAIL",
    ),
    Attack(
        "bind to the host's address, transparent",
        "tcp4 udp4",
        "option IP_TRANSPARENT 1; bind HOST; listen",
        "option EPERM, bind EADDRNOTAVAIL",
    ),
    Attack(
        "bind to the host's address, transparent",
        "tcp6 udp6",
        "option IPV6_TRANSPARENT 1; bind HOST6; listen",
        "option EPERM, bind EADDRNOTAVAIL",
    ),
    Attack(
        "bind to the host's address, no port yet",
        "tcp4 udp4",
        "option IP_BIND_ADDRESS_NO_PORT 1; bind HOST",
        "bind EADDRNOTAVAIL",
        harmless=True,
    ),
    Attack(
        "bind to another guest's loopback",
        ALL,
        "bind LOOPBACK_B*; listen",
        of_kind={"tcp6": "bind EADDRNOTAVAIL", "udp6": "bind EADDRNOTAVAIL"},
    ),
    Attack("bind to another guest's loopback, mapped", "tcp6 udp6", "bind mapped:LOOPBACK_B; listen"),
    Attack("bind to the end of 127/8", "tcp4 udp4", "bind 127.255.255.254; listen", harmless=True),
    Attack("bind to the host's link-local address", "tcp6 udp6", "bind LINK; listen", "bind EADDRNOTAVAIL"),
    Attack("bind to a scoped loopback", "tcp6 udp6", "bind ::1%lo; listen"),
    Attack("bind to a multicast group", "udp4 udp6", "bind GROUP* 7101", "bind EADDRNOTAVAIL", harmless=True),
    Attack(
        "bind to a broadcast address",
        "udp4",
        "bind 192.0.2.255; bind 255.255.255.255",
        "bind EADDRNOTAVAIL, bind EADDRNOTAVAIL",
    ),
    Attack("bind to class E", "tcp4 udp4", "bind 240.0.0.1; listen", "bind EADDRNOTAVAIL"),
    Attack(
        "bind to IPv4 in other disguises",
        "tcp6 udp6",
        "bind ::192.0.2.1; bind 64:ff9b::192.0.2.1; bind 2002:c000:201::1",
        "bind EADDRNOTAVAIL, bind EADDRNOTAVAIL, bind EADDRNOTAVAIL",
        harmless=True,
    ),
    Attack(
        "flip IPV6_V6ONLY after the bind",
        "tcp6 udp6",
        "option IPV6_V6ONLY 1; bind ANY6; option IPV6_V6ONLY 0; listen",
        "option EINVAL",
    ),
    Attack(
        "flip IPV6_V6ONLY on and off first",
        "tcp6 udp6",
        "option IPV6_V6ONLY 1; option IPV6_V6ONLY 0; bind ANY6; listen",
    ),
    Attack("bind to any on an interface", ALL, "option SO_BINDTODEVICE text:attack0; bind ANY*; listen"),
    Attack(
        "bind to the host's address on its interface",
        ALL,
        "option SO_BINDTOIFINDEX index:attack0; bind HOST*; listen",
        "bind EADDRNOTAVAIL",
    ),
    # Sockets on "any", without bind.
    Attack("listen without bind", TCP, "listen"),
    Attack("listen without bind, on an interface", TCP, "option SO_BINDTODEVICE text:attack0; listen"),
    Attack("listen without bind, for both families", "tcp6", "option IPV6_V6ONLY 0; listen"),
    Attack("listen without bind, fast open", TCP, "option TCP_FASTOPEN 5; option TCP_DEFER_ACCEPT 1; listen"),
    Attack("listen on a port of one's choice", "tcp4", "option IP_LOCAL_PORT_RANGE range:40123; listen"),
    Attack("autobind by a datagram", UDP, "sendto A* 9"),
    Attack("autobind by a datagram to nowhere", UDP, "sendto NOBODY* 9"),
    Attack("autobind by a refused datagram", UDP, "sendto GROUP* 9", "sendto EPERM"),
    Attack("autobind by a datagram without destination", UDP, "send", "send EDESTADDRREQ"),
    Attack("autobind for both families", "udp6", "option IPV6_V6ONLY 0; sendto mapped:A 9"),
    Attack(
        "autobind, then bind", UDP, "send; bind HOST*; bind ANY*", "send EDESTADDRREQ, bind EADDRNOTAVAIL, bind EINVAL"
    ),
    Attack("autobind, then connect", UDP, "send; connect HOST* WILD; send", "send EDESTADDRREQ, send EPERM"),
    Attack(
        "autobind, connect to oneself, dissolve",
        UDP,
        "send; connect A* 9; dissolve",
        "send EDESTADDRREQ",
        harmless=True,
    ),
    Attack("connect, dissolve", UDP, "connect HOST* WILD; dissolve; send; sendto HOST* WILD", "send EDESTADDRREQ"),
    Attack("connect, dissolve, listen", TCP, "connect HOST* WILD; dissolve; listen"),
    Attack("connect, dissolve, connect elsewhere", ALL, "connect HOST* WILD; dissolve; connect B* BWILD; send"),
    Attack("listen, dissolve, connect", TCP, "listen; dissolve; connect HOST* WILD; send"),
    Attack("listen, dissolve, bind", TCP, "listen; dissolve; bind HOST*; listen", "bind EADDRNOTAVAIL"),
    Attack("refused connect, then listen", TCP, "connect GROUP* 9; listen", "connect EPERM"),
    Attack("refused bind, then listen", TCP, "bind HOST*; listen", "bind EADDRNOTAVAIL"),
    # Connecting and sending.
    Attack("connect to the host", ALL, "connect HOST* WILD; send"),
    Attack("connect to the host's second address", ALL, "connect HOST2* WILD; send"),
    Attack("connect to another guest", ALL, "connect B* BWILD; send"),
    Attack("connect bound to the second address", ALL, "bind A2*; connect HOST* WILD; send", harmless=True),
    Attack(
        "connect bound to the loopback",
        ALL,
        "bind LOCAL*; connect HOST* WILD; send",
        "connect ETIMEDOUT",
        of_kind={"udp4": "send EPERM", "udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "connect bound to the loopback, to another guest",
        ALL,
        "bind LOCAL*; connect B* BWILD; send",
        "connect ETIMEDOUT",
        of_kind={"udp4": "send EPERM", "udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "connect to loopback services",
        ALL,
        "connect LOCAL* LOOP; send",
        "connect ECONNREFUSED",
        of_kind={"udp4": "", "udp6": ""},
    ),
    Attack(
        "connect to wildcard services by loopback",
        ALL,
        "connect LOCAL* WILD; send",
        "connect ECONNREFUSED",
        of_kind={"udp4": "send EPERM", "udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "connect to any",
        ALL,
        "connect ANY* LOOP; send; connect ANY* WILD; send",
        "connect ECONNREFUSED, connect ECONNABORTED",
        of_kind={"udp4": "send ECONNREFUSED", "udp6": "send ECONNREFUSED"},
    ),
    Attack(
        "connect to mapped loopback",
        "tcp6 udp6",
        "connect mapped:127.0.0.1 LOOP; send",
        "connect ECONNREFUSED",
        of_kind={"udp6": ""},
    ),
    Attack(
        "connect to mapped any",
        "tcp6 udp6",
        "connect mapped:ANY WILD; send",
        "connect ECONNREFUSED",
        of_kind={"udp6": "send EPERM"},
        harmless=True,
    ),
    Attack("connect to the host, mapped", "tcp6 udp6", "connect mapped:HOST WILD; send"),
    Attack(
        "connect with the address of the other family",
        "tcp6 udp6",
        "connect HOST WILD; send",
        "connect EINVAL",
        of_kind={"udp6": ""},
    ),
    Attack(
        "connect to loopback with the address of the other family",
        "tcp6 udp6",
        "connect 127.0.0.1 WILD; send",
        "connect EINVAL",
        of_kind={"udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "connect with another family, then with the own",
        "udp6",
        "connect HOST WILD; connect HOST6 WILD; send",
        "connect EAFNOSUPPORT",
    ),
    Attack(
        "connect to 127.0.0.53, 127.1.2.3, 127.255.255.255",
        "tcp4",
        "connect 127.0.0.53 WILD; connect 127.1.2.3 WILD; connect 127.255.255.255 WILD",
        "connect ECONNREFUSED, connect ECONNREFUSED, connect ECONNREFUSED",
    ),
    Attack(
        "send to 127.0.0.53, 127.1.2.3, 127.255.255.255",
        "udp4",
        "sendto 127.0.0.53 WILD; sendto 127.1.2.3 WILD; sendto 127.255.255.255 WILD",
        "sendto EPERM, sendto EPERM, sendto EPERM",
    ),
    Attack(
        "connect to another guest's loopback",
        ALL,
        "connect LOOPBACK_B* BLOOP; send",
        of_kind={"tcp4": "connect ECONNREFUSED", "tcp6": "connect ETIMEDOUT"},
    ),
    Attack("send to another guest's loopback", UDP, "sendto LOOPBACK_B* BLOOP"),
    Attack(
        "connect to a scoped loopback",
        "tcp6 udp6",
        "connect ::1%lo WILD; send; connect ::1%attack0 WILD; send",
        "connect ECONNREFUSED, connect ECONNREFUSED",
        of_kind={"udp6": "send EPERM, send EPERM"},
        harmless=True,
    ),
    Attack("connect to the host's link-local address", "tcp6 udp6", "connect LINK WILD; send"),
    Attack(
        "connect to all nodes",
        "udp6",
        "connect ff02::1%attack0 WILD; send; sendto ff01::1%lo WILD",
        "connect EPERM, send EDESTADDRREQ, sendto EPERM",
    ),
    Attack("connect to class E", "tcp4 udp4", "connect 240.0.0.1 9; send", "connect ETIMEDOUT", of_kind={"udp4": ""}),
    Attack(
        "connect to this network", "tcp4 udp4", "connect 0.0.0.1 WILD; send", "connect ETIMEDOUT", of_kind={"udp4": ""}
    ),
    Attack(
        "connect to IPv4 in other disguises",
        "tcp6 udp6",
        "connect ::192.0.2.1 WILD; connect 64:ff9b::192.0.2.1 WILD; connect 2002:c000:201::1 WILD",
        "connect ETIMEDOUT, connect ETIMEDOUT, connect ETIMEDOUT",
        of_kind={"udp6": ""},
    ),
    Attack(
        "connect to loopback in other disguises",
        "tcp6 udp6",
        "connect ::127.0.0.1 WILD; connect 64:ff9b::127.0.0.1 WILD",
        "connect ETIMEDOUT, connect ETIMEDOUT",
        of_kind={"udp6": ""},
    ),
    Attack("connect to oneself", TCP, "bind A* 7102; connect A* 7102; send", harmless=True),
    Attack("connect to oneself by loopback", TCP, "bind LOCAL* 7103; connect LOCAL* 7103; send", harmless=True),
    Attack(
        "open at once from both ends",
        "tcp4",
        "bind A 7104; socket; bind A2 7105; connect A 7104",
        "connect ECONNREFUSED",
        harmless=True,
    ),
    Attack("send to the host", UDP, "sendto HOST* WILD; sendto HOST2* WILD; sendto B* BWILD"),
    Attack(
        "send to loopback services",
        UDP,
        "sendto LOCAL* LOOP; sendto LOCAL* WILD; sendto ANY* WILD",
        "sendto EPERM, sendto EPERM",
    ),
    Attack(
        "send to mapped addresses",
        "udp6",
        "sendto mapped:HOST WILD; sendto mapped:127.0.0.1 WILD; sendto mapped:ANY WILD",
        "sendto EPERM, sendto EPERM",
    ),
    Attack(
        "send with the address of the other family",
        "udp6",
        "sendto HOST WILD; sendto 127.0.0.1 WILD; sendto 0.0.0.0 WILD",
        "sendto EPERM, sendto EPERM",
    ),
    Attack(
        "send with no family",
        "udp4",
        "sendto unspec:127.0.0.1 WILD; sendto unspec:ANY WILD; sendto unspec:HOST WILD",
        "sendto EPERM, sendto EPERM",
    ),
    Attack(
        "send elsewhere on a connected socket",
        UDP,
        "connect A* 9; sendto LOCAL* LOOP; sendto LOCAL* WILD; sendto HOST* WILD",
        "sendto EPERM",
    ),
    Attack("send many at once", UDP, "many HOST* WILD LOCAL* LOOP"),
    Attack("send more than a packet", UDP, "big HOST* WILD; big LOCAL* WILD", "big EPERM"),
    Attack("send in pieces", UDP, "option UDP_CORK 1; sendto HOST* WILD; sendto LOCAL* WILD; option UDP_CORK 0"),
    Attack("send a part, then to loopback", UDP, "sendto HOST* WILD 0x8000; sendto LOCAL* LOOP"),
    Attack("send a part, then from elsewhere", UDP, "sendto HOST* WILD 0x8000; from HOST* HOST* WILD"),
    Attack("send segments", UDP, "option UDP_SEGMENT 3; sendto HOST* WILD; sendto LOCAL* LOOP"),
    Attack("send with MSG_PROXY", UDP, "sendto HOST* WILD 0x10; sendto LOCAL* LOOP 0x10"),
    Attack(
        "send past the routes", UDP, "option SO_DONTROUTE 1; sendto HOST* WILD; sendto LOCAL* LOOP; sendto NOBODY* WILD"
    ),
    Attack(
        "send on an interface",
        UDP,
        "option SO_BINDTODEVICE text:attack0; sendto NEAR* WILD; sendto LOCAL* LOOP",
        "sendto EINVAL",
        of_kind={"udp6": ""},
    ),
    Attack(
        "connect on an interface",
        ALL,
        "option SO_BINDTOIFINDEX index:attack0; connect NEAR* 9; send",
        "connect ETIMEDOUT",
        of_kind={"udp4": "", "udp6": ""},
    ),
    Attack(
        "connect to loopback on an interface",
        ALL,
        "option SO_BINDTODEVICE text:lo; connect LOCAL* WILD; send",
        "connect ECONNREFUSED",
        of_kind={"udp4": "send EPERM", "udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "send by the interface of IP_UNICAST_IF",
        "udp4",
        "option IP_UNICAST_IF bigindex:attack0; sendto NEAR WILD; connect NEAR WILD; send",
        "send EPERM",
    ),
    Attack(
        "send by the interface of IPV6_UNICAST_IF",
        "udp6",
        "option IPV6_UNICAST_IF bigindex:attack0; sendto NEAR6 WILD; connect NEAR6 WILD; send",
        "send EPERM",
    ),
    Attack("mark packets", ALL, "option SO_MARK 1; connect HOST* WILD", "option EPERM"),
    Attack(
        "listen to where others send",
        "udp4",
        "option IP_RECVORIGDSTADDR 1; option IP_NODEFRAG 1; bind ANY",
        "option ENOPROTOOPT",
    ),
    # The source.
    Attack("name the host as source", UDP, "from HOST* HOST* WILD", "from EPERM"),
    Attack("name another guest as source", UDP, "from B* HOST* WILD", "from EPERM"),
    Attack(
        "name another guest's loopback as source",
        UDP,
        "from LOOPBACK_B* HOST* WILD; from LOOPBACK_B* B* BWILD",
        "from EPERM, from EPERM",
    ),
    Attack("name loopback as source", UDP, "from LOCAL* HOST* WILD; from LOCAL* LOCAL* LOOP", "from EPERM"),
    Attack("name any as source", UDP, "from ANY* HOST* WILD"),
    Attack(
        "name a foreign source on a connected socket",
        UDP,
        "connect HOST* WILD; from HOST*; from B*",
        "from EPERM, from EPERM",
    ),
    Attack(
        "name a foreign source on a bound socket",
        UDP,
        "bind A*; from HOST* HOST* WILD; from B* HOST* WILD",
        "from EPERM, from EPERM",
    ),
    Attack(
        "name a foreign source on an autobound socket",
        UDP,
        "send; from HOST* HOST* WILD",
        "send EDESTADDRREQ, from EPERM",
    ),
    Attack(
        "name a foreign source, mapped",
        "udp6",
        "from mapped:HOST mapped:HOST WILD; from HOST mapped:HOST WILD; from HOST HOST WILD",
        "from EPERM, from EPERM, from EPERM",
    ),
    Attack("name own IPv6 source for a mapped destination", "udp6", "from A6 mapped:HOST WILD", "from EINVAL"),
    Attack(
        "stick to a foreign source",
        "udp6",
        "option IPV6_PKTINFO HOST6+index:lo; sendto HOST6 WILD; connect HOST6 WILD; send",
        "connect ENETUNREACH, send EDESTADDRREQ",
    ),
    Attack("prefer other sources", "tcp6 udp6", "option IPV6_ADDR_PREFERENCES 4; connect HOST6 WILD; send"),
    Attack("fast open", TCP, "sendto HOST* WILD 0x20000000"),
    Attack(
        "fast open to loopback services",
        TCP,
        "sendto LOCAL* LOOP 0x20000000; sendto LOCAL* WILD 0x20000000",
        "sendto ECONNREFUSED",
    ),
    Attack(
        "fast open to mapped loopback",
        "tcp6",
        "sendto mapped:127.0.0.1 WILD 0x20000000",
        "sendto ECONNREFUSED",
        harmless=True,
    ),
    Attack(
        "fast open after a refusal", TCP, "sendto GROUP* WILD 0x20000000; sendto HOST* WILD 0x20000000", "sendto EPERM"
    ),
    Attack("fast open with no family", TCP, "sendto unspec:HOST WILD 0x20000000", "sendto ENOTSUP", harmless=True),
    Attack("fast open by connect", TCP, "option TCP_FASTOPEN_CONNECT 1; connect HOST* WILD; send"),
    Attack(
        "fast open by connect to loopback services",
        TCP,
        "option TCP_FASTOPEN_CONNECT 1; connect LOCAL* WILD; send",
        "connect ECONNREFUSED",
        harmless=True,
    ),
    Attack("fast open a listener", TCP, "listen; sendto HOST* WILD 0x20000000", "sendto EISCONN"),
    # Options of packets.
    Attack(
        "source route, loose",
        "tcp4 udp4",
        "option IP_OPTIONS hex:830704+HOST+hex:00; connect 127.0.0.1 WILD; connect HOST2 WILD; send",
        "option EPERM, connect ECONNREFUSED",
        of_kind={"udp4": "option EPERM, send EPERM"},
        harmless=True,
    ),
    Attack(
        "source route, strict, over loopback",
        "tcp4 udp4",
        "option IP_OPTIONS hex:890704+127.0.0.1+hex:00; connect HOST WILD; send",
        "option EPERM",
    ),
    Attack(
        "source route, over another guest's loopback",
        "tcp4 udp4",
        "option IP_OPTIONS hex:830704+LOOPBACK_B+hex:00; connect B BLOOP; send",
        "option EPERM, connect ECONNREFUSED",
        of_kind={"udp4": "option EPERM"},
    ),
    Attack(
        "source route, by a control message",
        "udp4",
        "routed hex:830704+127.0.0.1+hex:00 HOST WILD; routed hex:830704+GROUP+hex:00 HOST WILD",
        "routed EPERM, routed EPERM",
    ),
    Attack(
        "record the route on loopback",
        "tcp4 udp4",
        "option IP_OPTIONS hex:070704+ANY+hex:00; connect 127.0.0.1 LOOP; send",
        "connect ETIMEDOUT",
        of_kind={"udp4": "send EPERM"},
    ),
    Attack(
        "routing header to loopback",
        "tcp6 udp6",
        "option IPV6_RTHDR segment:::1; connect HOST6 WILD; send",
        "connect ETIMEDOUT",
        of_kind={"udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "routing header to another guest's loopback",
        "tcp6 udp6",
        "option IPV6_RTHDR segment:LOOPBACK_B6; connect B6 BLOOP; send",
        "connect ETIMEDOUT",
        of_kind={"udp6": ""},
    ),
    Attack(
        "routing header to a group", "udp6", "option IPV6_RTHDR segment:GROUP6; connect HOST6 WILD; send", "send EPERM"
    ),
    Attack(
        "routing header to the own loopback",
        "tcp6 udp6",
        "option IPV6_RTHDR segment:LOOPBACK_A6; connect HOST6 WILD; send",
        "connect ETIMEDOUT",
        of_kind={"udp6": "send EPERM"},
        harmless=True,
    ),
    Attack(
        "routing header by a control message",
        "udp6",
        "routed segment:::1 HOST6 WILD; routed segment:LOOPBACK_B6 B6 BLOOP",
        "routed EINVAL, routed EINVAL",
    ),
    Attack("hop-by-hop options", "udp6", "option IPV6_HOPOPTS hex:0000010400000000; sendto HOST6 WILD", "option EPERM"),
    # Multicast, broadcast, anycast.
    Attack("send to a group", UDP, "sendto GROUP* WILD; connect GROUP* WILD", "sendto EPERM, connect EPERM"),
    Attack("send to a group, as the host", "udp4", "option IP_MULTICAST_IF HOST; sendto GROUP WILD", "sendto EPERM"),
    Attack(
        "send to a group, on an interface",
        "udp6",
        "option IPV6_MULTICAST_IF index:attack0; sendto GROUP6 WILD",
        "sendto EPERM",
    ),
    Attack(
        "send to a mapped group",
        "udp6",
        "sendto mapped:GROUP WILD; connect mapped:GROUP WILD",
        "sendto EPERM, connect EPERM",
    ),
    Attack(
        "join a group and listen",
        "udp4",
        "option IP_ADD_MEMBERSHIP GROUP+HOST; send; option SO_REUSEADDR 1",
        "option EPERM, send EDESTADDRREQ",
    ),
    Attack(
        "join a group and listen",
        "udp6",
        "option IPV6_ADD_MEMBERSHIP GROUP6+index:attack0; send",
        "option EPERM, send EDESTADDRREQ",
    ),
    Attack(
        "join an anycast group",
        "udp6",
        "option IPV6_JOIN_ANYCAST 2001:db8:1::+index:attack0; send",
        "option EPERM, send EDESTADDRREQ",
    ),
    Attack(
        "broadcast",
        "udp4",
        "option SO_BROADCAST 1; sendto 255.255.255.255 WILD; sendto 192.0.2.255 WILD; connect 192.0.2.255 WILD",
        "sendto EPERM, sendto EPERM, connect EPERM",
    ),
    Attack(
        "broadcast, mapped",
        "udp6",
        "option SO_BROADCAST 1; sendto mapped:255.255.255.255 WILD; sendto mapped:192.0.2.255 WILD",
        "sendto EPERM, sendto EPERM",
    ),
    Attack(
        "broadcast in a network unknown to the guest",
        "udp4",
        "option SO_BROADCAST 1; sendto 203.0.113.255 WILD",
        "sendto EACCES",
    ),
    # Taking what others have.
    Attack(
        "take the host's port with SO_REUSEPORT",
        ALL,
        "option SO_REUSEPORT 1; bind HOST* SHARED; listen",
        "bind EADDRNOTAVAIL",
    ),
    Attack("take the host's port on any with SO_REUSEPORT", ALL, "option SO_REUSEPORT 1; bind ANY* SHARED; listen"),
    Attack(
        "take the host's port with SO_REUSEADDR",
        ALL,
        "option SO_REUSEADDR 1; bind HOST* SHARED; bind ANY* SHARED; listen",
        "bind EADDRNOTAVAIL",
    ),
    Attack(
        "take another guest's port with SO_REUSEPORT",
        ALL,
        "option SO_REUSEPORT 1; bind B* BWILD; bind ANY* BWILD; listen",
        "bind EADDRNOTAVAIL",
    ),
    Attack("take another guest's loopback port", ALL, "option SO_REUSEPORT 1; bind LOCAL* BLOOP; listen"),
    Attack(
        "take the wildcard service's port",
        ALL,
        "option SO_REUSEPORT 1; option SO_REUSEADDR 1; bind ANY* WILD; bind A2* WILD; listen",
        "bind EADDRINUSE, bind EADDRINUSE",
        of_kind={"udp4": "bind EINVAL", "udp6": "bind EINVAL"},
    ),
    Attack(
        "choose who gets it with a filter",
        ALL,
        "option SO_REUSEPORT 1; bind ANY* SHARED; option SO_ATTACH_REUSEPORT_CBPF filter:; listen",
    ),
    Attack(
        "choose who gets it with a program",
        ALL,
        "option SO_REUSEPORT 1; bind ANY* SHARED; option SO_ATTACH_REUSEPORT_EBPF 0; listen",
        "option EINVAL",
    ),
    Attack(
        "take a port on any by autobind, SO_REUSEPORT",
        "udp4",
        "option SO_REUSEPORT 1; option IP_LOCAL_PORT_RANGE range:EPHEMERAL; send",
        "send EAGAIN",
        harmless=True,
        as_root=False,
    ),
    Attack(
        "take a port on any by listen, SO_REUSEPORT",
        "tcp4",
        "option SO_REUSEPORT 1; option IP_LOCAL_PORT_RANGE range:EPHEMERAL; listen",
        "listen EADDRINUSE",
        harmless=True,
    ),
    Attack(
        "take a port on any by listen, SO_REUSEADDR",
        "tcp4",
        "option SO_REUSEADDR 1; option IP_LOCAL_PORT_RANGE range:EPHEMERAL; listen",
        "listen EADDRINUSE",
        harmless=True,
    ),
    Attack(
        "take a port on any by autobind, SO_REUSEADDR",
        "udp4",
        "option SO_REUSEADDR 1; option IP_LOCAL_PORT_RANGE range:EPHEMERAL; send",
        "send EAGAIN",
    ),
    # Sockets that become something else.
    Attack(
        "turn an IPv6 socket into IPv4",
        "tcp6",
        "connect mapped:HOST WILD; option IPV6_ADDRFORM 2; dissolve; connect 127.0.0.1 WILD; listen",
        "connect ECONNREFUSED",
    ),
    Attack(
        "turn an IPv6 socket into IPv4, then take",
        "udp6",
        "connect mapped:HOST WILD; option IPV6_ADDRFORM 2; dissolve; connect 127.0.0.1 LOOP; send; from HOST HOST WILD",
        "from EPERM",
    ),
    Attack(
        "turn a socket on any into IPv4",
        "udp6",
        "sendto mapped:A 9; connect mapped:HOST WILD; option IPV6_ADDRFORM 2; dissolve",
    ),
    Attack(
        "repair a connection",
        TCP,
        "option TCP_REPAIR 1; bind HOST*; connect NOBODY* 9",
        "option EPERM, bind EADDRNOTAVAIL, connect ETIMEDOUT",
    ),
    Attack(
        "put another protocol on top",
        TCP,
        "option TCP_ULP text:smc; option TCP_ULP text:mptcp; option TCP_ULP text:espintcp; listen",
        "option ENOENT, option ENOTSUP, option ENOENT",
    ),
    Attack("be a tunnel's end", UDP, "send; option UDP_ENCAP 2; option UDP_ENCAP 3", "send EDESTADDRREQ"),
    Attack("force a buffer", UDP, "option SO_RCVBUFFORCE 1; send", "option EPERM, send EDESTADDRREQ"),
    Attack(
        "have packets parsed early",
        "udp6",
        "option IPV6_2292PKTOPTIONS hex:24000000000000002900000032000000+HOST6+index:lo; sendto HOST6 WILD",
    ),
    # Protocols with a bind and connect of their own.
    Attack("MPTCP", "mptcp4 mptcp6", "bind HOST*; connect HOST* WILD", "socket EPROTONOSUPPORT"),
    Attack("UDP-Lite", "udplite4 udplite6", "bind HOST*; sendto HOST* WILD", "socket EPROTONOSUPPORT"),
    Attack("SCTP", "sctp4 sctp6", "bind HOST*; listen", "socket EPROTONOSUPPORT", harmless=True),
    Attack("DCCP", "dccp4 dccp6", "bind HOST*; listen", "socket EPROTONOSUPPORT", harmless=True),
    Attack("L2TP, SMC", "l2tp4 smc6", "bind HOST*; listen", "socket EPROTONOSUPPORT", harmless=True),
    Attack("raw packets", "raw4 raw6 icmp4 icmp6", "sendto HOST* 0", "socket EPERM", harmless=True),
    Attack("ping", "ping4 ping6", "bind HOST*; sendto HOST* 0", "socket EACCES", harmless=True),
)

#: Families that only the system call filter and the user namespace keep away: no program of the binding sees them.
FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("packet", "xdp", "vsock", "alg", "tipc", "rds", "kcm", "rxrpc", "smc4"), "EAFNOSUPPORT"),
    **dict.fromkeys(("oldpacket", "usersock", "sock_diag", "xfrm", "nfnetlink", "generic"), "EPROTONOSUPPORT"),
}
