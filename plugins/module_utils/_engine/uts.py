# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host name of a running guest."""

from __future__ import annotations

import os
import socket

from .errors import VserverError
from .kernel import namespace


def set_hostname(pid: int, hostname: str) -> None:
    """Set the host name in the UTS namespace of process ``pid``, from a child that joins it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            namespace.enter(pid, "uts", namespace.CLONE_NEWUTS)
            socket.sethostname(hostname)
            status = 0
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise VserverError(f"set the host name {hostname}", why="the guest's UTS namespace refused it")
