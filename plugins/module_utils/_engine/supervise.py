# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting guests on hosts where no systemd unit watches their process 1: what the caller does.

A process that starts guests begins one other, the supervisor of them all, which creates each one's process 1, because
only a parent learns how that ends. All else of a boot the caller does, in memory of its own: in a process that was just
forked each page that is written to is copied first, which takes longer than the work itself.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import socket
import sys
from typing import Any

from . import boot, supervisor
from .chbind import programs
from .errors import VserverError
from .kernel import sealed
from .model import Guest
from .running import Running
from .site import Site


def spawn(site: Site, guest: Guest, path: str, lock: int) -> Running:
    """Boot ``guest`` with the runtime at ``path`` under this process's supervisor; returns when its init runs.

    ``lock`` is the descriptor of the guest's lock, which the caller holds: the supervisor holds it too until the boot
    is over, so that a caller who dies meanwhile lets nobody in before all is cleared. Raises :class:`VserverError`.
    """
    programs.source_digest()  # now: the supervisor may outlive the file that it is read from

    def create(site: Site, guest: Guest, path: str, own_time: bool) -> int:
        copy = sealed.program(path)
        return int(_ask(supervisor.Order(site, guest, path, own_time), lock, *(() if copy is None else (copy,))))

    try:
        _tell(boot.boot(site, guest, path, create=create))
    except BaseException as error:
        with contextlib.suppress(VserverError):
            _ask(None)
        supervisor.release_quietly(site, guest.name)
        if isinstance(error, Exception) and not isinstance(error, VserverError):
            raise VserverError(f"start guest {guest.name}", why=str(error)) from error
        raise
    return boot.require_running(site, guest.name)


def _ask(what: supervisor.Order | None, *descriptors: int) -> Any:
    """What the supervisor answers; where there is none, or none any more, there is another. Raises VserverError."""
    for _attempt in range(2 if what else 1):
        said = b""
        with contextlib.suppress(OSError), _channel() as channel:
            socket.send_fds(channel, [pickle.dumps(what)], list(descriptors))
            said = channel.recv(supervisor.MESSAGE_SIZE)
        if said:
            answer = pickle.loads(said)
            if isinstance(answer, supervisor.Refusal):
                raise VserverError(*answer.parts)
            return answer
        os.close(_begun(os.getpid()))
        _begun.cache_clear()
    name = f" {what.guest.name}" if what else ""
    raise VserverError(f"start guest{name}", why="its supervisor was killed", remedy="Start it again.")


def _tell(now: Running) -> None:
    """Leave a guest whose init runs to the supervisor; if that was killed, it does without."""
    with contextlib.suppress(OSError), _channel() as channel:
        channel.send(pickle.dumps(now))


def _channel() -> socket.socket:
    """The way to the supervisor of this process; a process that was forked from it has another one."""
    return socket.fromfd(_begun(os.getpid()), socket.AF_UNIX, socket.SOCK_SEQPACKET)


@functools.cache
def _begun(_process: int) -> int:
    """The descriptor of a socket whose other end a new supervisor has."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        with supervisor.never_returning():
            os.setsid()
            if os.fork() == 0:
                supervisor.live(there)
    there.close()
    os.waitpid(child, 0)
    return here.detach()
