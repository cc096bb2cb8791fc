# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put an address binding's programs on a cgroup, see what is there, take them away.

The kernel is the only record: a program's name says whose it is and which instructions it has. Programs stay until
the cgroup is removed. A socket belongs to the cgroup its creator was in, so a process has to be moved into the cgroup
before it makes its first socket.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from ..errors import Unsupported, VserverError
from ..kernel import bpf, bpf_map, contents
from ..kernel.bpf_assembler import Assembler, Helper, Register
from . import traffic_map
from .listener_table import enter_listener
from .option_program import options
from .policy import BindingPolicy
from .programs import HOOKS, NAME_PREFIX, BindingProgram, Dialect, binding_programs, names
from .receivers import CGROUP
from .socket_programs import bind6, show4
from .steering import Steering, register, unpinned
from .traffic_counter import TRAFFIC, Traffic

_FILTERS = (bpf.AttachType.INET_INGRESS, bpf.AttachType.INET_EGRESS)
_ONLY6_BY_DEFAULT = "/proc/sys/net/ipv6/bindv6only"


@dataclass(frozen=True)
class Feature:
    """Something the binding needs of the kernel.

    * since: the Linux version that brought it
    * required: no binding is tight without it
    * answer: what the kernel said when it was tried, empty when it works
    """

    name: str
    since: str
    required: bool
    answer: str

    @property
    def available(self) -> bool:
        return not self.answer


@dataclass(frozen=True)
class Attached:
    """The binding programs that act on a cgroup: for each hook the names, its own and its ancestors'."""

    programs: Mapping[bpf.AttachType, tuple[str, ...]]

    def lacks(self, policy: BindingPolicy, *, steering: bool = False) -> list[str]:
        """Return the names of the hooks where ``policy`` is not in force; empty: all of it is."""
        return [
            hook.name
            for hook, name in names(policy, _dialect(steering)).items()
            if name not in self.programs.get(hook, ())
        ]

    def __bool__(self) -> bool:
        return any(self.programs.values())


def probe() -> dict[str, Feature]:
    """Return what the binding needs, by name: the hooks, the things :class:`Dialect` is about, and steering.

    Tried out by loading programs, never guessed from a version. Needs CAP_BPF and CAP_NET_ADMIN.
    """
    steering = Feature("steering", "5.9", False, _try_steering())
    return {**_probe_attaching(), steering.name: steering}


def _probe_attaching() -> dict[str, Feature]:
    features = {}
    for attach_type, hook in HOOKS.items():
        asm = Assembler()
        asm.leave(1)
        answer = _try(attach_type, asm)
        features[attach_type.name] = Feature(attach_type.name, hook.since, hook.required, answer)
    low_ports = Assembler()
    low_ports.leave(3)
    features["low_ports"] = Feature("low_ports", "5.12", False, _try(bpf.AttachType.INET4_BIND, low_ports))
    exact_errno = Assembler()
    exact_errno.move(Register.R1, -1)
    exact_errno.call(Helper.SET_RETVAL)
    exact_errno.leave(1)
    features["exact_errno"] = Feature("exact_errno", "5.18", False, _try(bpf.AttachType.INET4_BIND, exact_errno))
    return features


def _try_steering() -> str:
    some_policy = BindingPolicy(xid=2, ipv4=(IPv4Address("192.0.2.1"),), ipv6=(IPv6Address("2001:db8::1"),))
    modest = Dialect(low_ports=False, exact_errno=False, steering=True)
    codes = {
        bpf.AttachType.INET6_BIND: bind6(some_policy, modest),
        bpf.AttachType.INET4_GETSOCKNAME: show4(some_policy, own_and_steered=True),
        bpf.AttachType.SETSOCKOPT: options(some_policy),
        bpf.AttachType.SOCK_OPS: enter_listener(some_policy),
    }
    try:
        with ExitStack() as stack:
            steering = stack.enter_context(unpinned())
            for hook, code in codes.items():
                kind = HOOKS[hook].program_type
                stack.enter_context(bpf.opened(bpf.load_program(kind, code.linked(steering.maps), "vs.probe", hook)))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _try(attach_type: bpf.AttachType, asm: Assembler) -> str:
    try:
        with bpf.opened(
            bpf.load_program(HOOKS[attach_type].program_type, asm.assemble().instructions, "vs.probe", attach_type)
        ):
            return ""
    except OSError as error:
        return error.strerror or str(error)


@functools.cache
def dialect() -> Dialect:
    """Return what programs may say to this kernel. Raises :class:`Unsupported` when a required hook is missing."""
    features = _probe_attaching()
    for feature in features.values():
        if feature.required and not feature.available:
            raise Unsupported(
                f"bind a cgroup to addresses: this kernel has no {feature.name} hook for BPF programs",
                why=feature.answer,
                remedy=f"It came with Linux {feature.since}; 'network: host' does without any binding.",
            )
    return Dialect(low_ports=features["low_ports"].available, exact_errno=features["exact_errno"].available)


@functools.cache
def can_steer() -> bool:
    """Whether this kernel can steer packets to wildcard listeners (≥ 5.9), tried out."""
    return not _try_steering()


