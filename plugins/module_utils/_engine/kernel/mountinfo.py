# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted where, as a process sees it: /proc/PID/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line.

    * id: as in /proc/PID/fdinfo
    * root: what of the file system is mounted there; ``/`` is all of it
    * point: where
    * type, source: of the file system
    * options, of_type: those of the mount, and those of its file system, in their order
    * device: of the file system, ``major:minor``
    """

    id: int
    root: str
    point: str
    type: str
    source: str
    options: tuple[str, ...] = ()
    of_type: tuple[str, ...] = ()
    device: str = ""


def parse(text: str) -> list[Mount]:
    """The mounts in the text of a mountinfo, in its order (pure). What is no such line is left out."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 3:
            root, point, source = (_unescaped(word) for word in (fields[3], fields[4], rest[1]))
            options, of_type = (tuple(word.split(",")) for word in (fields[5], rest[2]))
            found.append(Mount(int(fields[0]), root, point, rest[0], source, options, of_type, fields[2]))
    return found


def read(pid: int | None = None) -> list[Mount]:
    """The mounts that this process sees, or another one does. Raises FileNotFoundError when that is gone."""
    return parse(Path(f"/proc/{pid or 'self'}/mountinfo").read_text())


def read_type(kind: str, pid: int) -> list[Mount]:
    """The mounts of one type of file system that a process sees. Raises FileNotFoundError when it is gone."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return parse("\n".join(line for line in lines if f" - {kind} " in line))


def _unescaped(text: str) -> str:
    """Space, tab, newline and backslash are written as octal numbers of bytes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
