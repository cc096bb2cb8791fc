# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel settings that each guest has for itself: those of its IPC and user namespaces (sysctl(8), namespaces(7)).

They are settings, no walls: the guest's own root may change them.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, Unsupported, VserverError
from ..kernel import namespace
from ..model import Guest, Limits

FIELDS: tuple[str, ...] = ("sysctls",)
_IPC = re.compile(r"kernel\.(?:msg(?:max|mnb|mni)|sem|shm(?:all|max|mni|_rmid_forced))|fs\.mqueue\.\w+", re.ASCII)
_USER = re.compile(r"user\.max_\w+", re.ASCII)
_VALUE = re.compile(r"-?\d+(?: -?\d+)*", re.ASCII)


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``sysctls``, name → number or numbers."""
    given = options.get("sysctls")
    return recorded if given is None else dataclasses.replace(recorded, sysctls=_parse(given))


def _parse(given: Mapping[str, Any]) -> dict[str, str]:
    parsed = {}
    for name, value in given.items():
        key, words = str(name).replace("/", "."), " ".join(str(value).split())
        if not (_IPC.fullmatch(key) or _USER.fullmatch(key)):
            raise InvalidInput(
                f"sysctl {name} is not one that a guest has for itself",
                why="it is the whole host's" if not key.startswith("net.") else "the network stack is the host's",
                remedy="Use kernel.msg*, kernel.sem, kernel.shm*, fs.mqueue.* and user.max_*.",
            )
        if not _VALUE.fullmatch(words):
            raise InvalidInput(f"sysctl {name} {value!r} is not a number", remedy="Write a number, or numbers.")
        parsed[key] = words
    return dict(sorted(parsed.items()))


def refuse(limits: Limits, user_namespace: bool) -> None:
    """Raise when this host, or a guest without a user namespace, does not have one of them."""
    for name in limits.sysctls:
        if _USER.fullmatch(name) and not user_namespace:
            raise InvalidInput(
                f"sysctl {name}", why="the guest has no user namespace of its own", remedy="Take it out."
            )
        if not _file(name).exists():
            raise Unsupported(f"sysctl {name}", why="this host's kernel does not have it", remedy="Take it out.")


def _file(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def read(pid: int, names: Collection[str]) -> dict[str, Any]:
    """What is in force for process ``pid``: field of :class:`Limits` → value."""
    return {"sysctls": _inside(pid, dict.fromkeys(names), f"read sysctls of process {pid}")}


def write(guest: Guest, pid: int) -> None:
    """Set them for the guest whose process 1 is ``pid``. Raises :class:`VserverError`."""
    _inside(pid, guest.limits.sysctls, f"set sysctls of guest {guest.name}")


def _inside(pid: int, wanted: Mapping[str, str | None], attempt: str) -> dict[str, str]:
    """Set each sysctl that has a value, and return what they are then, from a child in the namespaces of ``pid``.

    The files are the host's: which namespace they show is a matter of who opens them.
    """
    if not wanted:
        return {}
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            _answer(pid, wanted, send)
        finally:
            os._exit(0)
    os.close(send)
    with open(receive, encoding="utf-8", errors="replace") as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    failed = [line for line in lines if "=" not in line] or sorted(set(wanted) - set(found))
    if failed:
        raise VserverError(attempt, why=failed[0], remedy="See whether the value is in range.")
    return found


def _answer(pid: int, wanted: Mapping[str, str | None], send: int) -> None:
    """Write ``name=value`` lines to ``send``, and one without ``=`` for what fails."""
    name = f"namespaces of process {pid}"
    try:
        shared = os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
        user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        namespace.enter(pid, "ipc", namespace.CLONE_NEWIPC)
        rest = {}
        for name, value in wanted.items():
            try:
                if not shared and _USER.fullmatch(name):
                    rest[name] = value
                else:
                    _one(name, value, send)
            except PermissionError:  # since 5.19 these are the guest's root's
                rest[name] = value
        if rest and not shared:
            namespace.become_root(user)
        for name, value in rest.items():
            _one(name, value, send)
    except OSError as error:
        os.write(send, f"{name}: {error.strerror}\n".encode())


def _one(name: str, value: str | None, send: int) -> None:
    if value is not None:
        _file(name).write_text(value)
    now = " ".join(_file(name).read_text().split())
    if value not in (None, now):
        raise OSError(errno.EINVAL, f"the kernel makes {now!r} of {value!r}")
    os.write(send, f"{name}={now}\n".encode())
