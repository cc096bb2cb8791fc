# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that tells what happens to guests as it happens."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

from .. import event, events
from ..event import Event
from ..site import Site

_HOOK_TIMEOUT = 60.0
#: So many events wait for a hook that is slow; what comes then is told, and no hook is run for it.
_WAITING = 1000


def _events(site: Site, arguments: argparse.Namespace) -> int:
    calm, before = events.Calm(), events.look(site)
    hook = Hook(arguments.hook) if arguments.hook else None
    while True:
        time.sleep(arguments.interval)
        after = events.look(site, before)
        for found in calm.pass_on(events.between(before, after), time.monotonic()):
            _tell(found, arguments)
            if hook is not None:
                hook.call(found)
        before = after


def _tell(found: Event, arguments: argparse.Namespace) -> None:
    if arguments.journal:
        if found.kind not in event.ENDS:  # those are in the journal already, by who has seen them
            event.log(found)
        return
    told = {"guest": found.guest, "event": found.kind, "count": found.count, "detail": found.detail}
    sys.stdout.write(f"{json.dumps(told) if arguments.json else found.words}\n")
    sys.stdout.flush()


class Hook:
    """The operator's program, run for one event after the other, beside the watch; whatever becomes of it."""

    def __init__(self, program: str, timeout: float = _HOOK_TIMEOUT) -> None:
        self._program, self._timeout = program, timeout
        self._waiting: queue.Queue[Event] = queue.Queue(_WAITING)
        threading.Thread(target=self._work, daemon=True).start()

    def call(self, found: Event) -> None:
        """Have it run for an event, some time."""
        try:
            self._waiting.put_nowait(found)
        except queue.Full:
            self._complain(found, f"is not run, because {_WAITING} events wait for it")

    def _work(self) -> None:
        while True:
            found = self._waiting.get()
            complaint = self._run(found)
            if complaint:
                self._complain(found, complaint)

    def _run(self, found: Event) -> str:
        """Run it, in a session of its own, so that all of it ends with it; say what went wrong."""
        words = [self._program, found.guest, found.kind, str(found.count), found.detail]
        environment = {**os.environ, **found.variables}
        try:
            with subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment, start_new_session=True) as process:
                try:
                    status = process.wait(self._timeout)
                except subprocess.TimeoutExpired:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    return f"has been killed, for it took longer than {self._timeout:.0f} s"
        except OSError as error:
            return error.strerror or str(error)
        return f"exit status {status}" if status else ""

    def _complain(self, found: Event, complaint: str) -> None:
        sys.stderr.write(f"vserver: warning: {self._program} for guest {found.guest}: {complaint}\n")


COMMANDS = {"events": _events}
