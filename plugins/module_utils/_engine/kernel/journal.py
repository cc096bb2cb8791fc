# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's journal: journald where it runs, else syslog(3).

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import contextlib
import os
import socket
import syslog
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
_IDENTIFIER = "vserver"


def write(message: str, priority: int, fields: Mapping[str, str], where: Path = SOCKET) -> None:
    """Have an entry written; whether that works keeps nobody from going on.

    * priority: of syslog(3), such as ``syslog.LOG_WARNING``
    * fields: further fields, of journald only
    """
    entry = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": _IDENTIFIER, **fields}
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.connect(os.fspath(where))
            channel.send(encoded(entry))
        return
    syslog.openlog(_IDENTIFIER, syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(priority, message)


def encoded(entry: Mapping[str, str]) -> bytes:
    """An entry as journald reads it (pure). A value with a line break goes with its length before it."""
    return b"".join(_field(key.encode(), value.encode(errors="replace")) for key, value in entry.items())


def _field(key: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return key + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return key + b"=" + value + b"\n"
