# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of one lab: a network namespace with a bridge that has no way out, and a port for each host.

The controller's end is the bridge itself; programs that need it are started inside the namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .failure import LabError
from .recipe import PREFIX4, PREFIX6

BRIDGE = "lab"
#: Always the same: hosts that go on from a kept state remember it.
BRIDGE_HARDWARE_ADDRESS = "52:54:00:86:00:01"
CONTROLLER = 1
#: The number of the first host; it is the last part of its addresses.
FIRST = 11


def address4(number: int) -> str:
    return f"{PREFIX4}.{number}"


def address6(number: int) -> str:
    return f"{PREFIX6}::{number}"


@dataclass(frozen=True)
class Network:
    """The network of the lab ``name``."""

    name: str

    @property
    def namespace(self) -> str:
        return f"vserver-lab-{self.name}"

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.namespace

    @property
    def inside(self) -> tuple[str, ...]:
        """Words to put before a command that is to be in the lab's network."""
        return ("nsenter", f"--net={self.path}", "--")

    def up(self) -> None:
        """Makes the namespace and its bridge, unless they are there."""
        if self.path.exists():
            return
        _run(["ip", "netns", "add", self.namespace])
        self._ip("link", "set", "lo", "up")
        # Without spanning tree, and with no wait before a new port forwards.
        self._ip(
            "link",
            "add",
            BRIDGE,
            "address",
            BRIDGE_HARDWARE_ADDRESS,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        )
        self._ip("address", "add", f"{address4(CONTROLLER)}/24", "dev", BRIDGE)
        self._ip("address", "add", f"{address6(CONTROLLER)}/64", "dev", BRIDGE, "nodad")
        self._ip("link", "set", BRIDGE, "up")

    def down(self) -> None:
        if self.path.exists():
            _run(["ip", "netns", "delete", self.namespace])

    def add_port(self, port: str) -> None:
        """A port for one host, unless it is there."""
        if subprocess.run([*self.inside, "ip", "link", "show", port], capture_output=True, check=False).returncode:
            self._ip("tuntap", "add", "dev", port, "mode", "tap")
            self._ip("link", "set", port, "master", BRIDGE)
            self._ip("link", "set", port, "up")

    def isolate(self, ports: Sequence[str], isolated: bool) -> None:
        """Whether these ports can exchange packets with each other; with the controller they can."""
        for port in ports:
            self._ip("link", "set", "dev", port, "type", "bridge_slave", "isolated", "on" if isolated else "off")

    def plug(self, port: str, plugged: bool) -> None:
        """Whether anything passes this port at all."""
        self._ip("link", "set", "dev", port, "up" if plugged else "down")

    def _ip(self, *words: str) -> None:
        _run([*self.inside, "ip", *words])


def _run(argv: Sequence[str]) -> None:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"{' '.join(argv)}: {result.stderr.strip()}")