def attach(cgroup: Path, policy: BindingPolicy, steering: Steering | None = None, *, shared: bool = False) -> bool:
    """Make ``policy`` the binding of the cgroup with this directory; return whether anything had to be changed.

    With ``steering`` (the one of the cgroup's network namespace) wildcard listeners answer on all of its addresses,
    which with ``shared`` may be others' as well.

    A policy already in force is left alone, an earlier one of ours is replaced program by program (each in one step, no
    packet goes unfiltered, and traffic is counted on), others' programs stay. Every program is loaded before the first
    one is attached, so a refusal of the verifier changes nothing; after a failure later on, calling again completes the
    change.

    Raises :class:`Unsupported` for a kernel without the hooks, OSError for its other answers, and
    :class:`VserverError` when the kernel took the programs and yet does not report them as effective.
    """
    wanted = binding_programs(policy, _dialect(steering is not None))
    if steering is not None:
        register(steering, policy, shared=shared)
    changed = False
    with _directory(cgroup) as directory, ExitStack() as stack:
        present = {hook: _ours(directory, hook) for hook in HOOKS}
        counters = stack.enter_context(bpf.opened(traffic_map.find_or_create(_used_by_filters(present))))
        maps = {**({} if steering is None else steering.maps), TRAFFIC: counters}
        current = {program.attach_type: _current(program, present[program.attach_type], maps) for program in wanted}
        fresh = {
            program.attach_type: stack.enter_context(bpf.opened(_load(program, directory, maps)))
            for program in wanted
            if current[program.attach_type] is None
        }
        for hook in HOOKS:
            outdated = [identity for identity in present[hook] if identity != current.get(hook)]
            changed = changed or hook in fresh or bool(outdated)
            if hook in fresh and outdated:
                with bpf.opened(bpf.open_program(outdated.pop())) as old:
                    bpf.attach(directory, fresh[hook], hook, replace=old)
            elif hook in fresh:
                bpf.attach(directory, fresh[hook], hook)
            _detach(directory, hook, outdated)
    lacking = attached(cgroup).lacks(policy, steering=steering is not None)
    if lacking:
        raise VserverError(
            f"bind cgroup {cgroup} to its addresses",
            why=f"the kernel does not report our program as effective at {', '.join(lacking)}",
        )
    return changed


def attached(cgroup: Path) -> Attached:
    """Return the binding programs that act on a cgroup, as the kernel reports them (BPF_PROG_QUERY, EFFECTIVE).

    Works for any cgroup below the bound one as well, such as that of a guest's process 1. Raises OSError.
    """
    with _directory(cgroup) as directory:
        return Attached(
            {hook: tuple(info.name for info in _ours(directory, hook, effective=True).values()) for hook in HOOKS}
        )


def traffic(cgroup: Path) -> Mapping[str, Traffic] | None:
    """What the binding of a cgroup has let through, by slot; None when it has none that counts. Raises OSError."""
    with _directory(cgroup) as directory:
        return traffic_map.read(_used_by_filters({hook: _ours(directory, hook) for hook in _FILTERS}))


def matches(cgroup: Path, policy: BindingPolicy, *, steering: bool = False) -> bool:
    """Whether all of ``policy`` is in force on a cgroup. Raises OSError."""
    return not attached(cgroup).lacks(policy, steering=steering)


def detach(cgroup: Path) -> bool:
    """Take our programs off the cgroup itself; return whether there were any. Raises OSError.

    Its sockets are unrestricted from then on, except for what its ancestors' programs say.
    """
    found = False
    with _directory(cgroup) as directory:
        for hook in HOOKS:
            ours = _ours(directory, hook)
            found = found or bool(ours)
            _detach(directory, hook, ours)
    return found


def _directory(cgroup: Path) -> AbstractContextManager[int]:
    return bpf.opened(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _dialect(steering: bool) -> Dialect:
    return _steered(contents.read(_ONLY6_BY_DEFAULT).strip() == b"1") if steering else dialect()


@functools.cache
def _steered(only6: bool) -> Dialect:
    return dataclasses.replace(dialect(), steering=True, only6=only6)


def _used_by_filters(present: Mapping[bpf.AttachType, Mapping[int, bpf.ProgramInfo]]) -> set[int]:
    """The ids of the maps that the present packet filters use."""
    return {used for hook in _FILTERS for info in present[hook].values() for used in info.maps}


def _load(program: BindingProgram, directory: int, maps: Mapping[str, int]) -> int:
    # The inode number of a cgroup's directory is its id (kernfs, since 5.5).
    instructions = program.code.linked(maps, {CGROUP: os.fstat(directory).st_ino})
    return bpf.load_program(program.program_type, instructions, program.name, program.attach_type)


def _current(program: BindingProgram, present: Mapping[int, bpf.ProgramInfo], maps: Mapping[str, int]) -> int | None:
    """Return the id of the one that is the very program, using the very maps; None: there is none."""
    for identity, info in present.items():
        if info.name == program.name:
            used = {bpf_map.map_id(maps[name]) for _ignored, name in program.code.maps}
            if set(info.maps) == used:
                return identity
    return None


def _ours(directory: int, hook: bpf.AttachType, *, effective: bool = False) -> dict[int, bpf.ProgramInfo]:
    """Return our programs at one hook of a cgroup by id; none where the kernel has no such hook."""
    found = {}
    try:
        identities = bpf.query(directory, hook, effective=effective)
    except bpf.BpfError as error:
        if error.errno == errno.EINVAL and not HOOKS[hook].required:
            return {}
        raise
    for identity in identities:
        info = bpf.identified(identity)
        if info.name.startswith(NAME_PREFIX):
            found[identity] = info
    return found


def _detach(directory: int, hook: bpf.AttachType, programs: Iterable[int]) -> None:
    for identity in programs:
        with bpf.opened(bpf.open_program(identity)) as program:
            bpf.detach(directory, program, hook)
