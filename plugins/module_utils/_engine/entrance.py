# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whoever enters a running guest has to know of it, and where that is noted for the next one.

Most of the engine is read to find it out (:func:`.enter.find`), and it follows from little: the run state and the
control group hierarchies. So it is noted together with these, and holds for as long as they are the same, to the
letter. What is damaged, or another Python's, is found out anew.
"""

from __future__ import annotations

import contextlib
import marshal
from collections.abc import Mapping

#: What in a guest's bundle is its run state, and the note.
STATE, _NOTE = "state.json", "entrance"


class Entrance:
    """The way into a running guest, in plain values.

    * pid, start: its process 1 (see :func:`.kernel.process.start_ticks`)
    * group: v2 path of its own cgroup, below ``tree``; others: that of each other hierarchy it is in
    * kept: its capabilities, program: its system call filter as instructions, rlimits: resource → (soft, hard)
    * environment: what a process 1 finds in its own
    """

    def __init__(
        self,
        pid: int,
        start: int,
        tree: str,
        group: str,
        others: tuple[str, ...],
        kept: tuple[str, ...],
        program: bytes,
        rlimits: Mapping[int, tuple[int, int]],
        environment: Mapping[str, str],
        user_namespace: bool,
        spectator: bool,
    ) -> None:
        self.pid = pid
        self.start = start
        self.tree = tree
        self.group = group
        self.others = others
        self.kept = kept
        self.program = program
        self.rlimits = rlimits
        self.environment = environment
        self.user_namespace = user_namespace
        self.spectator = spectator


class Question:
    """What an entrance follows from: a guest's run state, this host's hierarchies, and the version of the engine.

    * bundle: the guest's
    """

    def __init__(self, bundle: str, version: str) -> None:
        self.place = f"{bundle}/{_NOTE}"
        state = None  # of a guest that does not run
        with contextlib.suppress(FileNotFoundError), open(f"{bundle}/{STATE}", "rb") as file:
            state = file.read()
        with open("/proc/self/mountinfo", "rb") as mounts:
            self.known = (version, state, [line for line in mounts if b" - cgroup" in line])

    def answered(self) -> Entrance | None:
        """What was noted as the answer to the very same question."""
        with contextlib.suppress(OSError, EOFError, ValueError, TypeError):
            with open(self.place, "rb") as note:
                known, values = marshal.load(note)
            if known == self.known:
                return Entrance(**values)
        return None

    def answer(self, entrance: Entrance) -> bytes:
        """What to note."""
        return marshal.dumps((self.known, vars(entrance)))
