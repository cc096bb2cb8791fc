# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of an address binding, generated from its policy. No effects.

Three layers, each tight where the one above has no hook:

* socket-address programs say what an address *means* inside the binding: "any" is the first own address, 127.0.0.1 is
  the private loopback address (and is shown back as 127.0.0.1), an unbound connect or sendto gets an own source, and
  anything that is not the binding's is refused;
* the socket-creation program lets TCP and UDP (and, on request, ping) exist, so no protocol comes in whose bind and
  connect have no hook: raw, UDP-Lite, MPTCP, SCTP, DCCP, L2TP;
* the packet filters drop what arrives for, or leaves with, an address that is not the binding's. They catch what has no
  hook at all: listen(2) without bind(2), the implicit bind of an unconnected datagram socket, a ping socket's source.

A bind to "any" is always rewritten to one address, also when the binding has several: a socket left on "any" would be
kept from foreign packets by the filters, but it would still hold its port against every other guest and the host. By
themselves these programs make a wildcard listener answer on the first address of its family only (:: takes the first
IPv6 address, or the first IPv4 address when there is no other), and a service for further addresses, loopback included,
names them. With steering (``wildcards``) one TCP listener answers on all of them.

What these programs cannot decide is where the kernel sends from when a hook comes too late: a datagram socket that has
sent unconnected and is then connected, and an unbound ping socket, take the source the host's routes prefer, and if
that is not an own address, their packets are dropped (EPERM). A route that prefers an own source, selected by
``policy.mark``, cures both.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .. import source
from ..kernel.bpf import AttachType, ProgramType, digest
from ..kernel.bpf_assembler import Code
from .destination_programs import connect4, connect6, sendmsg4, sendmsg6
from .listener_table import enter_listener
from .option_program import options
from .packet_filters import packets
from .policy import BindingPolicy
from .socket_programs import bind4, bind6, create, show4, show6
from .vocabulary import DIALECT, Dialect

__all__ = [
    "HOOKS",
    "NAME_PREFIX",
    "BindingPolicy",
    "BindingProgram",
    "Dialect",
    "Hook",
    "binding_programs",
    "names",
    "steering_name",
]

#: Begins the name of every program of ours.
NAME_PREFIX = "vs."
#: The source files, below the engine, that make instructions of a policy.
MAKERS = (
    "chbind/destination_programs.py",
    "chbind/listener_table.py",
    "chbind/option_program.py",
    "chbind/packet_filters.py",
    "chbind/policy.py",
    "chbind/programs.py",
    "chbind/receivers.py",
    "chbind/socket_programs.py",
    "chbind/traffic_counter.py",
    "chbind/vocabulary.py",
    "chbind/wildcards.py",
    "kernel/bpf.py",
    "kernel/bpf_assembler.py",
    "kernel/bpf_context.py",
)


@dataclass(frozen=True)
class BindingProgram:
    """A program and where it belongs.

    * name: see :func:`names`
    * make: makes the instructions
    """

    attach_type: AttachType
    name: str
    make: Callable[[], Code]

    @property
    def program_type(self) -> ProgramType:
        return HOOKS[self.attach_type].program_type

    @functools.cached_property
    def code(self) -> Code:
        return self.make()


def steering_name(code: Code) -> str:
    """The name of the program that steers a network namespace's packets."""
    return _name("any", digest(code.instructions))


@functools.cache
def source_digest() -> bytes:
    """The digest of everything that a program's instructions depend on beside policy and dialect.

    Read once a process, from wherever the engine was imported from; who outlives that file has to ask before.
    """
    made = hashlib.sha256()
    for path in MAKERS:
        made.update(source.read(path))
    return made.digest()


def _name(letters: str, digested: str) -> str:
    return f"{NAME_PREFIX}{letters}.{digested}"


@dataclass(frozen=True)
class Hook:
    """A place in the kernel where the binding decides; ``since`` is the first Linux that has it.

    * required: no binding is tight without it; the others are for steering
    """

    program_type: ProgramType
    letters: str
    since: str
    required: bool = True


