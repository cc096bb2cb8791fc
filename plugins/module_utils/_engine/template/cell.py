# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands inside a new tree: in namespaces of their own, with few capabilities, out of the host's sight.

The network is the host's, so that apt works. Everything else is made for the occasion: /proc (read-only), /dev,
/run, /tmp, and process 1. The tree may come from anywhere, so every place to mount on is opened inside the tree with
links refused, and mounted on through its descriptor.
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
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InvalidInput, ToolFailed, VserverError
from ..kernel.mount import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    bind,
    make_private,
    mount,
)
from ..kernel.namespace import CLONE_NEWNS, CLONE_NEWUTS, unshare
from ..kernel.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, open_in_root
from ..kernel.syscall import check, libc, prctl
from . import run as template_run
from .run import BuildLog
from .tree import Tree

_CLONE_NEWIPC, _CLONE_NEWPID = 0x08000000, 0x20000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_MNT_DETACH = 2
_CAPABILITY_VERSION_3 = 0x20080522
# What installing packages needs, and nothing that reaches the kernel or the host's network: CHOWN, DAC_OVERRIDE,
# FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE, SETFCAP.
_KEPT_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 29, 31))

#: Directories we mount on; made when the tree lacks them.
_MOUNT_POINTS = {"dev": 0o755, "proc": 0o555, "run": 0o755, "tmp": 0o1777}
_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_NO_LINKS = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
_POLICY = "usr/sbin/policy-rc.d"
_APT_CONF = "linux-vserver-apt.conf"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_CONFIG": f"/run/{_APT_CONF}",
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
        for name, mode in _MOUNT_POINTS.items():
            os.close(_mount_point(tree.fd, name, mode))
        tree.write(_POLICY, b"#!/bin/sh\nexit 101\n", 0o755)
        try:
            _in_cell(root, commands, log, progress, hostname, apt_settings)
        finally:
            tree.remove(_POLICY)


def _mount_point(root_fd: int, name: str, mode: int) -> int:
    """A descriptor of the directory ``name`` at the top of the tree, made when missing."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=root_fd)
        os.chmod(name, mode, dir_fd=root_fd)
    try:
        return open_in_root(root_fd, name, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        kind = "a symbolic link" if error.errno == errno.ELOOP or _is_link(root_fd, name) else "not a directory"
        raise InvalidInput(
            f"run commands inside the tree: /{name} is {kind}", remedy=f"Make /{name} a directory in the source."
        ) from error


def _is_link(root_fd: int, name: str) -> bool:
    return stat.S_ISLNK(os.lstat(name, dir_fd=root_fd).st_mode)


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
            _build_cell(root, hostname, apt_settings)
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


def _build_cell(root: Path, hostname: str, apt_settings: Sequence[str]) -> None:
    """Make ``root`` our /, with all mounts it needs."""
    resolver = _host_resolver()
    make_private()
    bind(root, root)
    mount("none", root, "", MS_REMOUNT | MS_BIND | MS_NODEV)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    _mount_on(root_fd, "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    for name, options in {"dev": "mode=755,size=1m", "run": "mode=755", "tmp": "mode=1777"}.items():
        _mount_on(root_fd, name, "tmpfs", MS_NOSUID | MS_NODEV, options)
    _make_devices(root_fd)
    _put_file(root_fd, f"run/{_APT_CONF}", "".join(f"{line}\n" for line in apt_settings).encode())
    _make_directory(root_fd, "run/lock", 0o1777)
    _bind_resolver(root_fd, resolver)
    os.fchdir(root_fd)
    check(libc.pivot_root(b".", b"."), "change the root directory")
    check(libc.umount2(b".", _MNT_DETACH), "leave the host's root directory")
    os.chdir("/")
    encoded = hostname.encode()
    check(libc.sethostname(encoded, len(encoded)), "set the host name")


def _mount_on(root_fd: int, name: str, kind: str, flags: int, options: str | None = None) -> None:
    fd = _mount_point(root_fd, name, 0o755)
    try:
        mount(kind, _by_fd(fd), kind, flags, options)
    finally:
        os.close(fd)


def _by_fd(fd: int) -> Path:
    """A path to mount on what ``fd`` refers to, wherever it is; /proc is still the host's."""
    return Path(f"/proc/self/fd/{fd}")


def _put_file(root_fd: int, path: str, content: bytes) -> None:
    fd = open_in_root(root_fd, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, _NO_LINKS)
    with open(fd, "wb") as file:
        file.write(content)


def _make_directory(root_fd: int, path: str, mode: int = 0o755) -> None:
    parent, name = os.path.split(path)
    fd = open_in_root(root_fd, parent, os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=fd)
            os.chmod(name, mode, dir_fd=fd)
    finally:
        os.close(fd)


def _make_devices(root_fd: int) -> None:
    """Fill /dev, a tmpfs by now: the host's harmless nodes, each bound read-only so that its mode stays as it is."""
    for name in filter(lambda name: os.path.exists(f"/dev/{name}"), _DEVICES):
        _put_file(root_fd, f"dev/{name}", b"")
        _bind_over(root_fd, f"dev/{name}", f"/dev/{name}", MS_NOSUID | MS_NOEXEC)
    dev = open_in_root(root_fd, "dev", os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
    try:
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, name, dir_fd=dev)
    finally:
        os.close(dev)
    for name, kind, options in (
        ("dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"),
        ("dev/shm", "tmpfs", "mode=1777"),
    ):
        _make_directory(root_fd, name)
        fd = open_in_root(root_fd, name, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
        try:
            mount(kind, _by_fd(fd), kind, MS_NOSUID | MS_NOEXEC, options)
        finally:
            os.close(fd)


def _bind_over(root_fd: int, path: str, source: str, flags: int, resolve: int = _NO_LINKS) -> None:
    """Bind the host's file ``source`` on the file ``path`` of the tree, read-only."""
    for remount in (False, True):
        fd = open_in_root(root_fd, path, os.O_PATH, resolve=resolve)
        try:
            if remount:
                mount("none", _by_fd(fd), "", MS_REMOUNT | MS_BIND | MS_RDONLY | flags)
            else:
                bind(Path(source), _by_fd(fd))
        finally:
            os.close(fd)


def _host_resolver() -> str | None:
    path = os.path.realpath("/etc/resolv.conf")
    return path if os.path.isfile(path) else None


def _bind_resolver(root_fd: int, resolver: str | None) -> None:
    """Let names be resolved as on the host, without changing the tree where it has a resolv.conf."""
    if resolver is None:
        return
    with contextlib.suppress(OSError):
        _make_resolver_target(root_fd)
    in_root = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    try:
        _bind_over(root_fd, "etc/resolv.conf", resolver, MS_NOSUID | MS_NODEV | MS_NOEXEC, in_root)
    except OSError as error:
        # A link to nowhere, a directory: names will not be resolved, and the command that needs it will say so.
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL):
            raise


def _make_resolver_target(root_fd: int) -> None:
    """Make what /etc/resolv.conf points at when that is missing: nothing at all, or a file in the fresh /run."""
    try:
        parent = open_in_root(root_fd, "etc", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        target = os.readlink("resolv.conf", dir_fd=parent)
    except FileNotFoundError:
        os.close(os.open("resolv.conf", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        return
    finally:
        os.close(parent)
    path = os.path.normpath(os.path.join("/etc", target))
    if path.startswith("/run/"):
        parts = path.strip("/").split("/")
        for end in range(2, len(parts)):
            _make_directory(root_fd, "/".join(parts[:end]))
        _put_file(root_fd, "/".join(parts), b"")


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
