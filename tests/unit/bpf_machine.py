# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs eBPF bytecode in Python, so that tests see what a program decides without a kernel.

Stricter than the kernel's run time in what the verifier checks: a register is read only after it was written, a call
spoils R1 to R5, and memory has bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.bpf_assembler import Helper

CONTEXT, STACK, SOCKET, PACKET, FOUND = 0x10000000, 0x20000000, 0x30000000, 0x40000000, 0x50000000
STACK_SIZE = 512
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_MASK32, _MASK64 = (1 << 32) - 1, (1 << 64) - 1
_STEPS_MAX = 100_000

HelperFunction = Callable[["Machine", list[int]], int]


@dataclass
class Machine:
    """Memory regions by address, and the helpers the program may call: they get R1 to R5 and return R0."""

    memory: dict[int, bytearray]
    helpers: Mapping[Helper, HelperFunction] = field(default_factory=dict)

    def read(self, address: int, size: int) -> bytes:
        region, offset = self._region(address, size)
        return bytes(region[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        region, offset = self._region(address, len(data))
        region[offset : offset + len(data)] = data

    def _region(self, address: int, size: int) -> tuple[bytearray, int]:
        for base, region in self.memory.items():
            if base <= address and address + size <= base + len(region):
                return region, address - base
        raise IndexError(f"access to {size} bytes at {address:#x}")

    def run(self, instructions: bytes) -> int:
        """Run from the first instruction with R1 = the context; return R0."""
        registers: list[int | None] = [None] * 11
        registers[1], registers[10] = CONTEXT, STACK + STACK_SIZE
        self.memory[STACK] = bytearray(STACK_SIZE)
        counter = 0
        for _ignored in range(_STEPS_MAX):
            opcode, both, offset, immediate = struct.unpack_from("=BBhi", instructions, counter * 8)
            counter += 1
            destination, source = both & 15, both >> 4
            kind = opcode & 7
            if opcode == 0x95:
                return _known(registers[0]) & _MASK32
            if opcode == 0x85:
                arguments = [register if register is not None else 0 for register in registers[1:6]]
                registers[0] = self.helpers[Helper(immediate)](self, arguments) & _MASK64
                registers[1:6] = [None] * 5
            elif opcode == 0x18:
                (upper,) = struct.unpack_from("=4xI", instructions, counter * 8)
                registers[destination] = upper << 32 | immediate & _MASK32
                counter += 1
            elif opcode == 0xDB:
                place, added = _known(registers[destination]) + offset, _known(registers[source])
                before = int.from_bytes(self.read(place, 8), _byte_order())
                self.write(place, (before + added & _MASK64).to_bytes(8, _byte_order()))
                if immediate & 1:
                    registers[source] = before
            elif kind in (1, 3):
                size = _SIZES[opcode & 0x18]
                if kind == 1:
                    data = self.read(_known(registers[source]) + offset, size)
                    registers[destination] = int.from_bytes(data, _byte_order())
                else:
                    number = _known(registers[source]) & (1 << 8 * size) - 1
                    self.write(_known(registers[destination]) + offset, number.to_bytes(size, _byte_order()))
            elif kind == 7:
                value = _known(registers[source]) if opcode & 8 else immediate & _MASK64
                before = value if opcode & 0xF0 == 0xB0 else _known(registers[destination])
                registers[destination] = _operate(opcode & 0xF0, before, value) & _MASK64
            elif opcode == 0x05:
                counter += offset
            else:
                mask = _MASK32 if kind == 6 else _MASK64
                right = (_known(registers[source]) if opcode & 8 else immediate) & mask
                if _holds(opcode & 0xF0, _known(registers[destination]) & mask, right):
                    counter += offset
        raise RuntimeError("the program does not end")


def _byte_order() -> str:
    return "little" if struct.pack("=H", 1) == b"\1\0" else "big"


def _known(value: int | None) -> int:
    if value is None:
        raise ValueError("a register is read before it was written")
    return value


def _operate(operation: int, left: int, right: int) -> int:
    return {
        0x00: left + right,
        0x40: left | right,
        0x50: left & right,
        0x60: left << (right & 63),
        0x70: left >> (right & 63),
        0xB0: right,
    }[operation]


def _holds(condition: int, left: int, right: int) -> bool:
    return {
        0x10: left == right,
        0x20: left > right,
        0x30: left >= right,
        0x40: bool(left & right),
        0x50: left != right,
        0xA0: left < right,
        0xB0: left <= right,
    }[condition]
