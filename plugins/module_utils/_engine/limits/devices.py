# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest may read from and write to disks in a second: controller io (cgroup-v2.rst, "IO Interface Files").

v1's blkio sees what a process writes directly or synchronously. What goes through the page cache is written by the
kernel later, and counts as the guest's with v2 only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import units
from ..errors import InvalidInput
from ..kernel.controller import Controller
from ..model import Limits
from .wording import NO_LIMIT, ceiling, require

FIELDS: tuple[str, ...] = ("io",)
_FILE = "io.max"
#: Key of an entry → v2's key in io.max, and v1's file.
_KEYS = {
    "read": ("rbps", "blkio.throttle.read_bps_device"),
    "write": ("wbps", "blkio.throttle.write_bps_device"),
    "read_operations": ("riops", "blkio.throttle.read_iops_device"),
    "write_operations": ("wiops", "blkio.throttle.write_iops_device"),
}
_BYTES = ("read", "write")
_DEVICES = Path("/sys/dev/block")

Ceilings = Mapping[str, Mapping[str, int]]


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``io``, a list with a dictionary for each ``device``: ``read``, ``write`` (bytes a second), and so on."""
    entries = options.get("io")
    return recorded if entries is None else dataclasses.replace(recorded, io=_parse(entries))


def _parse(entries: Sequence[Any]) -> Ceilings:
    found: dict[str, dict[str, int]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or set(entry) - {"device", *_KEYS}:
            raise InvalidInput(f"io {entry!r} is not valid", remedy=f"Use device and {', '.join(_KEYS)}.")
        device = os.path.normpath(str(entry.get("device") or ""))
        if not device.startswith("/dev/") or "\0" in device:
            raise InvalidInput(f"io names device {entry.get('device')!r}", remedy="Name one in /dev.")
        if device in found:
            raise InvalidInput(f"io names device {device} twice", remedy="Give one entry a device.")
        given = {key: _parse_one(f"{key} of {device}", key, entry[key]) for key in _KEYS if entry.get(key) is not None}
        if not given:
            raise InvalidInput(f"io limits nothing of device {device}", remedy=f"Give one of {', '.join(_KEYS)}.")
        found[device] = {key: value for key, value in given.items() if value is not None}
    return {device: found[device] for device in sorted(found) if found[device]}


def _parse_one(option: str, key: str, value: Any) -> int | None:
    number: int | None = ceiling(option, value, units.parse_bytes if key in _BYTES else units.parse_count, 1)
    return number


def number(device: str) -> str:
    """MAJOR:MINOR of a whole disk. Raises :class:`InvalidInput` for anything else."""
    try:
        found = os.stat(device)
    except OSError as error:
        raise InvalidInput(f"limit io of {device}", why=str(error.strerror), remedy="See lsblk(8).") from error
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidInput(f"limit io of {device}", why="it is not a block device", remedy="See lsblk(8).")
    pair = _pair(found.st_rdev)
    whole = _whole(pair)
    if whole != (_DEVICES / pair).resolve():
        raise InvalidInput(
            f"limit io of {device}",
            why="the kernel limits whole disks, no partitions",
            remedy=f"Name /dev/{whole.name}.",
        )
    return pair


def _pair(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _whole(pair: str) -> Path:
    """Where sysfs has the disk that MAJOR:MINOR is, or is a part of."""
    device = (_DEVICES / pair).resolve()
    return device.parent if (device / "partition").exists() else device


def _name(pair: str) -> str:
    """The device file of MAJOR:MINOR; the numbers when there is none any more."""
    try:
        return f"/dev/{(_DEVICES / pair).resolve(strict=True).name.replace('!', '/')}"
    except FileNotFoundError:
        return pair


def refuse(limits: Limits) -> None:
    """Raise when this host cannot keep these limits."""
    if limits.io:
        require("io", "io", _FILE, _KEYS["read"][1])
    taken: dict[str, str] = {}
    for device in limits.io:
        other = taken.setdefault(number(device), device)
        if other != device:
            raise InvalidInput(f"io names {other} and {device}", why="they are one device", remedy="Give one entry.")


def kept(limits: Limits) -> Limits:
    return limits


def read(group: Controller, names: Sequence[str]) -> dict[str, Any]:
    """What is in force: field of :class:`Limits` → value. A device is called as in ``names`` if it is there."""
    called = {}
    for name in names:
        try:
            called[number(name)] = name
        except InvalidInput:
            continue  # it is gone, and with it its limits
    found = _read(group)
    return {"io": {called.get(pair) or _name(pair): found[pair] for pair in found}}


def _read(group: Controller) -> dict[str, dict[str, int]]:
    """MAJOR:MINOR → what is in force."""
    found: dict[str, dict[str, int]] = {}
    if group.unified:
        for line in (group.read(_FILE) or "").splitlines():
            pair, *words = line.split()
            values = dict(word.split("=") for word in words)
            found[pair] = {key: int(values[v2]) for key, (v2, _v1) in _KEYS.items() if values[v2] != NO_LIMIT}
    else:
        for key, (_v2, file) in _KEYS.items():
            for line in (group.read(file) or "").splitlines():
                pair, value = line.split()
                found.setdefault(pair, {})[key] = int(value)
    return found


def count(group: Controller, directory: Path) -> None:
    """Have v1 count what the group reads from and writes to the disk that ``directory`` is on.

    From Linux 6.10 on it begins to when the first limit for the disk is written, be that none (``tg_set_conf`` and
    ``blk_should_throtl`` in block/blk-throttle.c). Nothing of a file system that is on no disk, or on several.
    """
    if group.unified:
        return
    with contextlib.suppress(OSError):
        disk = (_whole(_pair(directory.stat().st_dev)) / "dev").read_text().strip()
        group.write(_KEYS["read"][1], f"{disk} 0")


def write(group: Controller, limits: Limits) -> None:
    """Put ``limits`` in force, and lift those of every other device. Raises OSError, InvalidInput for no device."""
    wanted = {number(device): values for device, values in limits.io.items()}
    for pair in {**_read(group), **wanted}:
        values = wanted.get(pair, {})
        if group.unified:
            words = (f"{v2}={values.get(key, NO_LIMIT)}" for key, (v2, _v1) in _KEYS.items())
            group.write(_FILE, f"{pair} {' '.join(words)}")
        else:
            for key, (_v2, file) in _KEYS.items():
                group.write(file, f"{pair} {values.get(key, 0)}")
