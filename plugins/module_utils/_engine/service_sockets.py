# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service of the host listens on, and whether that is where its binding has it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .chbind.policy import BindingPolicy
from .host import listeners
from .kernel import cgroup_processes, sock_diag
from .systemd import Unit


def misplaced(name: str, allowed: BindingPolicy, unit: Unit | None, group: Path | None) -> tuple[str, ...]:
    """Sockets of service ``name`` that listen elsewhere than its binding has them, a sentence each."""
    if group is None:
        return ()
    clients = listeners.client_ports()
    own = {*allowed.ipv4, *allowed.ipv6}
    return tuple(
        f"{name} listens on {place(found)} since before it was bound"
        for found in held(unit, group)
        if found.address not in own
        and not (allowed.host_loopback and found.address.is_loopback)
        and not (allowed.multicast and found.address.is_multicast)
        and not (found.address.is_unspecified and found.protocol == "udp" and found.port in clients)
    )


def held(unit: Unit | None, group: Path) -> list[sock_diag.Socket]:
    """What a service listens on; the sockets of a socket unit are held by systemd."""
    ports = unit.ports if unit is not None and unit.name.endswith(".socket") else None
    links: set[str] = set()
    for pid in cgroup_processes.ids(group) if ports is None else [1]:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    links.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [
        found
        for found in sock_diag.waiting()
        if f"socket:[{found.inode}]" in links and (ports is None or found.port in ports)
    ]


def place(found: sock_diag.Socket) -> str:
    """A socket's address and port, as a person writes it (pure)."""
    shown = f"[{found.address}]" if found.address.version == 6 else str(found.address)
    return f"{shown}:{found.port}/{found.protocol}"
