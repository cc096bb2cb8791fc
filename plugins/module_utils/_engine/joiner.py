# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into a running guest, of a child that :mod:`.enter` has forked.

Two processes: the *joiner*, that child, takes on all of the guest, cgroup first, and the user namespace together with
the mounts; the *command*, the joiner's child, is the first in the guest's PID namespace and in reach of the guest's
root. By then it holds nothing of the host's but the standard streams and what it tells the caller by, cannot be traced
or read, and cannot import: a module would come from the guest's files.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import sys
from collections.abc import Mapping

from .entrance import Entrance
from .kernel import capability, cgroup_place, keyring, landlock, namespace, process, seccomp_filter, terminal

TYPE_CHECKING = False  # typing's own takes whoever enters a guest 3 ms to read
if TYPE_CHECKING:
    from typing import NoReturn

    from .kernel.channel import Channel

#: Signals to the caller that the command gets.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
_NAMESPACES = (
    namespace.CLONE_NEWPID
    | namespace.CLONE_NEWNS
    | namespace.CLONE_NEWUTS
    | namespace.CLONE_NEWIPC
    | namespace.CLONE_NEWCGROUP
)
#: Exit statuses as a shell's: found but not executed, not found, ended by signal n.
_NOT_EXECUTED, _NOT_FOUND, BY_SIGNAL = 126, 127, 128


class Way:
    """How a command is run in a guest.

    * tty: on a terminal of its own in the guest, of which ours is made a window; else on our standard streams, those
      that are terminals being copied, because a guest never gets a terminal of the host
    * uid, gid: as the guest counts, without supplementary groups
    * user: instead of these, one of the guest's /etc/passwd, with its groups and home directory
    * cwd: the directory to be in
    * environment: beside what a process 1 finds in its own
    """

    def __init__(
        self,
        tty: bool = False,
        uid: int = 0,
        gid: int = 0,
        user: str | None = None,
        cwd: str = "/",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.tty = tty
        self.uid = uid
        self.gid = gid
        self.user = user
        self.cwd = cwd
        self.environment = environment or {}


class Entry:
    """What the joiner and the command need, all of it looked up before.

    * process: pidfd of the guest's process 1
    * argv, files: the command and where it may be, in the order to try; environment: what it finds by itself
    * window: the size of its terminal, if one was told
    """

    def __init__(
        self,
        into: Entrance,
        process: int,
        argv: tuple[bytes, ...],
        files: tuple[bytes, ...],
        environment: Mapping[str, str],
        way: Way,
        window: bytes | None,
    ) -> None:
        self.into = into
        self.process = process
        self.argv = argv
        self.files = files
        self.environment = environment
        self.way = way
        self.window = window


# --- the joiner ------------------------------------------------------------------------------------------------------


def join(entry: Entry, streams: Mapping[int, int], send: int, channel: Channel | None) -> NoReturn:
    """Become one of the guest's, fork the command, and tell its pid."""
    into = entry.into
    try:
        _leave_behind(entry, streams, {send, entry.process} | ({channel.fileno()} if channel else set()))
        cgroup_place.enter_v1(into.others)
        cgroup_place.join(into.tree, into.group, into.pid)  # before any socket is made
        keyring.leave_session()
        for number, pair in into.rlimits.items():
            resource.setrlimit(number, pair)  # while a hard limit may still rise
        process.hide()
        sys.meta_path.clear()  # whatever was imported now would be the guest's
        user = namespace.CLONE_NEWUSER if into.user_namespace else 0
        timing = namespace.CLONE_NEWTIME if namespace.has_time() else 0
        namespace.enter_all(entry.process, _NAMESPACES | user | timing)
        os.close(entry.process)
        environment = _confine(entry)
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # from here on the command gets them
        child = os.fork()
        if child == 0:
            _become(entry, environment, send, channel)
        os.write(send, b"pid %d\0" % child)
    except BaseException as error:
        _tell(send, error)
    finally:
        os._exit(0)


def _leave_behind(entry: Entry, streams: Mapping[int, int], keep: set[int]) -> None:
    """Nothing of the caller's: no descriptor but ``keep`` and the standard streams, no handler, no mask."""
    for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # two belong to the C library
            signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number, fd in streams.items():
        os.dup2(fd, number)
    process.close_all_but(keep)
    os.umask(0o022)


def _confine(entry: Entry) -> dict[str, str | bytes]:
    """The guest's ids, capabilities, scope and filter; returns the command's environment.

    The order is that of the privileges each step needs.
    """
    way, environment = entry.way, dict[str, "str | bytes"](entry.environment)
    uid, gid = way.uid, way.gid
    groups: tuple[int, ...] = ()
    if way.user is not None:
        from . import accounts  # which the caller has read

        os.setresgid(0, 0, 0)  # its files are read as the guest's root
        os.setresuid(0, 0, 0)
        account = accounts.look_up(way.user)
        uid, gid, groups = account.uid, account.gid, account.groups
        environment.update(account.environment)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    capability.limit(entry.into.kept)
    landlock.scope(signals=entry.into.spectator)
    seccomp_filter.load(entry.into.program)
    os.setresuid(uid, uid, uid)
    capability.hold(() if uid else entry.into.kept)
    process.hide()  # again: the kernel forgets it when the ids change
    try:
        os.chdir(way.cwd)
    except OSError as error:
        raise OSError(error.errno, f"change to its directory {way.cwd}: {error.strerror}") from error
    return {**environment, **way.environment}


def _tell(send: int, error: BaseException) -> None:
    number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
    os.write(send, b"error %d %s\0" % (number or errno.EINVAL, os.fsencode(text or repr(error))))


# --- the command -----------------------------------------------------------------------------------------------------


def _become(entry: Entry, environment: Mapping[str, str | bytes], send: int, channel: Channel | None) -> NoReturn:
    """Take a session and a terminal, and execute the command."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        if channel is not None:
            _take_terminal(entry, channel)
        os.close(send)
    except BaseException as error:
        _tell(send, error)
        os._exit(_NOT_EXECUTED)
    status, reason = _NOT_FOUND, "command not found"
    try:
        for file in entry.files:
            try:
                os.execve(file, entry.argv, environment)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    status, reason = _NOT_EXECUTED, error.strerror or "cannot be executed"
        os.write(2, entry.argv[0] + f": {reason}\n".encode())
    finally:
        os._exit(status)


def _take_terminal(entry: Entry, channel: Channel) -> None:
    """Make a terminal of the guest's, hand our end of it to the caller, and be the session on the other."""
    ours, theirs = terminal.make()
    terminal.set_size(ours, entry.window)
    channel.send(ours)
    terminal.control(theirs)
    os.close(ours)
    os.close(theirs)
    channel.close()
