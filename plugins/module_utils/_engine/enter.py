# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entering a running guest: a command in its namespaces and cgroup, confined as its own processes are.

The runtime's ``exec`` is not used, because it cannot be kept from abstract unix sockets: the guest's own Landlock
domain can be inherited only, and a runtime inside another domain may not open the guest's namespaces (landlock(7),
"Ptrace restrictions"). So a domain is entered here, after the namespaces.

Three processes: the caller waits and copies; the *joiner*, its child, takes on all of the guest, cgroup first, and the
user namespace together with the mounts; the *command*, the joiner's child, is the first in the guest's PID namespace
and in reach of the guest's root. By then it holds nothing of the host's but the standard streams and what it tells the
caller by, cannot be traced or read, and cannot import: a module would come from the guest's files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from . import oci, running, seccomp
from .errors import InvalidInput, VserverError
from .facets import capabilities
from .kernel import capability, cgroup, keyring, landlock, namespace, process, seccomp_filter, terminal
from .model import ID_COUNT
from .running import Running
from .site import Site

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
_NAMESPACES = (
    namespace.CLONE_NEWPID
    | namespace.CLONE_NEWNS
    | namespace.CLONE_NEWUTS
    | namespace.CLONE_NEWIPC
    | namespace.CLONE_NEWCGROUP
)
#: Exit statuses as a shell's: found but not executed, not found, ended by signal n.
_NOT_EXECUTED, _NOT_FOUND, _BY_SIGNAL = 126, 127, 128
#: Seconds in which process 1 is gone when its end is what killed the command.
_LAST_BREATH = 2.0


@dataclass(frozen=True)
class _Entry:
    """What the joiner and the command need, all of it looked up before.

    * process: pidfd of the guest's process 1
    * group: the guest's own cgroup, relative to the top of a hierarchy
    * kept: the guest's capabilities, program: its system call filter as instructions
    * argv, files: the command and where it may be, in the order to try; environment: of the command, whole
    * window: the size of its terminal, if one was told
    """

    now: Running
    process: int
    layout: cgroup.Layout
    group: str
    kept: tuple[str, ...]
    program: bytes
    argv: tuple[bytes, ...]
    files: tuple[bytes, ...]
    environment: Mapping[str, str]
    uid: int
    gid: int
    window: bytes | None


def run(site: Site, name: str, argv: Sequence[str], *, tty: bool = False, uid: int = 0, gid: int = 0) -> int:
    """Run ``argv`` in guest ``name`` and return its exit status as a shell gives it: 128+n when signal n ended it.

    * tty: on a terminal of its own in the guest, of which ours is made a window; else on our standard streams, those
      that are terminals being copied, because a guest never gets a terminal of the host
    * uid, gid: as the guest counts, without supplementary groups

    Signals that end a program are passed on meanwhile. 127 is a command that was not found, 126 one that cannot be
    executed; why is on its standard error. A command that is killed because the guest ends is an error. To be called
    from the only thread of a process. Raises :class:`InvalidInput`, :class:`VserverError`.
    """
    now = _running(site, name)
    with contextlib.ExitStack() as stack:
        try:
            entry = _entry(site, now, argv, tty, uid, gid)
            stack.callback(os.close, entry.process)
            return _run(stack, entry, tty)
        except OSError as error:
            if running.read(site, name) != now:
                raise VserverError(f"enter guest {name}", why="it has stopped meanwhile") from error
            raise VserverError(f"enter guest {name}", why=str(error.strerror or error)) from error


def _running(site: Site, name: str) -> Running:
    now = running.read(site, name)
    if now is None:
        raise InvalidInput(f"guest {name} does not run", remedy="Start it first.")
    if cgroup.frozen(running.outer_cgroup(site, cgroup.layout(), name) / "guest"):
        raise InvalidInput(f"guest {name} is frozen, and so would be who enters", remedy="Have it go on first.")
    return now


