# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that tells what happens to guests as it happens."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from .. import events
from ..site import Site

_HOOK_TIMEOUT = 60.0
_WORDS = {
    "out-of-memory": "{count} killed for want of memory",
    "processes-refused": "{count} processes or threads too many were refused",
}


def _events(site: Site, arguments: argparse.Namespace) -> int:
    before = events.look(site)
    while True:
        time.sleep(arguments.interval)
        after = events.look(site)
        for event in events.between(before, after):
            _tell(event, arguments)
        before = after


def _tell(event: events.Event, arguments: argparse.Namespace) -> None:
    if arguments.json:
        line = json.dumps({"guest": event.guest, "event": event.kind, "count": event.count})
    else:
        line = f"guest {event.guest}: {_WORDS.get(event.kind, event.kind).format(count=event.count)}"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    if arguments.hook:
        _call(arguments.hook, event)


def _call(hook: str, event: events.Event) -> None:
    """Run the operator's program; whatever becomes of it, the watch goes on."""
    words = [hook, event.guest, event.kind, str(event.count)]
    try:
        status = subprocess.run(words, stdin=subprocess.DEVNULL, timeout=_HOOK_TIMEOUT, check=False).returncode
        complaint = f"exit status {status}" if status else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    if complaint:
        sys.stderr.write(f"vserver: warning: {hook} for guest {event.guest}: {complaint}\n")


COMMANDS = {"events": _events}
