# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the last run of a guest ended: noted and told in the journal by who has seen it, at once.

That is its supervisor, its systemd unit, or whoever stopped it. A guest whose supervisor was killed ends unseen.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from . import event, files
from .errors import VserverError
from .event import Event
from .running import Running
from .site import Site

_ANSWERS: Mapping[int, str] = {signal.SIGHUP: "rebooted", signal.SIGINT: "powered-off"}


@dataclass(frozen=True)
class End:
    """The end of a run.

    * pid, start: the process 1 that ran
    * kind: a key of :data:`.event.ENDS`
    * detail: what ended it, where that is more than its kind tells
    """

    pid: int
    start: int
    kind: str
    detail: str = ""


def of_status(status: int) -> tuple[str, str]:
    """Kind and detail, by the wait status of process 1 (pure).

    reboot(2) inside the guest ends its process 1 with SIGHUP, poweroff and halt with SIGINT (kernel/pid_namespace.c,
    reboot_pid_ns).
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (_ANSWERS[number], "") if number in _ANSWERS else ("crashed", f"killed by {_signal(number)}")
    code = os.WEXITSTATUS(status)
    return ("crashed", f"exit status {code}") if code else ("exited", "")


def of_unit(variables: Mapping[str, str]) -> tuple[str, str]:
    """The same, by what systemd tells ExecStop and ExecStopPost of the main process (systemd.exec(5)) (pure).

    It tells nothing when that ran still as they were started: then they are there to stop it.
    """
    code, status = variables.get("EXIT_CODE", ""), variables.get("EXIT_STATUS", "")
    if not code:
        return "stopped", ""
    if code == "exited" and status.isdigit():
        return of_status(int(status) << 8)
    if code in ("killed", "dumped") and f"SIG{status}" in signal.Signals.__members__:
        return of_status(signal.Signals[f"SIG{status}"])
    return "crashed", f"{code} {status}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"


def note(site: Site, ended: Running, kind: str, detail: str = "") -> None:
    """Note how a run has ended, and have the journal tell it, unless that is done. It keeps nobody from going on."""
    name = ended.guest.name
    known = read(site, name)
    if known is not None and (known.pid, known.start) == (ended.pid, ended.start):
        return
    event.log(Event(name, kind, detail=detail))
    try:
        files.make_directory(site.bundle(name), 0o711)
        files.write_json(_file(site, name), asdict(End(ended.pid, ended.start, kind, detail)))
    except (OSError, VserverError):
        return  # the journal has it


def read(site: Site, name: str) -> End | None:
    """How the last run ended that anybody has seen ending."""
    try:
        return End(**files.read_json(_file(site, name)))
    except (OSError, TypeError, VserverError):  # TypeError: a newer version of the engine has written more
        return None


def _file(site: Site, name: str) -> Path:
    return site.bundle(name) / "ended.json"
