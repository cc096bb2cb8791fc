# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering of wildcard listeners in a network namespace: three maps and one program, kept alive by pins.

The pins are in a directory of a bpf file system, one directory per network namespace. Whoever opens the steering makes
what is missing there. It may stay for good: with no address registered it costs a look-up per new connection.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from ..kernel import bpf, bpf_map
from ..kernel.bpf_map import MapType
from ..kernel.mount import mount
from .listener_table import ADDRESSES, LISTENERS, OWNERS, ListenerKey, steer
from .policy import BindingPolicy
from .programs import NAME_PREFIX, steering_name
from .vocabulary import as_ipv6
from .wildcards import ASKED

#: The first process's network namespace; /sys/fs/bpf is where systemd mounts the bpf file system.
DIRECTORY = Path("/sys/fs/bpf/vserver")

_ADDRESS_LENGTH = 16
#: Values of ADDRESSES; 0 is nobody.
_OWNERS = struct.Struct(f"={OWNERS}I")
_ENTRIES_MAX = 1 << 16
#: Of LISTENERS' values: room for a socket's cookie.
_SOCKET_LENGTH = 8


@dataclass(frozen=True)
class Steering:
    """Descriptors of the maps."""

    asked: int
    listeners: int
    addresses: int

    @property
    def maps(self) -> dict[str, int]:
        """For :meth:`~.kernel.bpf_assembler.Code.linked`."""
        return {ASKED: self.asked, LISTENERS: self.listeners, ADDRESSES: self.addresses}


@contextlib.contextmanager
def opened(directory: Path = DIRECTORY, netns: Path = Path("/proc/self/ns/net")) -> Iterator[Steering]:
    """Open the steering of a network namespace for a ``with`` block; make it where it is missing.

    ``directory`` is in the top directory of a bpf file system; that is mounted where it is not yet. Raises OSError,
    with the verifier's log where the kernel cannot do it (before Linux 5.9).
    """
    with _locked(directory.parent.parent):  # or the second of two at once would mount another over the first one's
        if not os.path.ismount(directory.parent):  # what is in /run/vserver is ours
            mount("bpf", directory.parent, "bpf", options="mode=700")
        directory.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        with _locked(directory):
            names = (ASKED, LISTENERS, ADDRESSES)
            maps = {name: stack.enter_context(bpf.opened(_map(directory, name))) for name in names}
            _link(directory, netns, maps)
        yield Steering(maps[ASKED], maps[LISTENERS], maps[ADDRESSES])


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with bpf.opened(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def unpinned() -> Iterator[Steering]:
    """Make maps and load the program for a ``with`` block, with effect on nothing. Raises OSError."""
    with ExitStack() as stack:
        names = (ASKED, LISTENERS, ADDRESSES)
        maps = {name: stack.enter_context(bpf.opened(_create(name, entries=1))) for name in names}
        stack.enter_context(bpf.opened(_load(maps)))
        yield Steering(maps[ASKED], maps[LISTENERS], maps[ADDRESSES])


def _create(name: str, entries: int = _ENTRIES_MAX) -> int:
    if name == ASKED:
        return bpf_map.create_socket_storage(name)
    if name == LISTENERS:
        return bpf_map.create_map(MapType.SOCKHASH, name, ListenerKey.LENGTH, _SOCKET_LENGTH, entries)
    return bpf_map.create_map(MapType.HASH, name, _ADDRESS_LENGTH, _OWNERS.size, entries)


def _load(maps: dict[str, int]) -> int:
    code = steer()
    kind, attach_type = bpf.ProgramType.SK_LOOKUP, bpf.AttachType.SK_LOOKUP
    return bpf.load_program(kind, code.linked(maps), steering_name(code), attach_type)


def _map(directory: Path, name: str) -> int:
    pinned = bpf_map.open_pinned(directory / name)
    if pinned is not None:
        return pinned
    made = _create(name)
    bpf_map.pin(directory / name, made)
    return made


def _link(directory: Path, netns: Path, maps: dict[str, int]) -> None:
    """Have today's program linked and no earlier one; its name is its pin's."""
    path = directory / steering_name(steer()).replace(".", "_")
    pinned = bpf_map.open_pinned(path)
    if pinned is None:
        with ExitStack() as stack:
            program = stack.enter_context(bpf.opened(_load(maps)))
            namespace = stack.enter_context(bpf.opened(os.open(netns, os.O_RDONLY | os.O_CLOEXEC)))
            attached = bpf.link_to_netns(program, namespace, bpf.AttachType.SK_LOOKUP)
            bpf_map.pin(path, stack.enter_context(bpf.opened(attached)))
    else:
        os.close(pinned)
    for other in directory.iterdir():
        if other != path and other.name.startswith(NAME_PREFIX.replace(".", "_") + "any"):
            other.unlink()


def register(steering: Steering, policy: BindingPolicy, *, shared: bool = False) -> None:
    """Let packets to the policy's addresses, loopback included, find its wildcard listeners.

    An address that another context has registered goes over to this one, or with ``shared`` is this one's as well.
    Raises OSError, ENOSPC when :data:`~.listener_table.OWNERS` contexts share an address already.
    """
    for key in _keys(policy):
        owners = _owners(steering, key) if shared else []
        if policy.owner not in owners:
            _write_owners(steering, key, [*owners, policy.owner])


def forget(steering: Steering, policy: BindingPolicy, keep: BindingPolicy | None = None) -> None:
    """Steer no more packets to the policy's addresses, but for those of ``keep``. Raises OSError.

    An address that has gone over to another context, or is another one's as well, stays with that one.
    """
    for key in _keys(policy) - (_keys(keep) if keep else set()):
        owners = _owners(steering, key)
        if policy.owner in owners:
            _write_owners(steering, key, [owner for owner in owners if owner != policy.owner])


def _owners(steering: Steering, key: bytes) -> list[int]:
    """The contexts that have registered an address, by their number in the maps."""
    value = bpf_map.lookup(steering.addresses, key, _OWNERS.size)
    return [] if value is None else [owner for owner in _OWNERS.unpack(value) if owner]


def _write_owners(steering: Steering, key: bytes, owners: list[int]) -> None:
    if len(owners) > OWNERS:
        raise OSError(errno.ENOSPC, f"an address can be shared by {OWNERS} contexts, and is already")
    if owners:
        bpf_map.update(steering.addresses, key, _OWNERS.pack(*owners, *(0,) * (OWNERS - len(owners))))
    else:
        bpf_map.delete(steering.addresses, key)


def _keys(policy: BindingPolicy) -> set[bytes]:
    """Packed, as IPv6. A host's service that has the host's loopback hears it with its wildcard listeners, too."""
    own = {*policy.ipv4, *policy.ipv6, policy.loopback4, policy.loopback6}
    if policy.host_loopback and not policy.xid:
        own |= {IPv4Address("127.0.0.1"), IPv6Address("::1")}
    return {as_ipv6(address).packed for address in own if address is not None}
