# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map that a binding counts traffic in. The programs that use it keep it, so they are asked which one it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from ..kernel import bpf, bpf_map, cpu_list
from ..kernel.bpf_map import MapType
from .traffic_counter import TRAFFIC, VALUE_SIZE, Traffic, parse

_KEY_SIZE = 4


def find(identities: Iterable[int]) -> int | None:
    """A descriptor of the one among the maps with these ids that counts traffic, None when there is none."""
    for identity in identities:
        with contextlib.suppress(OSError):  # its program has been replaced meanwhile
            opened = bpf_map.open_map(identity)
            if bpf_map.map_name(opened) == TRAFFIC:
                return opened
            os.close(opened)
    return None


def find_or_create(identities: Iterable[int]) -> int:
    """A descriptor of that, or of a new one. Raises OSError."""
    found = find(identities)
    return bpf_map.create_map(MapType.PERCPU_ARRAY, TRAFFIC, _KEY_SIZE, VALUE_SIZE, 1) if found is None else found


def read(identities: Iterable[int]) -> Mapping[str, Traffic] | None:
    """What has been counted, by slot; None when none of these maps counts. Raises OSError."""
    found = find(identities)
    if found is None:
        return None
    with bpf.opened(found):
        return parse(bpf_map.lookup(found, bytes(_KEY_SIZE), VALUE_SIZE * len(cpu_list.possible())) or b"")
