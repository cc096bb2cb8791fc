# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet binding: the addresses a guest owns on the host's network stack (Linux-VServer: chbind, naddress).

While a guest runs, its addresses are on the host's interfaces and the binding's programs are on its cgroup.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import host_addresses, running
from ..chbind import attach as binding_attach
from ..chbind import steering as binding_steering
from ..chbind import trial
from ..chbind.policy import BindingPolicy, loopback_addresses, policy_of
from ..errors import Conflict, InvalidInput, Unsupported, VserverError
from ..facet import Change, compare_fields
from ..kernel import address, cgroup
from ..model import Binding, Guest
from ..site import Site

_NETWORKS = ("bound", "host")
_HOST_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


def parse(options: Mapping[str, Any], recorded: Binding) -> Binding:
    """Options: ``addresses`` (``192.0.2.10``, ``192.0.2.10/24``, ``2001:db8::10/64``), ``interface``, ``network``."""
    addresses, interface, network = (options.get(key) for key in ("addresses", "interface", "network"))
    if network is not None and network not in _NETWORKS:
        raise InvalidInput(f"network {network!r} is unknown", remedy=f"Use one of {', '.join(_NETWORKS)}.")
    if interface is not None and not (0 < len(interface) < 16 and "/" not in interface and interface.isprintable()):
        raise InvalidInput(f"interface name {interface!r} is not valid", remedy="Use 1 to 15 printable characters.")
    return Binding(
        recorded.addresses if addresses is None else _parse_addresses(addresses),
        recorded.interface if interface is None else interface,
        recorded.network if network is None else network,
    )


def _parse_addresses(texts: Sequence[str]) -> tuple[str, ...]:
    parsed: dict[str, str] = {}
    for text in texts:
        try:
            own = ipaddress.ip_interface(str(text).strip())
        except ValueError as error:
            raise InvalidInput(
                f"address {text!r} cannot be parsed", remedy="Write 192.0.2.10, 192.0.2.10/24 or 2001:db8::10/64."
            ) from error
        host = own.ip
        mapped = host.version == 6 and host.ipv4_mapped is not None
        if mapped or host.is_multicast or host.is_unspecified or host in _HOST_LOOPBACK:
            raise InvalidInput(
                f"address {text} cannot belong to a guest",
                remedy="Give an address of its own: no multicast, wildcard, mapped or host's loopback address.",
            )
        if str(host) in parsed:
            raise InvalidInput(f"address {host} is given twice", remedy="Give each address once.")
        parsed[str(host)] = str(own)
    return tuple(parsed.values())


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Binding:
    """Refuse an address that another guest owns or has as its private loopback address, and an unknown interface."""
    interface = guest.binding.interface
    if interface is not None and interface not in address.interfaces() and not check:
        raise InvalidInput(
            f"put the addresses of guest {guest.name} on {interface}",
            why="this host has no such interface",
            remedy=f"It has {', '.join(address.interfaces())}; without interface, one is found.",
        )
    own = {str(ipaddress.ip_interface(text).ip) for text in guest.binding.addresses}
    for other in others:
        theirs = {str(ipaddress.ip_interface(text).ip) for text in other.binding.addresses}
        taken = (own & (theirs | _private(other))) or (theirs & _private(guest))
        if taken:
            raise Conflict(
                f"bind guest {guest.name} to {', '.join(sorted(taken))}",
                why=f"guest {other.name} (xid {other.xid}) has it",
                remedy="Give each guest addresses of its own; 127.(xid >> 8).(xid & 255).1 is a guest's loopback.",
            )
    return guest.binding


def _private(guest: Guest) -> set[str]:
    """The guest's private loopback addresses (pure)."""
    return {str(private) for private in loopback_addresses(guest.xid)}


def policy(guest: Guest) -> BindingPolicy:
    """The policy that the binding's programs enforce for ``guest`` (pure)."""
    return policy_of(guest.xid, [ipaddress.ip_interface(text) for text in guest.binding.addresses])


