# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a guest, as its own /etc/passwd and /etc/group have them (passwd(5), group(5)); nothing else is asked.

The host's name service would answer for the host. Read by a process that is inside the guest, and imports nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from .model import ID_COUNT

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"
_MOST = 1 << 20  # bytes of such a file


@dataclass(frozen=True)
class Account:
    """A user: ids as the guest counts, supplementary groups, and what a login has in its environment."""

    name: bytes
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: bytes
    shell: bytes

    @property
    def environment(self) -> dict[str, bytes]:
        return {"HOME": self.home or b"/", "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell or b"/bin/sh"}


def find(passwd: bytes, group: bytes, name: bytes) -> Account | None:
    """The user of this name in the texts of the two files, None when there is none (pure).

    Raises ValueError for a user whose ids no guest has. Lines that cannot be meant are passed over.
    """
    for user, _password, uid, gid, _comment, home, shell in _entries(passwd, 7):
        if user != name:
            continue
        groups = {
            _id(number) for _group, _password, number, members in _entries(group, 4) if name in members.split(b",")
        }
        return Account(name, _id(uid), _id(gid), tuple(sorted(groups)), home, shell)
    return None


def _entries(text: bytes, fields: int) -> Iterator[list[bytes]]:
    for line in text.split(b"\n"):
        entry = line.split(b":")
        if len(entry) == fields and entry[2].isdigit():
            yield entry


def _id(text: bytes) -> int:
    number = int(text)
    if number >= ID_COUNT:
        raise ValueError(f"id {number} does not exist in a guest")
    return number


def look_up(name: str) -> Account:
    """The user of this name where this process is. Raises OSError, which says whose fault it is."""
    try:
        account = find(_read(_PASSWD), _read(_GROUP), os.fsencode(name))
    except ValueError as error:
        raise OSError(errno.EINVAL, f"user {name}: {error}") from error
    if account is None:
        raise OSError(errno.ENOENT, f"its {_PASSWD} has no user {name}")
    return account


def _read(path: str) -> bytes:
    """A file of the guest, which may have laid anything there: only a plain one, and no more than is sensible."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST:
            raise OSError(errno.EINVAL, f"its {path} is not a plain file of a sensible size")
        return file.read(_MOST)