def _entry(site: Site, now: Running, argv: Sequence[str], tty: bool, uid: int, gid: int) -> _Entry:
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise InvalidInput(f"command {list(argv)!r} cannot be executed", remedy="Give a program and its arguments.")
    for number in (uid, gid):
        if not 0 <= number < ID_COUNT:
            raise InvalidInput(f"id {number} does not exist in a guest", remedy=f"Give 0 to {ID_COUNT - 1}.")
    environment = dict(setting.split("=", 1) for setting in oci.ENVIRONMENT)
    environment["HOME"] = "/" if uid else "/root"
    if tty:
        environment["TERM"] = os.environ.get("TERM", "linux")
    path = [""] if "/" in argv[0] else [directory + "/" for directory in environment["PATH"].split(":")]
    program = seccomp_filter.compiled(seccomp.profile(os.uname().machine))
    descriptor = process.descriptor(now.pid)
    if process.start_ticks(now.pid) != now.start:
        os.close(descriptor)
        raise ProcessLookupError(errno.ESRCH, "its process 1 is gone")
    return _Entry(
        now,
        descriptor,
        cgroup.layout(),
        running.inner_cgroup(site, now.guest.name),
        capabilities.kept(now.guest.capabilities),
        program,
        tuple(map(os.fsencode, argv)),
        tuple(os.fsencode(directory + argv[0]) for directory in path),
        environment,
        uid,
        gid,
        terminal.size(0) if tty else None,
    )


# --- the caller ------------------------------------------------------------------------------------------------------


def _run(stack: contextlib.ExitStack, entry: _Entry, tty: bool) -> int:
    """Fork the joiner, hear of the command, copy and wait."""
    streams, copies = ({}, []) if tty else _streams()
    for copy in copies:
        stack.callback(copy.close)
    receive, send = os.pipe()
    channel = socket.socketpair() if tty else None
    stack.enter_context(process.adopting())
    to = stack.enter_context(_passing_on())
    joiner = os.fork()
    if joiner == 0:
        _join(entry, streams, send, channel[1] if channel else None)
    to.joiner = joiner
    os.close(send)
    for ours in streams.values():
        os.close(ours)
    with open(receive, "rb") as pipe:
        answers = [json.loads(line) for line in pipe.read().splitlines()]
    said: dict[str, Any] = {key: value for answer in answers for key, value in answer.items()}
    to.joiner = None
    if "pid" in said:
        to.found(said["pid"])
    ended_by = -os.waitstatus_to_exitcode(os.waitpid(joiner, 0)[1])
    if "error" in said:
        if "pid" in said:
            to.command = None
            os.waitpid(said["pid"], 0)
        raise OSError(*said["error"])
    if ended_by in _PASSED_ON:
        return _BY_SIGNAL + ended_by
    if "pid" not in said:
        raise OSError(errno.ESRCH, "the process that entered was killed")
    if channel is not None:
        channel[1].close()
        with channel[0]:
            _data, (master, *_rest), _flags, _address = socket.recv_fds(channel[0], 1, 1)
        stack.callback(os.close, master)
        to.window = master
        copies = [terminal.Copy(0, master, True), terminal.Copy(master, 1, False)]
        stack.enter_context(terminal.raw(0))
    ended = process.descriptor(said["pid"])
    stack.callback(os.close, ended)
    terminal.relay(copies, ended)
    to.command = None
    status = os.waitstatus_to_exitcode(os.waitpid(said["pid"], 0)[1])
    if status == -signal.SIGKILL and select.select([entry.process], [], [], _LAST_BREATH)[0]:
        raise OSError(errno.ESRCH, "it ended with its guest")
    return status if status >= 0 else _BY_SIGNAL - status


def _streams() -> tuple[dict[int, int], list[terminal.Copy]]:
    """A pipe in place of each standard stream that is a terminal: number → the command's end, and what to copy."""
    streams, copies = {}, []
    for number in (0, 1, 2):
        if os.isatty(number):
            receive, send = os.pipe()
            theirs, ours = (receive, send) if number == 0 else (send, receive)
            os.set_blocking(ours, False)
            streams[number] = theirs
            copies.append(terminal.Copy(0, ours, True) if number == 0 else terminal.Copy(ours, number, False))
    return streams, copies


