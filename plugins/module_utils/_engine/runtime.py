# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI runtime: which one, and its commands as argv lists."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import files
from .errors import ToolFailed, Unsupported, VserverError
from .host import runtimes as host_runtimes
from .host.facts import errors_in_log
from .kernel import fifo, namespace, sealed
from .site import Site

#: For guests with a user namespace, and without one, for whom a runtime forbids devices: not all can on every host.
_CHOICE, _CHOICE_WITHOUT = ".runtime.json", ".runtime-without-user-namespace.json"
_TIMEOUT = 60.0
#: Has crun leave control groups alone.
LEAVE_GROUPS = ("--cgroup-manager", "disabled")


def choose(site: Site, user_namespace: bool = True) -> str:
    """The path of the runtime to use: crun where it can run, else runc.

    Found by really running a container, with a user namespace or without, and remembered until the host reboots or a
    runtime's file changes. Raises :class:`Unsupported` with each runtime's own words when none can run.
    """
    memory = site.run / (_CHOICE if user_namespace else _CHOICE_WITHOUT)
    stamps = {path: [os.stat(path).st_mtime_ns, os.stat(path).st_ino] for path in host_runtimes.runtime_paths()}
    with contextlib.suppress(FileNotFoundError, VserverError):
        known = files.read_json(memory)
        if known["stamps"] == stamps and known["choice"] in stamps:
            return str(known["choice"])
    found = host_runtimes.runtimes(site, user_namespace)
    choice = host_runtimes.preferred(found)
    if choice is None:
        reasons = (
            "; ".join(f"{runtime.name}: {runtime.detail}" for runtime in found) or "neither crun nor runc is installed"
        )
        raise Unsupported("run an OCI runtime", why=reasons, remedy="Install the package crun or runc.")
    files.write_json(memory, {"stamps": stamps, "choice": choice.path})
    return str(choice.path)


def command(site: Site, path: str, log: Path, *arguments: str) -> list[str]:
    """The argv of one call of the runtime; errors go to ``log`` as JSON lines."""
    return [path, "--root", str(_root(site, path)), "--log", str(log), "--log-format", "json", *arguments]


def leaves_groups(path: str, user_namespace: bool) -> bool:
    """Whether a runtime can leave control groups alone and be in the guest's already: crun, for guests with a user
    namespace; from others it keeps devices by means of their group.

    By itself it moves process 1 there, which waits for all readers (RCU), and enables the controllers of all groups
    above once more, for which the kernel looks through all groups below them: those of all guests. The option came with
    crun 0.15 (crun(1)).
    """
    return user_namespace and os.path.basename(path) == "crun"


def _root(site: Site, path: str) -> Path:
    """A runtime's own state directory; what one runtime keeps, another cannot read."""
    return site.runtime / os.path.basename(path)


def state(site: Site, name: str) -> list[tuple[str, Path]]:
    """The installed runtimes that keep something of a guest, each with where it does."""
    places = [(runtime, _root(site, runtime) / name) for runtime in host_runtimes.NAMES]
    found = [(host_runtimes.path_of(runtime), place) for runtime, place in places if place.exists()]
    return [(path, place) for path, place in found if path is not None]


def _run(
    site: Site,
    path: str,
    name: str,
    attempt: str,
    arguments: Sequence[str],
    way: Sequence[str] = (),
) -> None:
    """Call the runtime by way of a program that enters somewhere first."""
    log = site.bundle(name) / "runtime.log"
    log.unlink(missing_ok=True)
    argv, copy = [*way, *command(site, path, log, *arguments)], None if way else sealed.program(path)
    try:
        try:
            result = _executed(argv, copy)
        except PermissionError:  # a security module may have something against what is in memory only
            result = _executed(argv, None)
    except FileNotFoundError as error:
        remedy = "Install the package that has it; nsenter is in util-linux."
        raise ToolFailed(f"{attempt} guest {name}", why=f"this host has no {error.filename}", remedy=remedy) from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{attempt} guest {name}", why=f"{path} has not answered for {_TIMEOUT:.0f} s") from error
    if result.returncode:
        raise ToolFailed(f"{attempt} guest {name}", why=log_errors(log) or result.stderr.strip() or "no reason given")


def _executed(argv: Sequence[str], copy: int | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        executable=None if copy is None else f"/proc/self/fd/{copy}",
        pass_fds=() if copy is None else (copy,),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )


def log_errors(log: Path) -> str:
    """What a runtime wrote to its log at level error, as one line; empty when there is nothing."""
    try:
        return errors_in_log(log.read_text(errors="replace"))
    except FileNotFoundError:
        return ""


def start(site: Site, path: str, name: str, pid: int) -> None:
    """Have the created container's process 1, ``pid``, execute the guest's init. Raises :class:`VserverError`.

    ``create`` has left it at a named pipe, to write (runc, ``handleFifoResult``) or to read (crun,
    ``libcrun_status_write_exec_fifo``). To come there too and take the pipe away is what the runtime's own ``start``
    does as well, once it has found out what is known here. That one is for a runtime that has no such pipe. In the
    guest's time: it knows process 1 by when it started, which each time namespace counts from elsewhere. Of a program
    executed for that, because a caller with other threads cannot enter it, and a fork of a large caller takes longer.
    """
    pipe = _root(site, path) / name / "exec.fifo"
    try:
        met = fifo.meet(pipe, pid, _TIMEOUT)
    except FileNotFoundError:
        way = ["nsenter", f"--time=/proc/{pid}/ns/time", "--"] if namespace.has_time() else []
        _run(site, path, name, "start", ["start", name], way)
        return
    if not met:
        why = f"its first process has ended, or was not ready to run init within {_TIMEOUT:.0f} s"
        raise VserverError(f"start guest {name}", why=why)
    pipe.unlink(missing_ok=True)


def delete(site: Site, name: str) -> None:
    """Remove what any runtime keeps of a guest, killing it if need be. It is fine when there is nothing."""
    for path, _place in state(site, name):
        _run(site, path, name, "clean up after", ["delete", "--force", name])
