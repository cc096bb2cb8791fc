# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors on their way from one process to another (SCM_RIGHTS, unix(7))."""

from __future__ import annotations

import socket
import struct


class Channel:
    """One end of a channel; what is sent at the other end is received here."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._number = struct.Struct("i")

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, descriptor: int) -> None:
        """Send a descriptor, which stays open here. Imports nothing, wherever it is called."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, self._number.pack(descriptor))
        self._end.sendmsg([b"\0"], [rights])

    def receive(self) -> int:
        """Wait for a descriptor. Raises ValueError when the other end was closed without one."""
        _data, (descriptor, *_rest), _flags, _address = socket.recv_fds(self._end, 1, 1)
        return descriptor

    def close(self) -> None:
        self._end.close()


def pair() -> tuple[Channel, Channel]:
    """Both ends of a new channel."""
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)
