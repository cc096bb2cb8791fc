# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facet binding: the addresses a guest owns on the host's network stack (Linux-VServer: chbind, naddress).

While a guest runs, its addresses are on the host's interfaces and the binding's programs are on its cgroup.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import address_list, host_addresses, ping, running
from ..chbind import attach as binding_attach
from ..chbind import steering as binding_steering
from ..chbind import trial
from ..chbind.policy import LOOPBACKS, BindingPolicy, policy_of
from ..errors import InvalidInput, Unsupported, VserverError
from ..facet import Change, compare_fields
from ..kernel import address, cgroup, cgroup_place
from ..limits import socket_counter
from ..model import Binding, Guest, address_of
from ..running import Running
from ..site import Site

_NETWORKS = ("bound", "host")
_FIELDS = tuple(field.name for field in dataclasses.fields(Binding))


def parse(options: Mapping[str, Any], recorded: Binding) -> Binding:
    """Options: ``addresses`` (see :func:`..address_list.parse`) and the ``prefix`` of those that are given without one,
    ``interface``, ``network``, ``loopback``, ``ping``, ``multicast``, ``shared``."""
    given = {name: options[name] for name in _FIELDS if options.get(name) is not None}
    for name, choices in (("network", _NETWORKS), ("loopback", LOOPBACKS)):
        if name in given and given[name] not in choices:
            raise InvalidInput(f"{name} {given[name]!r} is unknown", remedy=f"Use one of {', '.join(choices)}.")
    interface = given.get("interface")
    if interface is not None and not (0 < len(interface) < 16 and "/" not in interface and interface.isprintable()):
        raise InvalidInput(f"interface name {interface!r} is not valid", remedy="Use 1 to 15 printable characters.")
    if "addresses" in given:
        given["addresses"] = address_list.parse(tuple(map(str, given["addresses"])), options.get("prefix"))
    elif options.get("prefix") is not None:
        raise InvalidInput("prefix is given without addresses", remedy="Give the addresses it is for as well.")
    return dataclasses.replace(recorded, **given)


def resolve(site: Site, guest: Guest, others: Sequence[Guest], check: bool) -> Binding:
    """Refuse an unknown interface. What somebody else has is refused by :func:`..holdings.refuse_taken`."""
    interface = guest.binding.interface
    if interface is not None and not check and not address.is_interface(interface):
        raise InvalidInput(
            f"put the addresses of guest {guest.name} on {interface}",
            why="this host has no such interface",
            remedy=f"It has {', '.join(address.interfaces())}; without interface, one is found.",
        )
    return guest.binding


def policy(guest: Guest) -> BindingPolicy:
    """The policy that the binding's programs enforce for ``guest`` (pure)."""
    return policy_for(guest.xid, guest.binding)


def policy_for(xid: int, own: Binding) -> BindingPolicy:
    """The policy of a binding; xid 0 is the host's (pure)."""
    addresses = list(map(address_of, own.addresses))
    return policy_of(xid, addresses, loopback=own.loopback, ping=own.ping, multicast=own.multicast)


def observe(site: Site, guest: Guest, now: Running | None) -> Binding | None:
    """The binding in force: the recorded one if the kernel has its very programs, else ``network: host``.

    Addresses that are no longer local are left out: a restarted network manager takes off what it has not put there.
    So is ``ping`` when the host no longer lets the guest's groups.
    """
    if now is None:
        return None
    lost = host_addresses.lost(now.guest)
    kept = tuple(text for text in now.guest.binding.addresses if text not in lost)
    pinging = now.guest.binding.ping and ping.permitted(now.guest)
    bound = dataclasses.replace(now.guest.binding, addresses=kept, ping=pinging)
    if bound.network == "host" or not _lacking(_cgroup(site, guest.name), now.guest):
        return bound
    return dataclasses.replace(bound, network="host")


def compare(desired: Binding, observed: Binding | None) -> list[Change]:
    """Every difference is live: programs are replaced atomically, connections on kept addresses go on."""
    if observed is None:
        return []
    return compare_fields("binding", desired, observed, live=_FIELDS)


def apply(site: Site, guest: Guest, changes: Sequence[Change]) -> None:
    """Change a running guest's binding: new addresses come up before the programs allow them, old ones go after."""
    now = running.read(site, guest.name)
    host_addresses.up(site, guest)
    attach(site, guest)
    permit(guest)
    if now is not None:
        release(site, now.guest, keep=guest)
    running.update_section(site, guest, "binding")
    host_addresses.down(site, guest.name, keep=host_addresses.wanted(guest))


