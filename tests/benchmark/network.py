# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's network costs: the same server as a process of the host, in a guest, and behind veth and bridge.

Each of the three has network namespaces of its own, so that the host's own process does not meet what steers packets to
guests. traffic.c is client and server; both are on one processor, so that all the work for a packet counts and none of
it hides behind waiting.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind import attach, steering
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import policy_of
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .ground import Ground
from .measure import Say

_SOURCE = Path(__file__).with_name("traffic.c")
_XID = 200
_NETWORKS = Path("/run/netns")
_HOST, _GUEST = "192.0.2.1", "192.0.2.10"
_PREFIX = 24
#: The three take turns this often in one sitting; turns are short, so that what else the machine does meets all three.
_TURNS, _MILLISECONDS = 24, 12
_PATIENCE = 60.0

Measure = Callable[[Ground, int, Say], "list[list[float]]"]


@dataclass(frozen=True)
class Side:
    """Where a process of the pair makes its sockets: a network namespace and a control group."""

    network: Path
    group: Path

    def join(self) -> None:
        """Called in the process, before it makes a socket."""
        (self.group / "cgroup.procs").write_text("0")


@dataclass(frozen=True)
class Pair:
    """A client, and the server it talks to at ``address``."""

    client: Side
    server: Side
    address: str

    @contextlib.contextmanager
    def serving(self, program: Path, kind: str) -> Iterator[None]:
        """Have the server run for a ``with`` block."""
        command = ["nsenter", f"--net={self.server.network}", "--", str(program), "serve", kind, _cpu(), self.address]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=self.server.join)
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n", "the server does not start"
            yield
        finally:
            server.kill()
            server.communicate()


def _cpu() -> str:
    return str(max(os.sched_getaffinity(0)))


def _measure(kind: str, *, outgoing: bool = False) -> Measure:
    """How traffic of one kind is measured: a list of what host, guest and bridge did in each round.

    Where memory happens to lie makes a difference as large as the one looked for, so there are several sittings, each
    with networks and servers of its own.
    """

    def measure(ground: Ground, sittings: int, say: Say) -> list[list[float]]:
        program = _compiled(ground.site.run)
        found: list[list[float]] = []
        for number in range(1, sittings + 1):
            with _pairs(ground.site, outgoing=outgoing) as pairs:
                rounds = _rounds(program, kind, pairs)
            found += rounds
            ratio = statistics.median(guest / host for host, guest, _bridge in rounds)
            say(f"{number}: {ratio:.3f} of what the host's own process does")
        return found

    return measure


def _rounds(program: Path, kind: str, pairs: Sequence[Pair]) -> list[list[float]]:
    """One sitting. The first round does not count: it fills caches."""
    command = [str(program), "measure", kind, _cpu(), str(_MILLISECONDS), str(_TURNS + 1)]
    for pair in pairs:
        command += [str(pair.client.network), str(pair.client.group), pair.address]
    with contextlib.ExitStack() as stack:
        for pair in pairs:
            stack.enter_context(pair.serving(program, kind))
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=_PATIENCE)
    return [[float(rate) for rate in line.split()] for line in result.stdout.splitlines()[1:]]


def _compiled(directory: Path) -> Path:
    """The program that makes the traffic."""
    program = directory / "traffic"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", str(program), str(_SOURCE)], check=True)
    return program


@contextlib.contextmanager
def _pairs(site: Site, *, outgoing: bool) -> Iterator[list[Pair]]:
    """Make the networks, and the guest's binding, for a ``with`` block; answer with host, guest and bridge.

    With ``outgoing`` the guest is the client and the host's process the server.
    """
    layout = cgroup.layout()
    with contextlib.ExitStack() as stack:
        groups = {}
        for name in ("plain", "bound"):
            groups[name] = cgroup.create(layout, f"{site.cgroup}/{name}")
            stack.callback(cgroup.remove, layout, f"{site.cgroup}/{name}")
        # The machine's own named networks are neither in the way nor in reach.
        _NETWORKS.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(_NETWORKS)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(_NETWORKS)], check=True)
        for name in ("host", "guest", "bridge", "behind"):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for name in ("host", "guest"):
            for own in (_HOST, _GUEST):
                _ip("-n", name, "address", "add", f"{own}/{_PREFIX}", "dev", "lo")
        _bridge()
        place = site.steering.with_name("benchmark")
        stack.callback(_forget, place)
        with steering.opened(place, _NETWORKS / "guest") as opened:
            attach.attach(groups["bound"], policy_of(_XID, [ip_interface(f"{_GUEST}/{_PREFIX}")]), opened)
        stack.callback(attach.detach, groups["bound"])
        plain, bound = groups["plain"], groups["bound"]
        sides = (
            (Side(_NETWORKS / "host", plain), Side(_NETWORKS / "host", plain)),
            (Side(_NETWORKS / "guest", plain), Side(_NETWORKS / "guest", bound)),
            (Side(_NETWORKS / "bridge", plain), Side(_NETWORKS / "behind", plain)),
        )
        yield [Pair(guest, host, _HOST) if outgoing else Pair(host, guest, _GUEST) for host, guest in sides]


def _bridge() -> None:
    """A network with a bridge, and one behind it."""
    _ip("-n", "bridge", "link", "add", "br0", "type", "bridge")
    _ip("-n", "bridge", "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", "behind")
    _ip("-n", "bridge", "link", "set", "veth0", "master", "br0")
    for network, device, address in (("bridge", "br0", _HOST), ("behind", "eth0", _GUEST)):
        _ip("-n", network, "address", "add", f"{address}/{_PREFIX}", "dev", device)
        _ip("-n", network, "link", "set", device, "up")
    _ip("-n", "bridge", "link", "set", "veth0", "up")


def _forget(pins: Path) -> None:
    """Remove pins: they are those of one network namespace, and the next guest is in another one."""
    for pin in pins.iterdir():
        pin.unlink()
    pins.rmdir()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


MEASURES: Mapping[str, Measure] = {
    "net-stream": _measure("stream"),
    "net-request": _measure("request"),
    "net-connect": _measure("connect"),
    "net-connect-out": _measure("connect", outgoing=True),
    "net-datagram": _measure("datagram"),
}
