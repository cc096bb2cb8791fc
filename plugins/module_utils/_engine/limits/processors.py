# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the host's processors a guest may run on: controller cpuset (cgroup-v2.rst, "Cpuset Interface Files")."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from ..kernel import cpu_list
from ..kernel.controller import Controller
from ..model import Limits
from .wording import NO_LIMIT, require

FIELDS: tuple[str, ...] = ("cpuset",)
_FILE = "cpuset.cpus"


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``cpuset``, numbers of processors such as ``0-2,5``, or ``max`` for all."""
    value = options.get("cpuset")
    if value is None:
        return recorded
    text = str(value).strip().lower()
    if text == NO_LIMIT:
        return dataclasses.replace(recorded, cpuset=None)
    try:
        found = cpu_list.numbers(text)
    except ValueError:
        found = frozenset()
    if not found:
        raise InvalidInput(
            f"cpuset {value!r} is not a list of processors", remedy="Write numbers such as 0-2,5, or max for all."
        )
    return dataclasses.replace(recorded, cpuset=cpu_list.words(found))


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep this limit."""
    if limits.cpuset is not None:
        require("cpuset", "cpuset", _FILE, _FILE)
        missing = cpu_list.numbers(limits.cpuset) - cpu_list.online()
        if missing:
            raise InvalidInput(
                f"cpuset {limits.cpuset} names processors that this host does not have",
                why=f"it has {cpu_list.words(cpu_list.online())}",
                remedy=f"Take out {cpu_list.words(missing)}.",
            )


def kept(limits: Limits) -> Limits:
    return limits


def read(group: Controller, asked: str | None) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value; all there are is None, unless that is what was asked for."""
    text = group.read(_FILE)
    return {"cpuset": text if text and (text == asked or text != _above(group)) else None}


def _above(group: Controller) -> str:
    """What the group above may use. A group with processes is not allowed an empty list, in v2 no more than in v1."""
    above = Controller(os.path.dirname(group.path), group.unified)
    return above.read("cpuset.cpus.effective" if group.unified else _FILE) or ""


def write(group: Controller, limits: Limits) -> None:
    """Put the limit in force. Raises OSError."""
    group.write(_FILE, _above(group) if limits.cpuset is None else limits.cpuset)
