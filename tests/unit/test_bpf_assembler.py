# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The assembler: encoding against known bytes, and meaning by running the result."""

from __future__ import annotations

import operator
import struct
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import (
    Assembler,
    Code,
    Helper,
    Register,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_context import Field, Sock, SockAddr
from ansible_collections.linux.vserver.tests.unit.bpf_machine import CONTEXT, Machine

R0, R1, R2, R3, R6, R10 = (Register(number) for number in (0, 1, 2, 3, 6, 10))

little_endian = pytest.mark.skipif(sys.byteorder == "big", reason="the bytes are a little-endian machine's")


def run(asm: Assembler, context: bytes = bytes(64)) -> int:
    return Machine({CONTEXT: bytearray(context)}).run(asm.assemble().linked())


@little_endian
def test_encoding() -> None:
    """As `bpftool prog dump xlated opcodes` shows them."""
    asm = Assembler()
    asm.move(R6, R1)
    asm.load(R2, R6, SockAddr.USER_IP4)
    asm.store(R6, SockAddr.USER_IP6[1], R2)
    asm.load(R2, R6, SockAddr.SK)
    asm.load(R3, R2, Field(2, 2))
    asm.load(R3, R2, Field(1, 1))
    asm.bit_and(R3, 0xFF)
    asm.shift_right(R3, 4)
    asm.jump_if(R3, "==", 6, "end")
    asm.jump_if(R3, "!=", R2, "end", wide=True)
    asm.call(Helper.SET_RETVAL)
    asm.label("end")
    asm.leave(3)
    assert asm.assemble().instructions.hex(" ", 8).split() == [
        "bf16000000000000",
        "6162040000000000",
        "63260c0000000000",
        "7962400000000000",
        "6923020000000000",
        "7123010000000000",
        "57030000ff000000",
        "7703000004000000",
        "1603020006000000",
        "5d23010000000000",
        "85000000bb000000",
        "b700000003000000",
        "9500000000000000",
    ]


def test_a_map_and_a_number_are_filled_in_later() -> None:
    asm = Assembler()
    asm.load_map(R1, "sockets")
    asm.load_number(R2, "cgroup")
    asm.leave(0)
    code = asm.assemble()
    assert (code.maps, code.numbers, len(code)) == (((0, "sockets"),), ((2, "cgroup"),), 6)
    linked = code.linked({"sockets": 7}, {"cgroup": 0x1234_5678_9ABC_DEF0})
    assert struct.unpack_from("=BBhiBBhi", linked, 0)[3::4] == (7, 0)
    assert struct.unpack_from("=BBhIBBhI", linked, 16)[3::4] == (0x9ABCDEF0, 0x12345678)
    assert code == asm.assemble()
    with pytest.raises(KeyError, match="cgroup"):
        code.linked({"sockets": 7})


def test_jumps_go_forwards_and_backwards_over_wide_instructions() -> None:
    asm = Assembler()
    asm.move(R0, 0)
    asm.move(R2, 0)
    asm.label("again")
    asm.load_number(R3, "step")
    asm.add(R0, R3)
    asm.add(R2, 1)
    asm.jump_if(R2, "<", 5, "again")
    asm.bit_or(R0, 0)
    asm.jump("end")
    asm.label("never")
    asm.leave(0)
    asm.label("end")
    asm.move(R6, R0)
    asm.move(R0, R6)
    asm.jump_if(R0, "!=", 35, "wrong")
    asm.leave(1)
    asm.label("wrong")
    asm.leave(2)
    assert Machine({CONTEXT: bytearray(8)}).run(asm.assemble().linked(numbers={"step": 7})) == 1


def test_what_no_path_reaches_is_left_out() -> None:
    asm = Assembler()
    asm.jump("end")
    asm.label("nobody")
    asm.leave(1)
    asm.label("end")
    asm.leave(2)
    assert len(asm.assemble()) == 3
    assert run(asm) == 2


def _far_jump(asm: Assembler) -> None:
    asm.jump_if(R1, "==", 0, "end")
    for _ignored in range(40000):
        asm.move(R0, 0)
    asm.label("end")
    asm.leave(0)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda asm: asm.jump("nowhere"), "nowhere"),
        (lambda asm: asm.move(R0, 1), "runs past its end"),
        (lambda asm: [asm.label("x"), asm.label("x")], "twice"),
        (_far_jump, "too far"),
    ],
)
def test_mistakes(mistake: Callable[[Assembler], object], message: str) -> None:
    asm = Assembler()
    with pytest.raises(ValueError, match=message):
        mistake(asm)
        asm.assemble()


def test_labels_made_up_are_unique() -> None:
    asm = Assembler()
    assert len({asm.unique("other") for _ignored in range(100)}) == 100


CONDITIONS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "&": lambda left, right: bool(left & right),
}


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from(sorted(CONDITIONS)), st.booleans())
def test_every_comparison_is_unsigned_and_32_bits_wide(left: int, right: int, condition: str, register: bool) -> None:
    asm = Assembler()
    asm.load(R2, R1, Sock.FAMILY)
    if register:
        asm.move(R3, right)
    asm.jump_if(R2, condition, R3 if register else right, "holds")
    asm.leave(0)
    asm.label("holds")
    asm.leave(1)
    context = struct.pack("=4xI56x", left)
    assert run(asm, context) == CONDITIONS[condition](left, right)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_masks_and_unions_of_addresses(left: int, right: int) -> None:
    for operate, expected in ((Assembler.bit_and, left & right), (Assembler.bit_or, left | right)):
        asm = Assembler()
        asm.load(R2, R1, Field(0))
        operate(asm, R2, right)
        asm.store(R1, Field(4), R2)
        asm.leave(0)
        context = bytearray(struct.pack("=II", left, 0))
        Machine({CONTEXT: context}).run(asm.assemble().linked())
        assert struct.unpack("=II", context) == (left, expected)


def test_code_counts_instructions() -> None:
    assert len(Code(bytes(24))) == 3


def test_what_is_added_in_one_step_wraps_around() -> None:
    asm = Assembler()
    asm.move(R6, R1)
    asm.move(R2, 5)
    asm.atomic_add(R6, Field(8, 8), R2)
    asm.load(R0, R6, Field(8, 8))
    asm.move(R1, 0)
    asm.leave(0)
    context = bytearray(8) + struct.pack("=Q", (1 << 64) - 2)
    machine = Machine({CONTEXT: context})
    assert machine.run(asm.assemble().linked()) == 0
    assert context == bytearray(8) + struct.pack("=Q", 3)
    assert asm.assemble().instructions[16:24].hex() == "db26080000000000"