_SOCK_ADDR = ProgramType.CGROUP_SOCK_ADDR
HOOKS: Mapping[AttachType, Hook] = MappingProxyType(
    {
        AttachType.INET_SOCK_CREATE: Hook(ProgramType.CGROUP_SOCK, "new", "4.10"),
        AttachType.INET_INGRESS: Hook(ProgramType.CGROUP_SKB, "in", "4.10"),
        AttachType.INET_EGRESS: Hook(ProgramType.CGROUP_SKB, "out", "4.10"),
        AttachType.INET4_BIND: Hook(_SOCK_ADDR, "b4", "4.17"),
        AttachType.INET6_BIND: Hook(_SOCK_ADDR, "b6", "4.17"),
        AttachType.INET4_CONNECT: Hook(_SOCK_ADDR, "c4", "4.17"),
        AttachType.INET6_CONNECT: Hook(_SOCK_ADDR, "c6", "4.17"),
        AttachType.UDP4_SENDMSG: Hook(_SOCK_ADDR, "s4", "4.18"),
        AttachType.UDP6_SENDMSG: Hook(_SOCK_ADDR, "s6", "4.18"),
        AttachType.UDP4_RECVMSG: Hook(_SOCK_ADDR, "r4", "5.2"),
        AttachType.UDP6_RECVMSG: Hook(_SOCK_ADDR, "r6", "5.2"),
        AttachType.INET4_GETSOCKNAME: Hook(_SOCK_ADDR, "n4", "5.8"),
        AttachType.INET6_GETSOCKNAME: Hook(_SOCK_ADDR, "n6", "5.8"),
        AttachType.INET4_GETPEERNAME: Hook(_SOCK_ADDR, "p4", "5.8"),
        AttachType.INET6_GETPEERNAME: Hook(_SOCK_ADDR, "p6", "5.8"),
        AttachType.SETSOCKOPT: Hook(ProgramType.CGROUP_SOCKOPT, "opt", "5.3", required=False),
        AttachType.SOCK_OPS: Hook(ProgramType.SOCK_OPS, "lst", "4.19", required=False),
    }
)


def names(policy: BindingPolicy, dialect: Dialect = DIALECT) -> dict[AttachType, str]:
    """Hook → the name of the program that enforces ``policy`` there, in the order of :data:`HOOKS`.

    It tells ours from others' and equal ones from different ones: "vs.", the hook, 40 bits of a digest of what the
    instructions are made from: policy, dialect, and the source of what makes them. The kernel keeps it, so "is what is
    attached what we want" needs neither a record of ours nor the instructions, which take a thousand times longer to
    make.
    """
    origin = digest(source_digest() + repr((policy, dialect)).encode())
    return {
        attach_type: _name(hook.letters, origin)
        for attach_type, hook in HOOKS.items()
        if hook.required or dialect.steering
    }


@functools.lru_cache(maxsize=256)
def binding_programs(policy: BindingPolicy, dialect: Dialect = DIALECT) -> tuple[BindingProgram, ...]:
    """Return the programs that enforce ``policy``, in the order of :data:`HOOKS`: tight first."""
    shown4 = functools.cache(functools.partial(show4, policy, diverted=dialect.steering))
    shown6 = functools.cache(functools.partial(show6, policy, diverted=dialect.steering))
    own4 = functools.partial(show4, policy, own_and_steered=True)
    own6 = functools.partial(show6, policy, own_and_steered=True)
    makers: dict[AttachType, Callable[[], Code]] = {
        AttachType.INET_SOCK_CREATE: functools.partial(create, policy, dialect),
        AttachType.INET_INGRESS: functools.partial(packets, policy, incoming=True),
        AttachType.INET_EGRESS: functools.partial(packets, policy, incoming=False),
        AttachType.INET4_BIND: functools.partial(bind4, policy, dialect),
        AttachType.INET6_BIND: functools.partial(bind6, policy, dialect),
        AttachType.INET4_CONNECT: functools.partial(connect4, policy, dialect),
        AttachType.INET6_CONNECT: functools.partial(connect6, policy, dialect),
        AttachType.UDP4_SENDMSG: functools.partial(sendmsg4, policy, dialect),
        AttachType.UDP6_SENDMSG: functools.partial(sendmsg6, policy, dialect),
        AttachType.UDP4_RECVMSG: shown4,
        AttachType.UDP6_RECVMSG: shown6,
        AttachType.INET4_GETSOCKNAME: own4 if dialect.steering else shown4,
        AttachType.INET6_GETSOCKNAME: own6 if dialect.steering else shown6,
        AttachType.INET4_GETPEERNAME: shown4,
        AttachType.INET6_GETPEERNAME: shown6,
        AttachType.SETSOCKOPT: functools.partial(options, policy),
        AttachType.SOCK_OPS: functools.partial(enter_listener, policy),
    }
    return tuple(BindingProgram(hook, name, makers[hook]) for hook, name in names(policy, dialect).items())
