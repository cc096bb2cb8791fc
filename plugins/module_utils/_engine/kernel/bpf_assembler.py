# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An assembler for eBPF: labels, named registers, named context fields, and nothing else.

Encoding after Documentation/bpf/standardization/instruction-set.rst. Comparisons are 32 bits wide unless said
otherwise (JMP32, Linux 5.1), because that is how wide a port, a protocol or a quarter of an address is. Fields of the
contexts are in ``bpf_context``; loading the result is the business of ``bpf``.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Union

from .bpf_context import Field


class Register(IntEnum):
    """R0 carries results, R1 to R5 arguments (lost in a call), R6 to R9 survive calls, R10 points above the stack."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


class Helper(IntEnum):
    """Functions of the kernel a program may call (bpf-helpers(7)), by their number in ``enum bpf_func_id``."""

    MAP_LOOKUP = 1
    SETSOCKOPT = 49
    BIND = 64
    SOCK_HASH_UPDATE = 70
    SK_LOOKUP_TCP = 84
    SK_LOOKUP_UDP = 85
    SK_RELEASE = 86
    SK_STORAGE_GET = 107
    SK_ASSIGN = 124
    SK_ANCESTOR_CGROUP_ID = 129
    GET_RETVAL = 186
    SET_RETVAL = 187


Value = Union[Register, int]

_SIZES = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
_LDX_MEM, _STX_MEM, _STX_ATOMIC, _FETCH = 0x61, 0x63, 0xC3, 0x01
_ALU64, _JMP, _JMP32 = 0x07, 0x05, 0x06
_FROM_REGISTER = 0x08
_LOAD_IMM64, _PSEUDO_MAP_FD = 0x18, 1
_CALL, _EXIT, _GOTO = 0x85, 0x95, 0x05
_OPERATIONS = {"+": 0x00, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "=": 0xB0}
_CONDITIONS = {"==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "<": 0xA0, "<=": 0xB0}


#: Operation code, destination, source, offset, immediate, label it jumps to, map or number it loads (in two slots).
Instruction = tuple[int, int, int, int, int, "str | None", "str | None"]

#: struct bpf_insn; the two registers share a byte, the destination in its first four bits.
_ENCODING = struct.Struct("=BBhI")
_DESTINATION_SHIFT, _SOURCE_SHIFT = (0, 4) if sys.byteorder == "little" else (4, 0)


_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Code:
    """An assembled program.

    * instructions: 8 bytes each; what is only known when the program is loaded is still zero
    * maps, numbers: (index of the instruction, name of the map or number it loads)
    """

    instructions: bytes
    maps: tuple[tuple[int, str], ...] = ()
    numbers: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.instructions) // 8

    def linked(self, maps: Mapping[str, int] = _NOTHING, numbers: Mapping[str, int] = _NOTHING) -> bytes:
        """Return the instructions with the maps' file descriptors and the 64-bit numbers filled in.

        Raises KeyError for a missing one.
        """
        code = bytearray(self.instructions)
        for index, name in self.maps:
            struct.pack_into("=i", code, index * 8 + 4, maps[name])
        for index, name in self.numbers:
            struct.pack_into("=I", code, index * 8 + 4, numbers[name] & 0xFFFFFFFF)
            struct.pack_into("=I", code, index * 8 + 12, numbers[name] >> 32)
        return bytes(code)


class Assembler:
    """Collects instructions; every method that emits one returns nothing, so that a program reads top to bottom."""

    def __init__(self) -> None:
        self._instructions: list[Instruction] = []
        self._labels: dict[str, int] = {}
        self._unique = 0

    def label(self, name: str) -> None:
        """Name the next instruction; raises ValueError when the name is taken."""
        if name in self._labels:
            raise ValueError(f"label {name} is defined twice")
        self._labels[name] = len(self._instructions)

    def unique(self, stem: str) -> str:
        """Return a label name nobody else uses; it still has to be placed with :meth:`label`."""
        self._unique += 1
        return f"{stem}#{self._unique}"

    def _operate(self, operation: str, destination: Register, value: Value) -> None:
        opcode = _ALU64 | _OPERATIONS[operation]
        if isinstance(value, Register):
            self._instructions.append((opcode | _FROM_REGISTER, destination, value, 0, 0, None, None))
        else:
            self._instructions.append((opcode, destination, 0, 0, value, None, None))

    def move(self, destination: Register, value: Value) -> None:
        """Set a register; a number is sign-extended from 32 bits."""
        self._operate("=", destination, value)

    def add(self, destination: Register, value: Value) -> None:
        self._operate("+", destination, value)

    def bit_or(self, destination: Register, value: Value) -> None:
        self._operate("|", destination, value)

    def bit_and(self, destination: Register, value: Value) -> None:
        """Mask a register; a number is sign-extended, so the upper half survives a mask with bit 31 set."""
        self._operate("&", destination, value)

    def shift_right(self, destination: Register, bits: int) -> None:
        self._operate(">>", destination, bits)

    def load(self, destination: Register, base: Register, field: Field) -> None:
        """``destination = base->field``, zero-extended."""
        opcode = _LDX_MEM | _SIZES[field.size]
        self._instructions.append((opcode, destination, base, field.offset, 0, None, None))

    def store(self, base: Register, field: Field, source: Register) -> None:
        """``base->field = source``; there is no store of a number, contexts refuse it."""
        opcode = _STX_MEM | _SIZES[field.size]
        self._instructions.append((opcode, base, source, field.offset, 0, None, None))

    def atomic_add(self, base: Register, field: Field, source: Register, *, fetch: bool = False) -> None:
        """``base->field += source``, in one step for all processors; the field has 4 or 8 bytes.

        With ``fetch``, ``source`` is what was there before (Linux 5.12).
        """
        opcode = _STX_ATOMIC | _SIZES[field.size]
        self._instructions.append((opcode, base, source, field.offset, _FETCH if fetch else 0, None, None))

    def load_map(self, destination: Register, name: str) -> None:
        """Set a register to the map called ``name``; :meth:`Code.linked` says which one that is."""
        self._instructions.append((_LOAD_IMM64, destination, _PSEUDO_MAP_FD, 0, 0, None, name))

    def load_number(self, destination: Register, name: str) -> None:
        """Set a register to the 64-bit number called ``name``; :meth:`Code.linked` says which one that is."""
        self._instructions.append((_LOAD_IMM64, destination, 0, 0, 0, None, name))

    def jump(self, target: str) -> None:
        self._instructions.append((_GOTO, 0, 0, 0, 0, target, None))

    def jump_if(self, left: Register, condition: str, right: Value, target: str, *, wide: bool = False) -> None:
        """Jump when ``left condition right`` holds for the lower 32 bits, with ``wide`` for all 64 (pointers).

        Conditions: ``== != > >= < <=`` (unsigned) and ``&`` (a common bit is set).
        """
        opcode = (_JMP if wide else _JMP32) | _CONDITIONS[condition]
        if isinstance(right, Register):
            self._instructions.append((opcode | _FROM_REGISTER, left, right, 0, 0, target, None))
        else:
            self._instructions.append((opcode, left, 0, 0, right, target, None))

    def call(self, helper: Helper) -> None:
        self._instructions.append((_CALL, 0, 0, 0, helper, None, None))

    def leave(self, value: int) -> None:
        """``return value``."""
        self.move(Register.R0, value)
        self._instructions.append((_EXIT, 0, 0, 0, 0, None, None))

    def assemble(self) -> Code:
        """Return the program, without the instructions no path reaches (the verifier refuses a program that has some).

        Raises ValueError for a jump to nowhere, a jump too far (32767 instructions) and an end without ``leave``.
        """
        instructions, labels = self._instructions, self._labels
        reachable = self._reachable()
        positions: list[int] = []
        position = 0
        for instruction, reached in zip(instructions, reachable):
            positions.append(position)
            if reached:
                position += 1 if instruction[6] is None else 2
        code: list[bytes] = []
        maps: list[tuple[int, str]] = []
        numbers: list[tuple[int, str]] = []
        for instruction, reached, position in zip(instructions, reachable, positions):
            if not reached:
                continue
            opcode, destination, source, offset, immediate, target, name = instruction
            if target is not None:
                offset = positions[labels[target]] - position - 1
                if not -0x8000 <= offset <= 0x7FFF:
                    raise ValueError(f"jump to {target} is too far ({offset} instructions)")
            registers = destination << _DESTINATION_SHIFT | source << _SOURCE_SHIFT
            code.append(_ENCODING.pack(opcode, registers, offset, immediate & 0xFFFFFFFF))
            if name is not None:
                (maps if source == _PSEUDO_MAP_FD else numbers).append((position, name))
                code.append(bytes(_ENCODING.size))
        return Code(b"".join(code), tuple(maps), tuple(numbers))

    def _reachable(self) -> bytearray:
        """Return for every instruction 1 if some path reaches it, else 0."""
        instructions, labels = self._instructions, self._labels
        found = bytearray(len(instructions) + 1)
        starts = [0]
        while starts:
            index = starts.pop()
            while not found[index]:
                if index == len(instructions):
                    raise ValueError("the program runs past its end")
                found[index] = 1
                instruction = instructions[index]
                opcode, target = instruction[0], instruction[5]
                if target is not None:
                    if target not in labels:
                        raise ValueError(f"jump to {target}, which is nowhere")
                    starts.append(labels[target])
                if opcode in (_EXIT, _GOTO):
                    break
                index += 1
        return found
