# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away guests: made for one command, removed with everything when it ends (Linux-VServer: chcontext, chbind).

What is removed is told by a marker that lies in the guest's directory before anything else does, and by a lock that the
process which runs the command holds for as long as it lives. So a guest whose process was killed is found by whoever
sweeps next, and never one that is in use.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import boot, enter, faults, files, lifecycle, output, store
from .errors import Busy, Unsupported, VserverError
from .joiner import Way
from .kernel import mountinfo
from .kernel.mountinfo import Mount
from .site import Site

#: Process 1: does nothing, and reaps what the command leaves behind.
_INIT = ("/bin/sh", "-c", "sleep infinity & wait")
_PLAIN = Way()
#: Of what a command writes: bytes of a stream.
KEPT = 4 << 20
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run(
    site: Site,
    options: Mapping[str, Mapping[str, Any]],
    argv: Sequence[str],
    way: Way = _PLAIN,
) -> int:
    """Run ``argv`` in a new guest, remove the guest, and return the command's exit status as :func:`.enter.run` does.

    * options: of each facet, by its name, as its ``parse`` takes them. ``{"root": {"method": "host"}}`` is the host's
      own root file system, copy-on-write, with the rights of a user that owns none of it

    Signals are passed on to the command; one that comes before or after it ends the guest too. Raises
    :class:`VserverError`.
    """
    if options["root"].get("method") == "host":
        _require_whole_root(mountinfo.read())
    with contextlib.suppress(VserverError):  # which is told when guests are started
        sweep(site)
    name = f"run-{secrets.token_hex(4)}"
    with store.lock(site, _lock(name)), _ended_by_signals():
        try:
            _make(site, name, options)
            return enter.run(site, name, argv, way)
        finally:
            for number in _ENDING:
                signal.signal(number, signal.SIG_IGN)
            _remove(site, name)


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit status as :func:`run` returns it, and what it wrote.

    * cut: of "stdout" and "stderr", those of which only the beginning is there
    """

    status: int
    stdout: bytes
    stderr: bytes
    cut: tuple[str, ...] = ()


def capture(site: Site, options: Mapping[str, Mapping[str, Any]], argv: Sequence[str]) -> Ran:
    """Like :func:`run`, without input, keeping the first :data:`KEPT` bytes of what the command writes to each stream.

    Raises :class:`VserverError`.
    """
    with open(os.devnull, "rb") as stdin, output.gathered(2, KEPT) as (ends, written):
        with _streams(stdin.fileno(), *ends):
            status = run(site, options, argv)
        said = dict(zip(("stdout", "stderr"), written()))
    cut = tuple(name for name, text in said.items() if len(text) > KEPT)
    return Ran(status, said["stdout"][:KEPT], said["stderr"][:KEPT], cut)


@contextlib.contextmanager
def _streams(*others: int) -> Iterator[None]:
    """Have other standard streams for a while: input, output, errors."""
    before = [os.dup(number) for number in (0, 1, 2)]
    try:
        for number, other in enumerate(others):
            os.dup2(other, number)
        yield
    finally:
        for number, own in enumerate(before):
            os.dup2(own, number)
            os.close(own)


def sweep(site: Site) -> None:
    """Remove the throw-away guests whose process is gone. Raises :class:`VserverError`, at the end, if one stays."""
    stays: VserverError | None = None
    for marker in sorted(site.guests.glob(f"[!.]*/{store.THROWAWAY}")):
        name = marker.parent.name
        try:
            with store.lock(site, _lock(name), patience=0):
                _remove(site, name)
        except Busy:
            continue
        except VserverError as error:
            stays = error
    if stays is not None:
        raise stays


def _require_whole_root(mounts: Iterable[Mount]) -> None:
    """Refuse a host whose programs are not in its root file system (pure)."""
    if any(mount.point == "/usr" for mount in mounts):
        raise Unsupported(
            "run a command over the host's own tree",
            why="its /usr is a file system of its own, and only the root file system comes along",
            remedy="Name a template to run it over instead.",
        )


def _lock(name: str) -> str:
    return f"throwaway-{name}"


def _make(site: Site, name: str, options: Mapping[str, Mapping[str, Any]]) -> None:
    store.prepare(site)
    files.make_directory(site.guest(name))
    files.write(site.guest(name) / store.THROWAWAY, b"")
    faults.reached("run:marked")
    context = {**options.get("context", {}), "init": list(_INIT), "timeout": 0}
    lifecycle.configure(site, name, "context", context)
    for facet in ("root", "binding", "capabilities", "limits"):
        lifecycle.configure(site, name, facet, options.get(facet, {}))
    faults.reached("run:made")
    lifecycle.set_state(site, name, "started", {})
    faults.reached("run:started")


def _remove(site: Site, name: str) -> None:
    """Remove whatever there is of a throw-away guest; the marker goes last, with the directory."""
    lifecycle.kill(site, name)
    lifecycle.remove_root(site, name)
    boot.forget(site, name)
    store.forget(site, name)
    for lock in site.locks.glob(f"*-{name}.lock"):
        lock.unlink(missing_ok=True)  # nobody else will ever want a name by chance


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have signals that end a program raise SystemExit, with the status a shell has for that."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
