# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation with a running QEMU, in its machine protocol (QMP)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from .failure import LabError

_PATIENCE = 300.0


class Monitor:
    """One connection to the QEMU that listens on a socket; use it in a ``with`` statement."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r")
        self._lines.readline()
        self.ask("qmp_capabilities")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **arguments: object) -> Any:
        """What QEMU returns for a command; events that come in between are passed over."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"qemu {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise LabError(f"qemu {command}: it ended without an answer")

    def migrate(self, command: str) -> None:
        """Writes the machine's state through a shell command. The machine stands still from now on."""
        self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": 8 << 30})
        self.ask("migrate", uri=f"exec:{command}")
        deadline = time.monotonic() + _PATIENCE
        while (status := self.ask("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise LabError(f"qemu: the state of the machine could not be saved: {status}")
            time.sleep(0.1)