class _Signals:
    """Where signals to the caller go.

    * joiner, command: pids while they are ours to signal. What the joiner got goes to the command too, in case that was
      running already
    * window: our end of the command's terminal, which is told our terminal's size instead
    """

    def __init__(self) -> None:
        self.joiner: int | None = None
        self.command: int | None = None
        self.window: int | None = None
        self._early: list[int] = []

    def __call__(self, number: int, _frame: object) -> None:
        if number == signal.SIGWINCH and self.window is not None:
            terminal.set_size(self.window, terminal.size(0))
        elif self.command is not None:
            os.kill(self.command, number)
        else:
            self._early.append(number)
            if self.joiner is not None:
                os.kill(self.joiner, number)

    def found(self, command: int) -> None:
        """Signal ``command`` from now on."""
        self.command = command
        while self._early:
            os.kill(command, self._early.pop(0))


@contextlib.contextmanager
def _passing_on() -> Iterator[_Signals]:
    """Handle the signals to pass on, but for those that the caller ignores (nohup)."""
    signals = _Signals()
    before = {number: signal.getsignal(number) for number in _PASSED_ON}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signals)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- the joiner ------------------------------------------------------------------------------------------------------


def _join(entry: _Entry, streams: Mapping[int, int], send: int, channel: socket.socket | None) -> NoReturn:
    """Become one of the guest's, fork the command, and tell its pid."""
    try:
        _leave_behind(entry, streams, {send, entry.process} | ({channel.fileno()} if channel else set()))
        cgroup.join(entry.layout, entry.group, entry.now.pid)  # before any socket is made
        keyring.leave_session()
        for name, pair in entry.now.guest.limits.rlimits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), pair)  # while a hard limit may still rise
        process.hide()
        sys.meta_path.clear()  # whatever was imported now would be the guest's
        shifted = entry.now.guest.context.user_namespace
        namespace.enter_all(entry.process, _NAMESPACES | (namespace.CLONE_NEWUSER if shifted else 0))
        os.close(entry.process)
        _confine(entry)
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # from here on the command gets them
        child = os.fork()
        if child == 0:
            _become(entry, send, channel)
        os.write(send, json.dumps({"pid": child}).encode() + b"\n")
    except BaseException as error:
        _tell(send, error)
    finally:
        os._exit(0)


def _leave_behind(entry: _Entry, streams: Mapping[int, int], keep: set[int]) -> None:
    """Nothing of the caller's: no descriptor but ``keep`` and the standard streams, no handler, no mask."""
    for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # two belong to the C library
            signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number, fd in streams.items():
        os.dup2(fd, number)
    process.close_all_but(keep)
    os.umask(0o022)


def _confine(entry: _Entry) -> None:
    """The guest's ids, capabilities, scope and filter; the order is that of the privileges each step needs."""
    os.setgroups(())
    os.setresgid(entry.gid, entry.gid, entry.gid)
    capability.limit(entry.kept)
    landlock.scope_abstract_sockets()
    seccomp_filter.load(entry.program)
    os.setresuid(entry.uid, entry.uid, entry.uid)
    capability.hold(() if entry.uid else entry.kept)
    process.hide()  # again: the kernel forgets it when the ids change
    os.chdir("/")


def _tell(send: int, error: BaseException) -> None:
    number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
    os.write(send, json.dumps({"error": [number or errno.EINVAL, text or repr(error)]}).encode() + b"\n")


# --- the command -----------------------------------------------------------------------------------------------------


def _become(entry: _Entry, send: int, channel: socket.socket | None) -> NoReturn:
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
                os.execve(file, entry.argv, entry.environment)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    status, reason = _NOT_EXECUTED, error.strerror or "cannot be executed"
        os.write(2, entry.argv[0] + f": {reason}\n".encode())
    finally:
        os._exit(status)


def _take_terminal(entry: _Entry, channel: socket.socket) -> None:
    """Make a terminal of the guest's, hand our end of it to the caller, and be the session on the other."""
    ours, theirs = terminal.make()
    terminal.set_size(ours, entry.window)
    channel.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", ours))])
    terminal.control(theirs)
    os.close(ours)
    os.close(theirs)
    channel.close()
