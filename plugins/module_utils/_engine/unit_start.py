# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens when a bound systemd unit starts, before anything of it opens a socket."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterable

from . import service, services, store, systemd
from .errors import VserverError
from .kernel import cgroup, cgroup_place, process
from .kernel.sock_diag import IP
from .site import Site

#: How old this process may get waiting for the unit's addresses, in seconds: systemd grants 90 for all of a start, and
#: on a busy machine at boot much of that is gone before the first line here runs.
_AGE_MAX = 60.0


def bind_unit(site: Site, name: str) -> None:
    """Bind the cgroup of the unit that this process runs in, as recorded; waits for a service's addresses.

    Raises :class:`VserverError`.
    """
    recorded = service.load(site, "unit", name)
    if recorded is None:
        raise VserverError(
            f"bind unit {name} to addresses",
            why="no addresses are recorded for it",
            remedy=f"Bind it again (address_binding), or remove {systemd.drop_in(name)}.",
        )
    store.prepare(site)
    services.attach(site, recorded, cgroup.layout().tree / _own_group(cgroup_place.of_process(os.getpid()), name))
    if name.endswith(".service"):
        _wait_for_addresses(services.first_addresses(services.policy(recorded)))


def _own_group(group: str, name: str) -> str:
    """The unit's cgroup, given that of one of its processes: systemd may have put that one further below (pure)."""
    parts = group.strip("/").split("/")
    for index in reversed(range(len(parts))):
        if parts[index].removeprefix("_") == name.removeprefix("_"):
            return "/".join(parts[: index + 1])
    raise VserverError(f"bind unit {name} to addresses", why=f"this process is in {group}, which is not the unit's")


def _wait_for_addresses(addresses: Iterable[IP]) -> None:
    """Wait until sockets can be bound to what "any" means to the unit: at boot, the network may come up later."""
    born = (process.start_ticks(os.getpid()) or 0) / os.sysconf("SC_CLK_TCK")
    for own in addresses:
        while not _can_be_bound(own):
            if time.clock_gettime(time.CLOCK_BOOTTIME) - born >= _AGE_MAX:
                sys.stderr.write(f"vserver: {own} is still not an address of this host\n")
                return
            time.sleep(0.1)


def _can_be_bound(own: IP) -> bool:
    family = socket.AF_INET if own.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial_socket:
            trial_socket.bind((str(own), 0))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:  # also while duplicate address detection lasts
            return False
    return True
