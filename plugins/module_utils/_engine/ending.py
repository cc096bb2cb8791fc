# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having a running guest end by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from . import faults, running
from .kernel import cgroup_processes, process
from .running import Running
from .site import Site

#: What an init expects as its order to power off; every other one gets SIGTERM.
_STOP_SIGNALS = {
    "systemd": signal.SIGRTMIN + 3,  # systemd(1), SIGNALS
    "init": signal.SIGPWR,  # sysvinit, init(8)
    "busybox": signal.SIGUSR2,
}
_THAW_TIMEOUT = 10.0


def in_order(site: Site, now: Running) -> None:
    """Have the guest end within its timeout: by its init, or where that is deaf, process by process.

    A process 1 without a handler never sees a signal but SIGKILL (pid_namespaces(7)), and its death takes all others
    along at once; so those get SIGTERM first. Whatever is left then is for the caller to kill.
    """
    group = running.group(site, now.guest.name)
    timeout = now.guest.context.timeout
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        init = os.path.basename((process.executable(now.pid) or "").removesuffix(" (deleted)"))
        order = _STOP_SIGNALS.get(init, signal.SIGTERM)
        if process.listens(now.pid, order):
            os.kill(now.pid, order)
            cgroup_processes.freeze(group, False, _THAW_TIMEOUT)
            process.wait_gone(now.pid, now.start, timeout)
            faults.reached("stop:waited")
            return
    for pid in cgroup_processes.ids(group):
        if pid != now.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(FileNotFoundError):
        cgroup_processes.freeze(group, False, _THAW_TIMEOUT)
    deadline = time.monotonic() + timeout
    while set(cgroup_processes.ids(group)) - {now.pid} and time.monotonic() < deadline:
        time.sleep(0.01)
    faults.reached("stop:waited")
