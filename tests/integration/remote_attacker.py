# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ``attacker.py`` in another process, whose requests and answers go over its pipes."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from pathlib import Path
from typing import Any

ATTACKER = Path(__file__).with_name("attacker.py")
#: How long an attacker may take to answer, in seconds: the first time it has to come up, on an emulated processor.
PATIENCE = 120.0


class RemoteAttacker:
    """An ``attacker.py`` that answers over the pipes of a process."""

    def __init__(self, command: list[str], **how: Any) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.writer, self.reader = self.process.stdin, self.process.stdout

    def __call__(self, do: str, **more: Any) -> Any:
        self.writer.write(json.dumps({"do": do, **more}) + "\n")
        self.writer.flush()
        assert select.select([self.reader], [], [], PATIENCE)[0], f"no answer to {do} {more}"
        line = self.reader.readline()
        assert line, f"the attacker ended: {self.process.poll()}"
        return json.loads(line)

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.writer.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.process.kill()
        self.process.wait()
        self.reader.close()
