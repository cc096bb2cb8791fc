# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link with another machine on it: a veth pair whose far end is in a network namespace of its own."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import namespace

from .guests import eventually

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 0x0003


@dataclass(frozen=True)
class Link:
    """The near end is ``here``, the far one ``there`` in the namespace of process ``pid``."""

    here: str
    there: str
    pid: int

    def far(self, *argv: str) -> str:
        """Run a command beyond the link; it has to succeed."""
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def ear(self) -> socket.socket:
        """A packet socket that hears everything that comes out of the far end."""

        def opened() -> socket.socket:
            namespace.enter(self.pid, "net", CLONE_NEWNET)
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((self.there, ETH_P_ALL))
            return made

        with ThreadPoolExecutor(max_workers=1) as pool:  # a namespace is a thread's
            return pool.submit(opened).result()


def heard(ear: socket.socket, seconds: float) -> list[bytes]:
    """What arrives within ``seconds``, outgoing frames left out."""
    found = []
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([ear], [], [], left)[0]:
            frame, (_name, _protocol, kind, *_rest) = ear.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING:
                found.append(frame)
    return found


@contextlib.contextmanager
def link(here: str, *addresses: str) -> Iterator[Link]:
    """A link whose near end has ``addresses``, gone at the end."""
    there = f"{here}-far"
    own_net = Path("/proc/self/ns/net").readlink()
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as machine:
        try:
            eventually(lambda: Path(f"/proc/{machine.pid}/ns/net").readlink() != own_net, "no network namespace")
            made = Link(here, there, machine.pid)
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", str(machine.pid))
            try:
                for address in addresses:
                    _ip("address", "add", address, "dev", here, *(["nodad"] if ":" in address else []))
                _ip("link", "set", here, "up")
                made.far("ip", "link", "set", there, "up")
                eventually(lambda: "LOWER_UP" in _ip("link", "show", here), "the link has no carrier")
                yield made
            finally:
                _ip("link", "delete", here)
        finally:
            machine.kill()


def _ip(*argv: str) -> str:
    return subprocess.run(["ip", *argv], capture_output=True, text=True, check=True).stdout
