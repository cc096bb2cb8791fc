# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own programs that stand in guests' way: they listen on every address, or on an address of a guest.

A port held on "any" is taken on every address of the host, guests' included, and who connects to it there reaches the
host's program. Guests' own listeners never hold "any"; the binding sees to that.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..kernel import cgroup, sock_diag
from ..kernel.sock_diag import IP, Socket
from ..model import XID_MIN
from ..site import Site

_CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Processes of guests have ids from here on; few others do.
_FIRST_GUEST_ID = XID_MIN << 16


@dataclass(frozen=True)
class Listener:
    """A program of the host on a port.

    * protocol: ``tcp`` or ``udp``
    * addresses: what it listens on; ``0.0.0.0`` and ``::`` are every address
    * process, pid: the first process that has the socket; None when none is to be found, as for the kernel's own
    * unit: the systemd service that the process belongs to, if there is one
    """

    protocol: str
    port: int
    addresses: tuple[str, ...]
    process: str | None
    pid: int | None
    unit: str | None


def standing_in_the_way(sockets: Iterable[Socket], own: Collection[IP], client_ports: range) -> list[Socket]:
    """Those on every address or on one of ``own``; UDP sockets on a client's port of "any" are clients (pure)."""
    return [
        each
        for each in sockets
        if each.address in own
        or (each.address.is_unspecified and not (each.protocol == "udp" and each.port in client_ports))
    ]


def listeners(site: Site, own: Collection[IP] = ()) -> list[Listener]:
    """What of the host listens on every address or on one of ``own``, by port; guests' processes are left out.

    Raises OSError where the kernel cannot tell (it lacks tcp_diag or udp_diag).
    """
    found: dict[tuple[str, int, int | None], list[Socket]] = {}
    sockets = standing_in_the_way(sock_diag.waiting(), own, client_ports())
    holders = _holders(sockets) if sockets else {}
    for each in sockets:
        found.setdefault((each.protocol, each.port, holders.get(each.inode)), []).append(each)
    described = {pid: _describe(pid) for pid in set(holders.values())}
    answer = []
    for (protocol, port, pid), held in found.items():
        name, cgroups = (None, "") if pid is None else described[pid]
        if not within(cgroups, site.cgroup) and not within(cgroups, site.slice):
            addresses = tuple(dict.fromkeys(text for each in held for text in shown(each)))
            answer.append(Listener(protocol, port, addresses, name, pid, service(cgroups)))
    return sorted(answer, key=lambda each: (each.port, each.protocol, each.pid or 0))


def shown(each: Socket) -> tuple[str, ...]:
    """What a socket listens on: ``::`` is ``0.0.0.0`` as well unless it is IPv6 only (pure)."""
    both = each.address == ipaddress.IPv6Address("::") and not each.only6
    return ("0.0.0.0", "::") if both else (str(each.address),)


def client_ports() -> range:
    """The ports that the kernel gives to sockets which ask for none (ip(7))."""
    first, last = map(int, _CLIENT_PORTS.read_text().split())
    return range(first, last + 1)


def _holders(sockets: Iterable[Socket]) -> dict[int, int]:
    """Inode → the lowest process id that has the socket, of those in the cgroup it was made in if one there has it.

    Otherwise everybody is asked, but processes with ids as guests have them only for a socket made with such an id.
    """
    wanted = {f"socket:[{each.inode}]": each for each in sockets}
    found: dict[int, int] = {}
    near = sorted({pid for identity in {each.cgroup for each in wanted.values()} for pid in _members(identity)})
    for pid in near:
        _look_through(pid, wanted, found)
    if wanted:
        foreign = any(each.uid >= _FIRST_GUEST_ID for each in wanted.values())
        for pid in sorted({int(entry) for entry in os.listdir("/proc") if entry.isdigit()}.difference(near)):
            if foreign or not _has_guest_id(pid):
                _look_through(pid, wanted, found)
    return found


def _members(identity: int) -> list[int]:
    """The processes of the cgroup with this id."""
    with contextlib.suppress(OSError):
        group = cgroup.with_id(identity)
        if group is not None:
            return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    return []


def _has_guest_id(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid >= _FIRST_GUEST_ID
    except OSError:  # it has ended meanwhile
        return False


def _look_through(pid: int, wanted: dict[str, Socket], found: dict[int, int]) -> None:
    """Move the sockets that ``pid`` has from ``wanted`` to ``found``."""
    if not wanted:
        return
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                each = wanted.pop(os.readlink(f"/proc/{pid}/fd/{fd}"), None)
                if each is not None:
                    found[each.inode] = pid


def _describe(pid: int) -> tuple[str | None, str]:
    """The name of a process and the text of its /proc/PID/cgroup; None and nothing when it has ended."""
    try:
        comm, cgroups = (Path(f"/proc/{pid}/{file}").read_text(errors="replace") for file in ("comm", "cgroup"))
        return comm.rstrip("\n"), cgroups
    except OSError:
        return None, ""


def within(cgroups: str, group: str) -> bool:
    """Whether the text of /proc/PID/cgroup says that the process is below ``group`` in some hierarchy (pure)."""
    return any(line.split(":", 2)[2].startswith(f"/{group}/") for line in cgroups.split("\n") if line)


def service(cgroups: str) -> str | None:
    """The system's systemd service that the text of /proc/PID/cgroup places the process in (pure)."""
    for line in filter(None, cgroups.split("\n")):
        for part in line.split(":", 2)[2].split("/"):
            if part.endswith(".service"):
                return part
    return None


def warnings(guest: str, found: Iterable[Listener]) -> tuple[str, ...]:
    """What to tell whoever starts ``guest``: a text for each program in its way, with the remedy (pure)."""
    programs: dict[tuple[object, ...], list[Listener]] = {}
    for each in found:
        places = () if _everywhere(each) else each.addresses
        programs.setdefault((each.process, each.pid, each.unit, places), []).append(each)
    return tuple(_warning(guest, held) for held in programs.values())


def _everywhere(each: Listener) -> bool:
    return any(ipaddress.ip_address(text).is_unspecified for text in each.addresses)


def _warning(guest: str, held: list[Listener]) -> str:
    """The text for what one program listens on."""
    first = held[0]
    if first.pid is None:
        who, name = "a program of the host that has no process here", "it"
    else:
        who, name = f"{first.process} (pid {first.pid}{f', {first.unit}' if first.unit else ''})", str(first.process)
    where = "every address of the host" if _everywhere(first) else f"{', '.join(first.addresses)} of guest {guest}"
    ports = ", ".join(f"{each.protocol} port {each.port}" for each in held)
    remedy = "Bind it to the host's own address in its configuration (sshd: ListenAddress)"
    if first.unit:
        remedy += f", or by linux.vserver.address_binding with unit: {first.unit}"
    return (
        f"{who} listens on {where}, {ports}: guest {guest} cannot listen there, and {name} answers on the guest's "
        f"addresses. {remedy}."
    )
