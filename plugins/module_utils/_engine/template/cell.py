# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands inside a new tree: in namespaces of their own, with few capabilities, out of the host's sight.

The network is the host's, so that apt works. Everything else is made for the occasion: what they see of a root
(:mod:`.cell_view`), and process 1.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import shlex
import signal
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ToolFailed, VserverError
from ..kernel.namespace import CLONE_NEWNS, CLONE_NEWUTS, unshare
from ..kernel.syscall import check, libc, prctl
from . import cell_view
from . import run as template_run
from .run import BuildLog
from .tree import Tree

_CLONE_NEWIPC, _CLONE_NEWPID = 0x08000000, 0x20000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
# What installing packages needs, and nothing that reaches the kernel or the host's network: CHOWN, DAC_OVERRIDE,
# FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE, SETFCAP.
_KEPT_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 29, 31))

_POLICY = "usr/sbin/policy-rc.d"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_CONFIG": f"/{cell_view.APT_CONF}",
}
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def run_inside(
    root: Path,
    commands: Sequence[Sequence[str]],
    log: BuildLog,
    progress: Callable[[str], None],
    *,
    hostname: str,
    apt_settings: Sequence[str] = (),
) -> None:
    """Run ``commands`` one after another with ``root`` as their /; the first that fails ends it.

    No package's service is started (policy-rc.d). apt inside uses ``apt_settings`` (lines of apt.conf(5)).
    Processes that a command leaves behind live until the last has ended. Nothing is left mounted.

    Raises :class:`InvalidInput` when the tree has a link or a file in place of a directory to mount on,
    :class:`ToolFailed` when a command fails.
    """
    if not commands:
        return
    with Tree(root) as tree:
        cell_view.make_mount_points(tree.fd)
        tree.write(_POLICY, b"#!/bin/sh\nexit 101\n", 0o755)
        try:
            _in_cell(root, commands, log, progress, hostname, apt_settings)
        finally:
            tree.remove(_POLICY)


def _in_cell(
    root: Path,
    commands: Sequence[Sequence[str]],
    log: BuildLog,
    progress: Callable[[str], None],
    hostname: str,
    apt_settings: Sequence[str],
) -> None:
    output, output_end = os.pipe()
    status, status_end = os.pipe()
    child = os.fork()
    if child == 0:
        _child(root, commands, hostname, apt_settings, output_end, status_end)
    os.close(output_end)
    os.close(status_end)
    try:
        ended = _follow(output, status, commands, log, progress)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(output)
        os.close(status)
        os.waitpid(child, 0)
    if ended.get("done"):
        return
    if "code" in ended:
        argv = commands[ended["index"]]
        raise template_run.failure("run a command inside the tree", argv, ended["code"], log)
    raise ToolFailed(
        "prepare namespaces for the commands", why=ended.get("error", "the process died"), remedy=_remedy(ended)
    )


def _remedy(ended: Mapping[str, Any]) -> str | None:
    return "It takes root with CAP_SYS_ADMIN." if ended.get("errno") in (errno.EPERM, errno.EACCES) else None


def _follow(
    output: int, status: int, commands: Sequence[Sequence[str]], log: BuildLog, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Copy what the commands say into the log until all ends are closed; return the last word about the state."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(status, select.POLLIN)
    open_ends = {output, status}
    pending = b""
    last: dict[str, Any] = {}
    while open_ends:
        for fd, _event in poll.poll():
            data = os.read(fd, 65536)
            if not data:
                poll.unregister(fd)
                open_ends.discard(fd)
            elif fd == output:
                log.write(data)
            else:
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    last = json.loads(line)
                    if "start" in last:
                        argv = commands[last["start"]]
                        log.begin(argv)
                        progress(f"inside: {shlex.join(argv)[:200]}")
    return last


def _child(
    root: Path,
    commands: Sequence[Sequence[str]],
    hostname: str,
    apt_settings: Sequence[str],
    output: int,
    status: int,
) -> NoReturn:
    """The process between the caller and process 1 of the cell; all die together."""
    try:
        _die_with_parent()
        unshare(CLONE_NEWNS | CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID)
        first = os.fork()
        if first == 0:
            _die_with_parent()
            os.setsid()
            os.umask(0o022)
            _redirect(output)
            cell_view.enter(root, hostname, apt_settings)
            _drop_privileges()
            _run_all(commands, status)
            os._exit(0)
        # Only process 1 may keep the pipes open, or the caller would wait for us too.
        os.close(output)
        os.close(status)
        os.waitpid(first, 0)
    except OSError as error:
        _tell(status, {"error": error.strerror or str(error), "errno": error.errno})
    except VserverError as error:
        _tell(status, {"error": str(error)})
    except BaseException as error:
        _tell(status, {"error": repr(error)})
    finally:
        os._exit(0)


def _die_with_parent() -> None:
    prctl("ask to die with the parent", _PR_SET_PDEATHSIG, signal.SIGKILL)


def _tell(status: int, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(status, json.dumps(message).encode() + b"\n")


def _redirect(output: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)


def _drop_privileges() -> None:
    """Keep :data:`_KEPT_CAPABILITIES` only, here and in all that is executed from here (capabilities(7))."""
    prctl("clear ambient capabilities", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    while True:
        if not _KEPT_CAPABILITIES >> number & 1:
            try:
                prctl("drop a capability", _PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == errno.EINVAL:  # the kernel knows no more of them
                    break
                raise
        number += 1
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    sets = ctypes.create_string_buffer(24)
    check(libc.capget(header, sets), "read our capabilities")
    permitted = struct.unpack("=6I", sets.raw[:24])[1]
    kept = (permitted & _KEPT_CAPABILITIES, permitted & _KEPT_CAPABILITIES, 0, 0, 0, 0)
    # The commands must not look into process 1, which still has our environment: not without CAP_SYS_PTRACE.
    prctl("hide from other processes", _PR_SET_DUMPABLE, 0)
    check(libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *kept))), "drop our capabilities")


def _run_all(commands: Sequence[Sequence[str]], status: int) -> None:
    """As process 1: run the commands in order, and collect every orphan."""
    environment = {**_ENVIRONMENT, **{name: os.environ[name] for name in _PROXIES if name in os.environ}}
    for index, argv in enumerate(commands):
        _tell(status, {"start": index})
        child = os.fork()
        if child == 0:
            _execute(argv, environment)
        while True:
            pid, result = os.wait()
            if pid == child:
                break
        code = os.waitstatus_to_exitcode(result)
        if code:
            _tell(status, {"index": index, "code": code})
            return
    _tell(status, {"done": True})


def _execute(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1 << 20))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], list(argv), dict(environment))
    except (OSError, ValueError) as error:
        os.write(2, f"{argv[0]}: {getattr(error, 'strerror', error)}\n".encode(errors="replace"))
    finally:
        os._exit(127)