def observe(site: Site, guest: Guest) -> Binding | None:
    """The binding in force: the recorded one if the kernel has its very programs, else ``network: host``.

    Addresses that are no longer local are left out: a restarted network manager takes off what it has not put there.
    """
    now = running.read(site, guest.name)
    if now is None:
        return None
    lost = host_addresses.lost(now.guest)
    kept = tuple(text for text in now.guest.binding.addresses if text not in lost)
    bound = dataclasses.replace(now.guest.binding, addresses=kept)
    if bound.network == "host" or not _lacking(_cgroup(site, guest.name), now.guest):
        return bound
    return dataclasses.replace(bound, network="host")


def compare(desired: Binding, observed: Binding | None) -> list[Change]:
    """Every difference is live: programs are replaced atomically, connections on kept addresses go on."""
    if observed is None:
        return []
    return compare_fields("binding", desired, observed, live=("addresses", "interface", "network"))


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    """Change a running guest's binding: new addresses come up before the programs allow them, old ones go after."""
    now = running.read(site, guest.name)
    host_addresses.up(site, guest)
    attach(site, guest)
    if now is not None:
        release(site, now.guest, keep=guest)
    running.update_section(site, guest, "binding")
    host_addresses.down(site, guest.name, keep=host_addresses.wanted(guest))


def require_tight(guest: Guest) -> None:
    """Raise :class:`~..errors.Unsupported` when this kernel cannot hold ``guest`` to its addresses."""
    if guest.binding.network == "bound":
        binding_attach.dialect()


def attach(site: Site, guest: Guest) -> None:
    """Put the binding's programs on the guest's outer cgroup, or take them off for ``network: host``.

    Where the kernel can steer, a wildcard listener answers on all of the guest's addresses; elsewhere on the first.
    """
    path = _cgroup(site, guest.name)
    try:
        if guest.binding.network == "host":
            binding_attach.detach(path)
        elif binding_attach.can_steer():
            with binding_steering.opened(site.steering) as steering:
                binding_attach.attach(path, policy(guest), steering)
        else:
            binding_attach.attach(path, policy(guest))
    except OSError as error:
        raise VserverError(f"bind guest {guest.name} to its addresses", why=error.strerror or str(error)) from error


def require_effect(site: Site, guest: Guest) -> None:
    """Raise :class:`~..errors.Unsupported` when this kernel takes the programs and then does not apply them."""
    if guest.binding.network == "bound" and not trial.takes_effect(_cgroup(site, guest.name)):
        raise Unsupported(
            f"bind guest {guest.name} to its addresses",
            why="sockets on this host have lost their cgroup, so no program of it sees them",
            remedy="Unmount the cgroup controllers net_cls and net_prio, or use Linux 5.15 or newer.",
        )


def release(site: Site, guest: Guest, keep: Guest | None = None) -> None:
    """Steer no more packets to listeners of ``guest``, which has stopped or has only the addresses of ``keep`` now."""
    if site.steering.is_dir():
        with binding_steering.opened(site.steering) as steering:
            binding_steering.forget(steering, policy(guest), policy(keep) if keep else None)


def verify(guest: Guest, pid: int) -> None:
    """Raise when the kernel does not apply the binding's programs to the cgroup that process ``pid`` really is in."""
    if guest.binding.network == "host":
        return
    group = cgroup.layout().tree / cgroup.of_process(pid).lstrip("/")
    lacking = _lacking(group, guest)
    if lacking:
        raise VserverError(
            f"bind guest {guest.name} to its addresses",
            why=f"the kernel does not apply our programs to its process 1 at {', '.join(lacking)}",
        )


def programs(site: Site, guest: Guest) -> list[str]:
    """The hooks at which the kernel applies a program of ours to the running guest, by name."""
    attached = binding_attach.attached(_cgroup(site, guest.name)).programs
    return sorted(hook.name for hook, names in attached.items() if names)


def _lacking(group: Path, guest: Guest) -> list[str]:
    return binding_attach.attached(group).lacks(policy(guest), steering=binding_attach.can_steer())


def _cgroup(site: Site, name: str) -> Path:
    return running.outer_cgroup(site, cgroup.layout(), name)
