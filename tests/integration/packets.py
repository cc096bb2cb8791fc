# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent on a network, as a packet socket sees it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass

V4, V6 = socket.AF_INET, socket.AF_INET6
PACKET_OUTGOING = 4


@dataclass(frozen=True)
class Packet:
    source: str
    destination: str
    protocol: int
    content: bytes

    @classmethod
    def parse(cls, frame: bytes) -> Packet | None:
        """An IP packet out of an Ethernet frame; None: something else."""
        kind, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
        if kind == 0x0800:
            source, destination = (socket.inet_ntop(V4, packet[at : at + 4]) for at in (12, 16))
            return cls(source, destination, packet[9], packet[4 * (packet[0] & 15) :])
        if kind != 0x86DD:
            return None
        source, destination = (socket.inet_ntop(V6, packet[at : at + 16]) for at in (8, 24))
        protocol, content = packet[6], packet[40:]
        while protocol in (0, 43, 44, 60):
            length = 8 if protocol == 44 else 8 * (content[1] + 1)
            protocol, content = content[0], content[length:]
        return cls(source, destination, protocol, content)

    def spoken_by_nobody(self, services: Collection[int]) -> bool:
        """The kernel's own: errors, neighbours, memberships, answers at the ports of services."""
        if self.protocol in (1, 58):
            return not self.content or self.content[0] not in (8, 128)
        if self.protocol == 6 and len(self.content) >= 20:
            port, flags = struct.unpack_from("!H", self.content)[0], self.content[13]
            data = self.content[4 * (self.content[12] >> 4) :]
            return not (flags & 0x12 == 0x02 or (data and port not in services))
        return self.protocol in (2,)


class Sniffer:
    """Tells every packet that a packet socket sees going out, or with ``arriving`` coming in; by itself, those that are
    sent in this network namespace."""

    def __init__(self, made: socket.socket | None = None, arriving: bool = False) -> None:
        self.socket = made or socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.setblocking(False)
        self.arriving = arriving

    def close(self) -> None:
        self.socket.close()

    def sent(self) -> list[Packet]:
        """The packets since the last time."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, where = self.socket.recvfrom(1 << 16)
                packet = Packet.parse(frame) if (where[2] != PACKET_OUTGOING) == self.arriving else None
                if packet is not None:
                    found.append(packet)
        return found
