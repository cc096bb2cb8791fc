# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An address and its link: asking whether another machine has it, and telling all machines that it is here now.

IPv4 asks and tells by ARP (RFC 826, RFC 5227), IPv6 by neighbour discovery (RFC 4861, RFC 4862). Frames are built here,
because the kernel does neither for an IPv4 address, and for an IPv6 one only where it may take a second over it.
"""

from __future__ import annotations

import fcntl
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterable
from typing import Union

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD  # linux/if_ether.h
_ARPHRD_ETHER = 1  # linux/if_arp.h
_IFF_UP, _IFF_NOARP, _SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x1, 0x80, 0x8913, 0x8927  # netdevice(7)
_BROADCAST = b"\xff" * 6
_ARP_REQUEST = 1
_NEIGHBOR_SOLICITATION, _NEIGHBOR_ADVERTISEMENT = 135, 136
_OVERRIDE = 0x20000000
_TARGET_LINK_ADDRESS = b"\x02\x01"  # option 2, of one unit of eight bytes
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_UNSPECIFIED = ipaddress.IPv6Address("::")
_ARP = struct.Struct("!HHBBH6s4s6s4s")


def announcement(hardware: bytes, address: IP) -> bytes:
    """The frame that tells the whole link that ``address`` is at ``hardware`` now (pure).

    IPv4: an ARP announcement (RFC 5227 section 2.3). IPv6: an unsolicited neighbour advertisement that overrides what
    is remembered (RFC 4861 section 7.2.6).
    """
    if address.version == 4:
        return _arp(hardware, address.packed, address.packed)
    body = struct.pack("!I", _OVERRIDE) + address.packed + _TARGET_LINK_ADDRESS + hardware
    return _discovery(hardware, address, _ALL_NODES, _NEIGHBOR_ADVERTISEMENT, body)


def question(hardware: bytes, address: IP) -> bytes:
    """The frame that whoever has ``address`` answers, and that changes nobody's memory (pure).

    IPv4: an ARP probe (RFC 5227 section 2.1.1). IPv6: a neighbour solicitation for duplicate address detection (RFC
    4862 section 5.4.2).
    """
    if address.version == 4:
        return _arp(hardware, bytes(4), address.packed)
    asked = ipaddress.IPv6Address(int(ipaddress.IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)
    return _discovery(hardware, _UNSPECIFIED, asked, _NEIGHBOR_SOLICITATION, bytes(4) + address.packed)


def claim(frame: bytes) -> tuple[IP, bytes] | None:
    """The address that a frame's sender says it has, and the sender's hardware address; None when it says none (pure).

    Said by every ARP packet but a probe, and by every neighbour advertisement.
    """
    kind, body = frame[12:14], frame[14:]
    if kind == struct.pack("!H", _ETH_P_ARP) and len(body) >= _ARP.size:
        hardware_type, protocol, lengths, _ignored, _operation, hardware, sender, *_rest = _ARP.unpack_from(body)
        if (hardware_type, protocol, lengths) == (_ARPHRD_ETHER, 0x0800, 6) and any(sender):
            return ipaddress.IPv4Address(sender), hardware
    # Hop limit 255: not from beyond the link. Extension headers are not looked behind: advertisements have none.
    advertised = bytes((socket.IPPROTO_ICMPV6, 255)), _NEIGHBOR_ADVERTISEMENT
    if kind == struct.pack("!H", _ETH_P_IPV6) and len(body) >= 64 and (body[6:8], body[40]) == advertised:
        return ipaddress.IPv6Address(body[48:64]), frame[6:12]
    return None


def _arp(hardware: bytes, sender: bytes, target: bytes) -> bytes:
    request = _ARP.pack(_ARPHRD_ETHER, 0x0800, 6, 4, _ARP_REQUEST, hardware, sender, bytes(6), target)
    return _BROADCAST + hardware + struct.pack("!H", _ETH_P_ARP) + request


def _discovery(hardware: bytes, source: IP, target: ipaddress.IPv6Address, kind: int, body: bytes) -> bytes:
    """A neighbour discovery message to a multicast address (RFC 2464 section 7) with its checksum (RFC 4443)."""
    length = len(body) + 4
    pseudo = source.packed + target.packed + struct.pack("!II", length, socket.IPPROTO_ICMPV6)
    message = struct.pack("!BBH", kind, 0, _checksum(pseudo + struct.pack("!BBH", kind, 0, 0) + body)) + body
    header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_ICMPV6, 255) + source.packed + target.packed
    return b"\x33\x33" + target.packed[-4:] + hardware + struct.pack("!H", _ETH_P_IPV6) + header + message


def _checksum(data: bytes) -> int:
    """The internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def hardware_address(interface: str) -> bytes | None:
    """The interface's Ethernet address; None when it is not there or down, has none, or nobody there speaks ARP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16s24x", interface.encode())
        try:
            (flags,) = struct.unpack_from("=H", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
            answer = fcntl.ioctl(control, _SIOCGIFHWADDR, request)
        except OSError:
            return None
    (kind,) = struct.unpack_from("=H", answer, 16)
    hardware = answer[18:24]
    usable = flags & _IFF_UP and not flags & _IFF_NOARP and kind == _ARPHRD_ETHER and any(hardware)
    return hardware if usable else None


def announce(interface: str, addresses: Iterable[IP]) -> None:
    """Tell the link of ``interface`` that ``addresses`` are here now; nothing where it is no usable Ethernet.

    Raises OSError. The socket stays until the process ends: the kernel takes 15 ms to close a packet socket.
    """
    hardware = hardware_address(interface)
    if hardware is not None:
        link = _opened(interface, 0)
        for address in addresses:
            link.send(announcement(hardware, address))
        link.detach()


def holders(interface: str, addresses: Iterable[IP], seconds: float) -> dict[IP, bytes]:
    """Those of ``addresses`` that another machine on the link has → that machine's hardware address.

    One that takes longer than ``seconds`` to answer is not seen; on a wire an answer takes well below a millisecond.
    Raises OSError. The sockets stay until the process ends, as in :func:`announce`.
    """
    asked = set(addresses)
    hardware = hardware_address(interface)
    if hardware is None or not asked:
        return {}
    protocols = {4: _ETH_P_ARP, 6: _ETH_P_IPV6}
    links = {version: _opened(interface, protocols[version]) for version in {address.version for address in asked}}
    for address in asked:
        links[address.version].send(question(hardware, address))
    found: dict[IP, bytes] = {}
    deadline = time.monotonic() + seconds
    while set(found) != asked and time.monotonic() < deadline:
        ready, _ignored, _ignored = select.select(list(links.values()), [], [], max(0, deadline - time.monotonic()))
        for link in ready:
            heard = claim(link.recv(2048))
            if heard is not None and heard[0] in asked and heard[1] != hardware:
                found[heard[0]] = heard[1]
    for link in links.values():
        link.detach()
    return found


def _opened(interface: str, protocol: int) -> socket.socket:
    """A packet socket on an interface that receives frames of ``protocol``, 0: none (packet(7))."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    link.bind((interface, protocol))
    return link
