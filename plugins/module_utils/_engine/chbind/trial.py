# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel applies a cgroup's binding to a process in it: tried, not assumed.

Attached programs can be without effect. Before 5.15 (and where the fix was not taken to an older kernel) a socket
forgets its cgroup2 as soon as a version 1 net_cls or net_prio group is in use, and no query shows that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from ..kernel import process

_REFUSED, _ALLOWED = 0, 1


def takes_effect(cgroup: Path) -> bool:
    """Return whether a process in the cgroup is kept from making a raw socket, as every binding keeps it.

    The process is a child of ours, in a cgroup below that lives as long as it does, so the rule against processes in
    inner cgroups is respected. We have to get such a socket ourselves, else its refusal would mean nothing.
    Raises OSError when the trial itself cannot be made.
    """
    try:
        _make_raw_socket()
    except OSError as error:
        raise OSError(f"a process could not make a raw socket: {error.strerror}") from error
    place = cgroup / f"vserver-trial-{os.getpid()}"
    place.mkdir()
    try:
        child = _fork_into(place)
        if child == 0:
            os._exit(_try())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()
    if status not in (_REFUSED, _ALLOWED):
        raise OSError(f"a process could not try {place}: it ended with status {status}")
    return status == _REFUSED


def _fork_into(group: Path) -> int:
    """A child in ``group``; before Linux 5.7 it moves there, and ends with status 255 when it may not."""
    try:
        return process.fork_into(group)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.E2BIG, errno.EINVAL):
            raise
    child = os.fork()
    if child == 0:
        try:
            (group / "cgroup.procs").write_text("0")
        except BaseException:
            os._exit(255)
    return child


def _try() -> int:
    try:
        _make_raw_socket()
    except OSError:
        return _REFUSED
    return _ALLOWED


def _make_raw_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