def require_tight(guest: Guest) -> None:
    """Raise :class:`~..errors.Unsupported` when this kernel cannot hold ``guest`` to its addresses."""
    if guest.binding.network == "bound":
        binding_attach.dialect()


def prepare() -> None:
    """Find out what this kernel can do, which processes forked from this one then know."""
    with contextlib.suppress(Unsupported):
        binding_attach.dialect()
        binding_attach.can_steer()


def attach(site: Site, guest: Guest) -> None:
    """Put the binding's programs on the guest's outer cgroup, or take them off for ``network: host``.

    Where the kernel can steer, a wildcard listener answers on all of the guest's addresses; elsewhere on the first.
    """
    path = _cgroup(site, guest.name)
    try:
        if guest.binding.network == "host":
            binding_attach.detach(path)
        else:
            attach_policy(site, path, policy(guest), shared=guest.binding.shared)
        socket_counter.renew(path)
    except OSError as error:
        raise VserverError(f"bind guest {guest.name} to its addresses", why=error.strerror or str(error)) from error


def permit(guest: Guest) -> None:
    """Give the guest, whose addresses are up, what ``ping`` takes beside the programs."""
    if guest.binding.ping and guest.binding.network == "bound":
        ping.up(guest, policy(guest))


def attach_policy(site: Site, path: Path, wanted: BindingPolicy, *, shared: bool) -> None:
    """Make ``wanted`` the binding of a cgroup, steered where the kernel can. Raises OSError."""
    if binding_attach.can_steer():
        with binding_steering.opened(site.steering) as steering:
            binding_attach.attach(path, wanted, steering, shared=shared)
    else:
        binding_attach.attach(path, wanted)


def require_effect(site: Site, guest: Guest) -> None:
    """Raise :class:`~..errors.Unsupported` when this kernel takes the programs and then does not apply them."""
    if guest.binding.network == "bound" and not trial.takes_effect(_cgroup(site, guest.name)):
        raise Unsupported(
            f"bind guest {guest.name} to its addresses",
            why="sockets on this host have lost their cgroup, so no program of it sees them",
            remedy="Unmount the cgroup controllers net_cls and net_prio, or use Linux 5.15 or newer.",
        )


def release(site: Site, guest: Guest, keep: Guest | None = None) -> None:
    """Take away what ``guest`` has beside its cgroup: it has stopped, or has only what ``keep`` says now."""
    if guest.binding.ping and not (keep and keep.binding.ping and keep.binding.network == "bound"):
        ping.down(guest)
    stop_steering(site, policy(guest), policy(keep) if keep else None)


def stop_steering(site: Site, gone: BindingPolicy, keep: BindingPolicy | None) -> None:
    """Steer no more packets to the addresses of ``gone``, but for those of ``keep``."""
    if site.steering.is_dir():
        with binding_steering.opened(site.steering) as steering:
            binding_steering.forget(steering, gone, keep)


def verify(guest: Guest, pid: int) -> None:
    """Raise when the kernel does not apply the binding's programs to the cgroup that process ``pid`` really is in."""
    if guest.binding.network == "host":
        return
    what = f"bind guest {guest.name} to its addresses"
    try:
        lacking = _lacking(_group_of(pid), guest)
    except FileNotFoundError as error:
        raise VserverError(what, why="the control group of its process 1 has been removed") from error
    if lacking:
        raise VserverError(what, why=f"the kernel does not apply our programs to its process 1 at {', '.join(lacking)}")


def programs(pid: int) -> list[str]:
    """The hooks at which the kernel applies a program of ours to process ``pid``, by name; none when it is gone.

    Its own cgroup is asked, wherever it is by now: what is attached further up counts only if it acts there.
    """
    try:
        attached = binding_attach.attached(_group_of(pid)).programs
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted(hook.name for hook, names in attached.items() if names)


def _group_of(pid: int) -> Path:
    """The v2 group that process ``pid`` really is in. Raises OSError when that is removed, or the process gone."""
    return cgroup.layout().tree / cgroup_place.of_process(pid).lstrip("/")


def _lacking(group: Path, guest: Guest) -> list[str]:
    return binding_attach.attached(group).lacks(policy(guest), steering=binding_attach.can_steer())


def _cgroup(site: Site, name: str) -> Path:
    return running.outer_cgroup(site, cgroup.layout(), name)
