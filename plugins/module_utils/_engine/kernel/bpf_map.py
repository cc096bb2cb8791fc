# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF maps and pins, by bpf(2). Keys and values are bytes; descriptors belong to the caller."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from .bpf import BpfError, address_of, call, object_name, opened, read_information

if TYPE_CHECKING:
    pass

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY = 0, 1, 2, 3, 4
_OBJ_PIN, _OBJ_GET, _FD_BY_ID, _BTF_LOAD = 6, 7, 14, 18
_NO_PREALLOCATION = 1

_BTF_MAGIC, _BTF_KIND_INT, _BTF_HEADER = 0xEB9F, 1 << 24, 24


class MapType(IntEnum):
    """enum bpf_map_type."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    SOCKHASH = 18
    SK_STORAGE = 24


def create_map(kind: MapType, name: str, key_size: int, value_size: int, entries: int) -> int:
    """Create a map and return its descriptor. Sizes are in bytes. Raises :class:`BpfError`."""
    flags = _NO_PREALLOCATION if kind is MapType.HASH else 0
    attributes = struct.pack("=IIIIIII16s", kind, key_size, value_size, entries, flags, 0, 0, object_name(name))
    return call(_MAP_CREATE, attributes, f"create BPF map {name}")


def create_socket_storage(name: str) -> int:
    """Create a map that keeps a 32-bit number with every socket it is asked about; return its descriptor.

    The kernel wants to know the types of key and value (BTF): both are this one integer. Raises :class:`BpfError`.
    """
    strings = b"\0u32\0"
    types = struct.pack("=IIII", 1, _BTF_KIND_INT, 4, 32)
    header = struct.pack("=HBBIIIII", _BTF_MAGIC, 1, 0, _BTF_HEADER, 0, len(types), len(types), len(strings))
    btf = ctypes.create_string_buffer(header + types + strings, _BTF_HEADER + len(types) + len(strings))
    description = call(_BTF_LOAD, struct.pack("=QQIII", address_of(btf), 0, len(btf), 0, 0), "describe a BPF map")
    with opened(description):
        attributes = struct.pack(
            "=IIIIIII16sIIII",
            MapType.SK_STORAGE,
            4,
            4,
            0,
            _NO_PREALLOCATION,
            0,
            0,
            object_name(name),
            0,
            description,
            1,
            1,
        )
        return call(_MAP_CREATE, attributes, f"create BPF map {name}")


def _element(
    command: int, descriptor: int, key: bytes, other: ctypes.Array[ctypes.c_char] | None, attempt: str
) -> None:
    buffer = ctypes.create_string_buffer(key, len(key))
    attributes = struct.pack("=I4xQQQ", descriptor, address_of(buffer), 0 if other is None else address_of(other), 0)
    call(command, attributes, attempt)


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Set an element. Raises :class:`BpfError`, E2BIG when the map is full."""
    _element(_MAP_UPDATE, descriptor, key, ctypes.create_string_buffer(value, len(value)), "set a BPF map's element")


def lookup(descriptor: int, key: bytes, value_size: int) -> bytes | None:
    """Return an element, None when there is no such key. Raises :class:`BpfError`."""
    value = ctypes.create_string_buffer(value_size)
    try:
        _element(_MAP_LOOKUP, descriptor, key, value, "read a BPF map's element")
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def delete(descriptor: int, key: bytes) -> None:
    """Remove an element; one that is not there is no error. Raises :class:`BpfError`."""
    try:
        _element(_MAP_DELETE, descriptor, key, None, "remove a BPF map's element")
    except BpfError as error:
        if error.errno != errno.ENOENT:
            raise


def keys(descriptor: int, key_size: int) -> Iterator[bytes]:
    """Yield the keys of a map; one that is removed meanwhile may start the walk again. Raises :class:`BpfError`."""
    current = ctypes.create_string_buffer(key_size)
    following = ctypes.create_string_buffer(key_size)
    first = True
    while True:
        position = 0 if first else address_of(current)
        try:
            attributes = struct.pack("=I4xQQQ", descriptor, position, address_of(following), 0)
            call(_MAP_NEXT_KEY, attributes, "walk through a BPF map")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield following.raw
        current.raw = following.raw
        first = False


def open_map(identity: int) -> int:
    """Return a descriptor of the map with this id. Raises :class:`BpfError`, ENOENT when it has gone."""
    return call(_FD_BY_ID, struct.pack("=III", identity, 0, 0), f"open BPF map {identity}")


def map_id(descriptor: int) -> int:
    """Return the id of a map."""
    identity: int = struct.unpack_from("=I", _information(descriptor), 4)[0]
    return identity


def map_name(descriptor: int) -> str:
    """Return the name a map was created with."""
    return _information(descriptor)[24:40].split(b"\0", 1)[0].decode()


def _information(descriptor: int) -> bytes:
    """struct bpf_map_info."""
    info = ctypes.create_string_buffer(80)
    read_information(descriptor, info, "read BPF map information")
    return info.raw


def pin(path: Path, descriptor: int) -> None:
    """Give a map, program or link a name in a bpf file system, which keeps it alive.

    Raises :class:`BpfError`, EEXIST when the name is taken.
    """
    name = ctypes.create_string_buffer(os.fsencode(path))
    call(_OBJ_PIN, struct.pack("=QII", address_of(name), descriptor, 0), f"pin a BPF object at {path}")


def open_pinned(path: Path) -> int | None:
    """Return a descriptor of what is pinned at a path, None when there is nothing. Raises :class:`BpfError`."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    try:
        return call(_OBJ_GET, struct.pack("=QII", address_of(name), 0, 0), f"open the BPF object at {path}")
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
