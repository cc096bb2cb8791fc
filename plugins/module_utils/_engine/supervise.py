# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching a guest's process 1 on hosts where no systemd unit does.

A small process stays behind for each guest, in the guest's own ``supervisor`` cgroup: it is the parent of process 1,
boots the guest again when it rebooted, and cleans up when it powered off. Nothing depends on it: when it is gone, the
next call into the engine finds and clears what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from . import boot, files, running, store
from .chbind import programs
from .errors import VserverError
from .kernel import cgroup, process
from .model import Guest
from .running import Running
from .site import Site


def spawn(site: Site, guest: Guest, path: str, lock: int) -> Running:
    """Boot ``guest`` with the runtime at ``path`` under a new supervisor; returns when its init runs.

    ``lock`` is the descriptor of the guest's lock, which the caller holds: the supervisor holds it too until the boot
    is over, so that a caller who dies meanwhile lets nobody in. Raises :class:`VserverError`.
    """
    programs.source_digest()  # now: the supervisor may outlive the file that it is read from
    receive, send = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        with _never_returning():
            os.close(receive)
            os.setsid()
            if os.fork() == 0:
                _supervise(site, guest, path, lock, send)
    os.close(send)
    os.waitpid(child, 0)
    with open(receive, "rb") as pipe:
        answer = pipe.read()
    if not answer:
        raise VserverError(f"start guest {guest.name}", why="its supervisor was killed", remedy="Start it again.")
    result: dict[str, Any] = json.loads(answer)
    if "error" in result:
        raise VserverError(*result["error"])
    return boot.require_running(site, guest.name)


@contextlib.contextmanager
def _never_returning() -> Iterator[None]:
    """Keep a forked child from ever running its parent's code."""
    try:
        yield
    finally:
        os._exit(0)


def _supervise(site: Site, guest: Guest, path: str, lock: int, send: int) -> None:
    """The supervisor's life: boot, report, wait; again after a reboot."""
    _detach({lock, send}, f"vserver:{guest.name}")
    try:
        now = boot.boot(site, guest, path)
    except Exception as error:
        parts = error if isinstance(error, VserverError) else VserverError(f"start guest {guest.name}", str(error))
        _release_quietly(site, guest.name)
        os.write(send, json.dumps({"error": [parts.what, parts.why, parts.remedy]}).encode())
        return
    os.write(send, b"{}")
    os.close(send)
    _join_cgroup(site, guest.name)
    os.close(lock)
    again: Running | None = now
    while again is not None:
        again = _after(site, again, _wait(again.pid), path)


def _after(site: Site, ended: Running, status: int, path: str) -> Running | None:
    """Clean up behind a process 1 that ended with ``status``; boot again if it rebooted, and return the new one."""
    name = ended.guest.name
    with store.lock_guest(site, name):
        if not _still_ours(site, ended):
            return None
        try:
            boot.release(site, name)
            guest = recorded(site, ended.guest)
            rebooted = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP
            if not rebooted or guest is None:
                return None
            again = boot.boot(site, guest, path)
            _join_cgroup(site, name)
            return again
        except Exception:
            # Nobody is there to be told; what is left is cleared by the next call for this guest.
            _release_quietly(site, name)
            return None


def recorded(site: Site, ended: Guest) -> Guest | None:
    """What is recorded of a guest; as it ran, when a newer version of the engine than this has written the record."""
    try:
        return store.load(site, ended.name)
    except VserverError:
        return ended


def _join_cgroup(site: Site, name: str) -> None:
    """Move into the guest's ``supervisor`` cgroup; it takes the kernel 10 ms, so nobody is kept waiting for it."""
    outer = running.outer_cgroup(site, cgroup.layout(), name)
    with contextlib.suppress(OSError):
        (outer / "supervisor" / "cgroup.procs").write_text("0")


def _release_quietly(site: Site, name: str) -> None:
    with contextlib.suppress(Exception):
        boot.release(site, name)


def _detach(keep: set[int], name: str) -> None:
    """Become a process of our own: no terminal, no descriptors of the caller's but ``keep``, orphans come to us."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    process.close_all_but(keep)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
    process.set_name(name)
    process.become_subreaper()


def _wait(pid: int) -> int:
    """Reap children until ``pid`` ends; returns its wait status.

    reboot(2) inside the guest ends its process 1 with SIGHUP, poweroff with SIGINT (kernel/pid_namespace.c,
    reboot_pid_ns).
    """
    while True:
        child, status = os.wait()
        if child == pid:
            return status


def _still_ours(site: Site, now: Running) -> bool:
    """Whether nobody has stopped or restarted the guest since we booted it."""
    with contextlib.suppress(FileNotFoundError, VserverError):
        state = files.read_json(running.state_file(site, now.guest.name))
        return bool(state["pid"] == now.pid and state["start"] == now.start)
    return False
