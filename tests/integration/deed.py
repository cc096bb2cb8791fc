# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile program at work in a guest, see ``hostile.py``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle, usage
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import Guests, eventually

PROGRAM = Path(__file__).with_name("hostile.py")
#: How long a guest may take to end, whatever it does, in seconds.
ENDS = 15.0
#: How long it may take until a deed shows, in seconds: the hosts of the lab are slow.
BEGINS = 120.0


@dataclass
class Deed:
    """A hostile program at work in a guest, and what is known of both."""

    site: Site
    guest: str
    process: subprocess.Popen[bytes]
    heard: bytes = b""

    def said(self) -> list[str]:
        """The lines it has printed so far."""
        assert self.process.stdout is not None
        while block := self.process.stdout.read(65536):
            self.heard += block
        return self.heard.decode().splitlines()

    def used(self) -> dict[str, Any]:
        return usage_now(self.site, self.guest)


def usage_now(site: Site, name: str) -> dict[str, Any]:
    """What a running guest has used so far."""
    (guest,) = usage.gathered(site, [name], ["usage"])
    found: dict[str, Any] = guest["usage"]
    return found


@contextmanager
def at_work(guests: Guests, name: str, deed: str) -> Iterator[Deed]:
    """A deed in a guest, which is ended by having its guest end, at once."""
    words = guests.command(name, "python3", "-c", PROGRAM.read_text(), deed)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        begun = Deed(guests.site, name, process)
        try:
            eventually(begun.said, f"{deed} does not begin", BEGINS)
            yield begun
        finally:
            lifecycle.set_state(guests.site, name, "stopped", {"timeout": 0})
            process.wait(ENDS)
