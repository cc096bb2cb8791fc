# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many network sockets the processes of a cgroup have made and not closed: two BPF programs and two maps.

socket(2) has a hook when a socket is made and one when it is closed (BPF_CGROUP_INET_SOCK_CREATE, _RELEASE; net/ipv4/
af_inet.c). accept(2) has only the second, so a counter that believes both hooks drifts. Here each counted socket bears
a mark (socket storage, which an accepted socket does not inherit), and only a marked one is counted out again. What
another program refuses is never closed, so it must not be counted: our program has to be the last of the cgroup, and
asks what those before it have decided.

The kernel is the only record: programs and maps live as long as the cgroup, or the last socket that was made in it.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..kernel import bpf, bpf_map
from ..kernel.bpf import AttachType, BpfError, ProgramType
from ..kernel.bpf_assembler import Assembler, Code, Helper, Register
from ..kernel.bpf_context import Field
from ..kernel.bpf_map import MapType

#: Begins the name of both programs; not that of the binding's, which takes away what is not its own.
NAME_PREFIX = "vsn."
#: The maps' names: the numbers below, and which sockets were counted.
NUMBERS, MARKS = "vs_sockets", "vs_counted"
_NOW, _LIMIT, _REFUSED = 0, 1, 2
_NUMBER = struct.Struct("=Q")
_NO_LIMIT = (1 << 64) - 1
_MAKE = 1  # BPF_SK_STORAGE_GET_F_CREATE

_CTX, _MARK, _COUNT, _MOST = Register.R6, Register.R7, Register.R8, Register.R9
_KEY = Field(-4)
_VALUE, _MARKED = Field(0, 8), Field(0)


@dataclass(frozen=True)
class Sockets:
    """The sockets of a cgroup.

    * now: made by its processes, and not closed
    * limit: of these; None: no limit
    * refused: how often one was one too many
    """

    now: int
    limit: int | None
    refused: int


def creation() -> Code:
    """Counts a socket that all other programs allow, or refuses it (EPERM) when there are as many as there may be."""
    asm = Assembler()
    asm.move(_CTX, Register.R1)
    asm.call(Helper.GET_RETVAL)
    asm.jump_if(Register.R0, "!=", 0, "refuse")
    _mark(asm, _MAKE, "refuse")  # there is no memory for it
    asm.move(_MARK, Register.R0)
    _number(asm, _LIMIT)
    asm.load(_MOST, Register.R0, _VALUE)
    _number(asm, _NOW)
    asm.move(_COUNT, Register.R0)
    _add(asm, 1)
    asm.jump_if(Register.R1, ">=", _MOST, "too many", wide=True)
    asm.move(Register.R1, 1)
    asm.store(_MARK, _MARKED, Register.R1)
    asm.leave(1)
    asm.label("too many")
    _add(asm, -1)
    _number(asm, _REFUSED)
    asm.move(_COUNT, Register.R0)
    _add(asm, 1)
    asm.label("refuse")
    asm.leave(0)
    return asm.assemble()


def release() -> Code:
    """Counts a marked socket out when it is closed."""
    asm = Assembler()
    asm.move(_CTX, Register.R1)
    _mark(asm, 0, "refuse")
    asm.load(Register.R1, Register.R0, _MARKED)
    asm.jump_if(Register.R1, "==", 0, "refuse")
    _number(asm, _NOW)
    asm.move(_COUNT, Register.R0)
    _add(asm, -1)
    asm.label("refuse")
    asm.leave(1)
    return asm.assemble()


def _mark(asm: Assembler, flags: int, otherwise: str) -> None:
    """R0 = the mark of the socket at hand."""
    asm.load_map(Register.R1, MARKS)
    asm.move(Register.R2, _CTX)
    asm.move(Register.R3, 0)
    asm.move(Register.R4, flags)
    asm.call(Helper.SK_STORAGE_GET)
    asm.jump_if(Register.R0, "==", 0, otherwise, wide=True)


def _number(asm: Assembler, which: int) -> None:
    """R0 = where a number is; an array has all of its elements, but the verifier wants to be told."""
    asm.move(Register.R1, which)
    asm.store(Register.R10, _KEY, Register.R1)
    asm.load_map(Register.R1, NUMBERS)
    asm.move(Register.R2, Register.R10)
    asm.add(Register.R2, _KEY.offset)
    asm.call(Helper.MAP_LOOKUP)
    asm.jump_if(Register.R0, "==", 0, "refuse", wide=True)


def _add(asm: Assembler, number: int) -> None:
    """R1 = what the count was before."""
    asm.move(Register.R1, number)
    asm.atomic_add(_COUNT, _VALUE, Register.R1, fetch=True)


_CREATION, _RELEASE = AttachType.INET_SOCK_CREATE, AttachType.INET_SOCK_RELEASE
#: Hook → what makes its program.
_PROGRAMS = {_CREATION: creation, _RELEASE: release}


@functools.cache
def _code(hook: AttachType) -> tuple[str, Code]:
    """A program and its name, which tells it from that of another version."""
    code = _PROGRAMS[hook]()
    return NAME_PREFIX + bpf.digest(bytes([hook]) + code.instructions), code


