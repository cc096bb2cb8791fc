# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The typed specification of a guest: one section a facet.

A value here is always normalised (bytes, canonical addresses, capability names with ``CAP_``), so two specifications
that mean the same are equal. ``None`` in a section is "no such setting"; what a caller leaves out is a matter of the
facets' ``parse``, which start from the recorded section.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidInput

#: xid 0 is the host and 1 the host's bound services; below 32768 the guest's ids (xid << 16) stay below 2^31.
XID_MIN, XID_MAX = 2, 32767
#: Automatic xids come from here, so that hand-picked ones rarely collide.
XID_AUTO_MIN, XID_AUTO_MAX = 28672, 32766
#: Of a setting: what the host makes of it.
AUTO = "auto"
#: How many uids and gids a guest has.
ID_COUNT = 65536

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,62}", re.ASCII)


def check_name(kind: str, name: str) -> str:
    """Return ``name`` when it can name a guest or a template; raise :class:`InvalidInput` otherwise.

    Letters, digits, ``_``, ``-`` and single dots, beginning with a letter or digit, at most 63 characters: a name is
    also a directory, a cgroup and, for a guest, a host name.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        shown = name if len(name) <= 70 else name[:70] + "…"
        raise InvalidInput(
            f"{kind} name {shown!r} is not valid",
            remedy="Use 1 to 63 letters, digits, '_', '-' and single dots, beginning with a letter or digit.",
        )
    return name


def check_xid(xid: int) -> int:
    """Return ``xid`` when it is a context id a guest can have; raise :class:`InvalidInput` otherwise."""
    if not XID_MIN <= xid <= XID_MAX:
        raise InvalidInput(f"xid {xid} is out of range", remedy=f"Choose one from {XID_MIN} to {XID_MAX}.")
    return xid


@functools.lru_cache(maxsize=4096)
def address_of(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """An address of a binding, ``address/prefix``, to calculate with (pure). Raises ValueError."""
    return ipaddress.ip_interface(text)


@dataclass(frozen=True)
class Root:
    """Where the guest's file system comes from. ``template`` is None while there is no clone."""

    template: str | None = None
    version: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Binding:
    """The addresses a guest owns, each as ``address/prefix``.

    * network: ``bound`` to these addresses, or ``host``: unrestricted, on explicit request
    * interface: where the addresses are put at start; None: found from the host's own networks
    * loopback: what 127.0.0.1 and ::1 are: ``private``, the ``host``'s, or ``none``
    * ping: ICMP echo sockets are allowed
    * multicast: multicast and broadcast are allowed
    * shared: other guests that say so too may have the same addresses
    """

    addresses: tuple[str, ...] = ()
    interface: str | None = None
    network: str = "bound"
    loopback: str = "private"
    ping: bool = False
    multicast: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What remains of root's powers: a profile, plus ``add``, minus ``drop`` (full names, sorted)."""

    profile: str = "system"
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a guest may use; None is "no limit of ours", or what the kernel does by itself.

    Nothing is limited by itself but the number of processes: without that, one guest could take all of the host's.

    * memory, memory_high, memory_swap: bytes: the ceiling; above this it is slowed down; swap beyond memory
    * memory_low, memory_min: bytes that are not taken from it while others have some to spare; or ever
    * cpus: processors' worth of time (1.5 is one and a half)
    * cpu_period, cpu_burst: microseconds: in which ``cpus`` are dealt out; what it may save up of them
    * cpu_weight: its share where guests compete, 100 being usual; cpu_idle: only what nobody else wants
    * cpuset: the processors it may run on, as the kernel writes lists (``0-2,5``)
    * processes: processes and threads; AUTO: a share of as many as the host can have
    * sockets: network sockets that its processes make; accepted ones are not among them
    * disk, inodes: bytes and number of what its clone has of its own
    * io: device file → read, write (bytes a second), read_operations, write_operations (a second)
    * rlimits: per process, name without ``RLIMIT_`` in lower case → (soft, hard); -1 is infinity
    * sysctls: name with dots → value; those of its own namespaces
    """

    memory: int | None = None
    memory_high: int | None = None
    memory_swap: int | None = None
    memory_low: int | None = None
    memory_min: int | None = None
    cpus: float | None = None
    cpu_period: int | None = None
    cpu_burst: int | None = None
    cpu_weight: int | None = None
    cpu_idle: bool = False
    cpuset: str | None = None
    processes: int | str | None = AUTO
    sockets: int | None = None
    disk: int | None = None
    inodes: int | None = None
    io: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """The context itself.

    * xid: the context's id; 0: not yet given
    * hostname: None: the guest's name
    * init: argv of process 1; None: the distribution's own init
    * timeout: seconds an orderly stop may take before the context is killed
    * autostart: start with the host
    * user_namespace: False only on explicit request
    * spectator: it sees all processes of the host, and can act on none but its own
    """

    xid: int = 0
    hostname: str | None = None
    init: tuple[str, ...] | None = None
    timeout: int = 30
    autostart: bool = False
    user_namespace: bool = True
    spectator: bool = False


@dataclass(frozen=True)
class Guest:
    """The record of one guest, as it lies in ``guests/NAME/guest.json``."""

    name: str
    root: Root = Root()
    binding: Binding = Binding()
    capabilities: Capabilities = Capabilities()
    limits: Limits = field(default_factory=Limits)
    context: Context = Context()

    @property
    def xid(self) -> int:
        return self.context.xid

    @property
    def base_id(self) -> int:
        """The host's uid and gid of the guest's root; ``uid >> 16`` of any of its processes is the xid."""
        return self.xid << 16

    @property
    def hostname(self) -> str:
        return self.context.hostname or self.name.replace("_", "-")

    def section(self, facet: str) -> Any:
        return getattr(self, facet)

    def with_section(self, facet: str, section: Any) -> Guest:
        return self if section is self.section(facet) else dataclasses.replace(self, **{facet: section})
