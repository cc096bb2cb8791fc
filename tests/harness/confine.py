# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command that makes guests where it cannot touch the machine's own.

Called in new mount and network namespaces: confine.py STATE COMMAND... puts private file systems over the places where
guests live and writable layers over those where programs are installed, all of it in STATE but what a reboot ends, runs
the command, and afterwards ends every process that is still in this network namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Where guests live, until they are removed and until the host reboots: in memory, as /run is.
KEPT, VOLATILE = "/var/lib/vserver", "/run/vserver"
# Where something gets installed: the run sees what is there, and what it changes stays in STATE.
COVERED = {"/usr/sbin": "sbin", "/usr/share/man": "man", "/usr/share/bash-completion": "completion"}
# Exit status for a command that succeeded and left processes behind.
LEFT_RUNNING = 70
PATIENCE = 10.0


def inhabitants() -> dict[int, str]:
    """The other processes in this network namespace; guests share it, whatever their other namespaces are."""
    here = os.stat("/proc/self/ns/net").st_ino
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino == here:
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found


def clear() -> dict[int, str]:
    """Ends the processes that are left, and answers which ones there were."""
    first = rest = inhabitants()
    deadline = time.monotonic() + PATIENCE
    while rest and time.monotonic() < deadline:
        for process in rest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
        rest = inhabitants()
    return first


def main(state: Path, command: list[str]) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    private = state / "lib"
    private.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "--bind", str(private), KEPT], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "vserver-tests", VOLATILE], check=True)
    for place, name in COVERED.items():
        if not Path(place).is_dir():
            continue
        upper, work = state / name / "upper", state / name / "work"
        for layer in (upper, work):
            layer.mkdir(parents=True)
        layers = f"lowerdir={place},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", place], check=True)
    status = None
    child = subprocess.Popen(command)
    try:
        while status is None:
            # An interrupt reaches the command as well, which then tidies up by itself.
            with contextlib.suppress(KeyboardInterrupt):
                status = child.wait()
    finally:
        left = clear()
    if left:
        print("left running:", ", ".join(f"{name} ({process})" for process, name in sorted(left.items())))
    return LEFT_RUNNING if left and status == 0 else status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
