# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the connection plugin gives for each task, many times over. It reads as little as can be."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .. import caller
from ..entrance import Entrance, Question
from ..errors import InvalidInput
from ..kernel import process

#: As in :class:`..site.Site`, which is read where there is need of it only.
RUN = "/run/vserver"


def run(version: str, given: Sequence[str]) -> int:
    """Run a command in a guest, and tell its exit status in a line of its own on standard error.

    * version: of this program
    * given: the word that the line begins with, the guest's name, and the command
    """
    if len(given) < 3:
        raise InvalidInput("no command to run is given", remedy="Write: task WORD NAME COMMAND [ARGUMENT ...].")
    word, name, *argv = given
    status = caller.run(_entrance(version, name), name, argv)
    sys.stderr.write(f"{word} {status}\n")
    return 0


def _entrance(version: str, name: str) -> Entrance:
    question = Question(f"{RUN}/{name}", version)
    known = question.answered()
    if known is not None and process.start_ticks(known.pid) == known.start:
        return known
    from .. import enter  # with most of the engine; nothing has been done yet
    from ..site import Site

    return enter.find_and_note(Site(), name, question)