@functools.cache
def missing() -> str:
    """What the kernel says to the programs, tried out; empty when it can count."""
    try:
        with _made_maps() as maps:
            for hook in _PROGRAMS:
                os.close(_load(hook, maps))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def attach(cgroup: Path) -> None:
    """Count the sockets of the cgroup with this directory, from now on; what is counted already stays counted.

    Raises OSError; every program is loaded before the first one is attached.
    """
    with _directory(cgroup) as directory, ExitStack() as stack:
        wanted = [hook for hook in _PROGRAMS if not _in_force(directory, hook)]
        if not wanted:
            return
        own = {hook: _own(directory, hook) for hook in _PROGRAMS}
        old = [identity for identities in own.values() for identity in identities]
        maps = stack.enter_context(_maps_of(old[0]) if old else _made_maps())
        loaded = {hook: stack.enter_context(bpf.opened(_load(hook, maps))) for hook in wanted}
        if _RELEASE in wanted:
            # In one step, for who is not counted out counts for ever.
            replaced = [stack.enter_context(bpf.opened(bpf.open_program(identity))) for identity in own[_RELEASE]]
            bpf.attach(directory, loaded[_RELEASE], _RELEASE, replace=replaced[0] if replaced else None)
        if _CREATION in wanted:
            # Who is made in between is not counted, and so not counted out.
            for identity in own[_CREATION]:
                with bpf.opened(bpf.open_program(identity)) as program:
                    bpf.detach(directory, program, _CREATION)
            bpf.attach(directory, loaded[_CREATION], _CREATION)


def renew(cgroup: Path) -> None:
    """Have the counter decide last again, if there is one; others' programs were attached. Raises OSError."""
    if read(cgroup) is not None:
        attach(cgroup)


def read(cgroup: Path) -> Sockets | None:
    """The sockets of the cgroup with this directory; None when they are not counted. Raises OSError."""
    with _directory(cgroup) as directory, _numbers(directory) as numbers:
        return None if numbers is None else Sockets(_read(numbers, _NOW), _limit(numbers), _read(numbers, _REFUSED))


def limit_in_force(cgroup: Path) -> int | None:
    """How many sockets a cgroup may have; None: as many as it likes, or the count may drift, because other programs
    were attached or ours is an earlier version. Raises OSError."""
    with _directory(cgroup) as directory:
        if not all(_in_force(directory, hook) for hook in _PROGRAMS):
            return None
        with _numbers(directory) as numbers:
            return None if numbers is None else _limit(numbers)


def set_limit(cgroup: Path, limit: int | None) -> None:
    """Let a cgroup whose sockets are counted have so many; those above that stay. Raises OSError."""
    with _directory(cgroup) as directory, _numbers(directory) as numbers:
        if numbers is None:
            raise OSError(errno.ENOENT, "the sockets of the cgroup are not counted")
        _write(numbers, _LIMIT, _NO_LIMIT if limit is None else limit)


def _directory(cgroup: Path) -> AbstractContextManager[int]:
    return bpf.opened(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _load(hook: AttachType, maps: Mapping[str, int]) -> int:
    name, code = _code(hook)
    return bpf.load_program(ProgramType.CGROUP_SOCK, code.linked(maps), name, hook)


@contextmanager
def _made_maps() -> Iterator[dict[str, int]]:
    with ExitStack() as stack:
        numbers = stack.enter_context(bpf.opened(bpf_map.create_map(MapType.ARRAY, NUMBERS, 4, _NUMBER.size, 3)))
        _write(numbers, _LIMIT, _NO_LIMIT)
        yield {NUMBERS: numbers, MARKS: stack.enter_context(bpf.opened(bpf_map.create_socket_storage(MARKS)))}


@contextmanager
def _maps_of(identity: int) -> Iterator[dict[str, int]]:
    """The maps that a program uses, by name."""
    with ExitStack() as stack:
        maps = [stack.enter_context(bpf.opened(bpf_map.open_map(one))) for one in bpf.identified(identity).maps]
        yield {bpf_map.map_name(one): one for one in maps}


@contextmanager
def _numbers(directory: int) -> Iterator[int | None]:
    own = _own(directory, _CREATION)
    if not own:
        yield None
        return
    with _maps_of(own[-1]) as maps:
        yield maps[NUMBERS]


def _own(directory: int, hook: AttachType) -> list[int]:
    """The ids of our programs at a hook of a cgroup; none where the kernel has no such hook."""
    return [identity for identity, name in _attached(directory, hook) if name.startswith(NAME_PREFIX)]


def _in_force(directory: int, hook: AttachType) -> bool:
    """Whether our program is at a hook of a cgroup, in this version; at the creation of sockets, as the last one."""
    names = [name for _identity, name in _attached(directory, hook)]
    return names[-1:] == [_code(hook)[0]] if hook is _CREATION else _code(hook)[0] in names


def _attached(directory: int, hook: AttachType) -> list[tuple[int, str]]:
    try:
        identities = bpf.query(directory, hook)
    except BpfError as error:
        if error.errno == errno.EINVAL:
            return []
        raise
    return [(identity, bpf.identified(identity).name) for identity in identities]


def _read(numbers: int, which: int) -> int:
    found: int = _NUMBER.unpack(bpf_map.lookup(numbers, struct.pack("=I", which), _NUMBER.size) or bytes(8))[0]
    return found


def _limit(numbers: int) -> int | None:
    limit = _read(numbers, _LIMIT)
    return None if limit == _NO_LIMIT else limit


def _write(numbers: int, which: int, value: int) -> None:
    bpf_map.update(numbers, struct.pack("=I", which), _NUMBER.pack(value))
