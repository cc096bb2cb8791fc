# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing that happened to a guest, its words, and its entry in the host's journal."""

from __future__ import annotations

import syslog
from collections.abc import Mapping
from dataclasses import dataclass

from .kernel import journal

#: How a run of a guest ends, where somebody has seen it: its supervisor, its unit, or who stopped it.
ENDS: Mapping[str, str] = {
    "stopped": "stopped",
    "powered-off": "powered itself off",
    "rebooted": "rebooted itself",
    "exited": "its init ended",
    "crashed": "its init ended unexpectedly",
}
#: Kind → words; ``{count}`` is how many.
WORDS: Mapping[str, str] = {
    **ENDS,
    "started": "started",
    "ended": "ended",
    "frozen": "frozen",
    "thawed": "thawed",
    "out-of-memory": "{count} killed for want of memory",
    "memory-high": "slowed down at memory_high, {count} times",
    "memory-max": "at its limit of memory, {count} times",
    "processes-refused": "{count} processes or threads too many were refused",
    "sockets-refused": "{count} sockets too many were refused",
    "disk-full": "at its limit of disk space or inodes",
}
_WARNINGS = (
    "crashed",
    "out-of-memory",
    "memory-high",
    "memory-max",
    "processes-refused",
    "sockets-refused",
    "disk-full",
)


@dataclass(frozen=True)
class Event:
    """One thing that happened to a guest.

    * kind: a key of WORDS
    * count: how many processes were killed or refused, or how often; 1 otherwise
    * detail: more words, such as the signal that ended its init
    """

    guest: str
    kind: str
    count: int = 1
    detail: str = ""

    @property
    def words(self) -> str:
        """What happened, for people."""
        said = f"guest {self.guest}: {WORDS[self.kind].format(count=self.count)}"
        return f"{said}, {self.detail}" if self.detail else said

    @property
    def variables(self) -> dict[str, str]:
        """What happened, for programs: variables of a hook, fields of an entry in the journal."""
        return {
            "VSERVER_GUEST": self.guest,
            "VSERVER_EVENT": self.kind,
            "VSERVER_COUNT": str(self.count),
            "VSERVER_DETAIL": self.detail,
        }


def log(event: Event) -> None:
    """Have the host's journal tell it."""
    priority = syslog.LOG_WARNING if event.kind in _WARNINGS else syslog.LOG_INFO
    journal.write(event.words, priority, event.variables)
