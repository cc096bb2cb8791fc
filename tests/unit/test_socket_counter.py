# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that count a guest's sockets, in the interpreter, against a model that knows each socket."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import (
    Helper,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.limits import socket_counter

from .bpf_machine import CONTEXT, FOUND, SOCKET, Machine

NUMBERS, MARKS = 7, 8
CODES = {
    name: code.linked({socket_counter.NUMBERS: NUMBERS, socket_counter.MARKS: MARKS})
    for name, code in (("creation", socket_counter.creation()), ("release", socket_counter.release()))
}
NOW, LIMIT, REFUSED = 0, 1, 2


@dataclass
class Kernel:
    """A cgroup whose sockets are counted: the map of numbers, and the marks of sockets."""

    numbers: bytearray = field(default_factory=lambda: bytearray(24))
    marks: dict[int, bytearray] = field(default_factory=dict)
    memory: bool = True

    def number(self, which: int) -> int:
        return int(struct.unpack_from("=Q", self.numbers, which * 8)[0])

    def run(self, program: str, socket: int, verdict: int = 0) -> bool:
        def lookup(machine: Machine, arguments: list[int]) -> int:
            assert arguments[0] == NUMBERS
            (which,) = struct.unpack("=I", machine.read(arguments[1], 4))
            return FOUND + 8 * which

        def mark(machine: Machine, arguments: list[int]) -> int:
            assert arguments[:3] == [MARKS, CONTEXT, 0]
            if socket not in self.marks and not (arguments[3] == 1 and self.memory):
                return 0
            machine.memory[SOCKET] = self.marks.setdefault(socket, bytearray(4))
            return SOCKET

        helpers = {
            Helper.GET_RETVAL: lambda _machine, _arguments: verdict,
            Helper.MAP_LOOKUP: lookup,
            Helper.SK_STORAGE_GET: mark,
        }
        machine = Machine({CONTEXT: bytearray(80), FOUND: self.numbers}, helpers)
        return machine.run(CODES[program]) == 1

    def let(self, limit: int) -> None:
        struct.pack_into("=Q", self.numbers, LIMIT * 8, limit)


@given(
    st.lists(st.tuples(st.sampled_from(["make", "refused", "accept", "close"]), st.integers(0, 9))), st.integers(0, 6)
)
def test_it_counts_what_is_made_and_open_whatever_else_happens(events: list[tuple[str, int]], limit: int) -> None:
    kernel, made, accepted, gone = Kernel(), set[int](), set[int](), 0
    kernel.let(limit)
    for serial, (event, which) in enumerate(events):
        socket = serial + 100
        if event == "make":
            fits = len(made) < limit
            assert kernel.run("creation", socket) == fits
            gone += not fits
            made |= {socket} if fits else set()
        elif event == "refused":
            assert not kernel.run("creation", socket, verdict=-1)
        elif event == "accept":
            accepted.add(socket)
        elif made | accepted:
            socket = sorted(made | accepted)[which % len(made | accepted)]
            assert kernel.run("release", socket)
            made.discard(socket)
            accepted.discard(socket)
        assert kernel.number(NOW) == len(made)
    assert kernel.number(REFUSED) == gone


def test_without_memory_for_its_mark_there_is_no_socket() -> None:
    kernel = Kernel(memory=False)
    kernel.let((1 << 64) - 1)
    assert not kernel.run("creation", 1)
    assert kernel.number(NOW) == 0


def test_a_limit_that_is_lowered_leaves_what_is_there() -> None:
    kernel = Kernel()
    kernel.let(3)
    assert [kernel.run("creation", one) for one in range(3)] == [True] * 3
    kernel.let(1)
    assert not kernel.run("creation", 3)
    assert [kernel.run("release", one) for one in range(3)] == [True] * 3
    assert kernel.number(NOW) == 0
    assert kernel.run("creation", 4)


def test_names_fit_and_are_not_the_bindings() -> None:
    for hook in socket_counter._PROGRAMS:
        name = socket_counter._code(hook)[0]
        assert len(name) < 16 and not name.startswith("vs.")
