# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records on disk, and the locks that keep two runs apart."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import files, record
from .errors import Busy, InvalidInput, VserverError
from .kernel import contents, inode_flags
from .model import Guest, check_name
from .site import Site

_RECORD = "guest.json"
#: Lies in the directory of a guest that is made for one command only.
THROWAWAY = "throwaway"
#: Longest wait for another run that holds a lock, in seconds: a template build may take minutes.
_PATIENCE = 900.0


def prepare(site: Site) -> None:
    """Make our directories, with their modes. Cheap when they are there."""
    first = not os.path.isdir(site.guests)
    for path in (site.state, site.templates, site.guests, site.locks, site.runtime, site.steering.parent):
        files.make_directory(path)
    files.make_directory(site.run, 0o711)
    if first:
        # What one guest has given up is not in the way of another's, and the blocks of each lie together.
        with contextlib.suppress(OSError):
            inode_flags.spread_below(site.guests)


@contextlib.contextmanager
def lock(site: Site, what: str, patience: float = _PATIENCE) -> Iterator[int]:
    """Hold the lock ``what`` ("guest-web1", "template-debian-12", "registry"); yields its descriptor.

    Order, so that nobody waits in a circle: template first, or a guest's orders and then the guest; then "registry",
    "shared-addresses" or "memory-claims"; never two guests.
    Raises :class:`Busy` with the holder's process id after ``patience`` seconds.
    """
    fd = _lock_file(site, what)
    try:
        _acquire(fd, what, patience)
        yield fd
    finally:
        os.close(fd)


def _lock_file(site: Site, what: str) -> int:
    path, flags = f"{site.locks}/{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        files.make_directory(site.run, 0o711)
        files.make_directory(site.locks)
        return os.open(path, flags, 0o600)


def _acquire(fd: int, what: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    pause = 0.002
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
                raise Busy(
                    f"lock {what}",
                    why=f"process {holder} has held it for more than {patience:.0f} s",
                    remedy="Wait for that run to end, or end it.",
                ) from None
            time.sleep(pause)
            pause = min(pause * 2, 0.1)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


@contextlib.contextmanager
def lock_guest(site: Site, name: str, patience: float = _PATIENCE) -> Iterator[int]:
    """Hold a guest's lock, and clear what a crash left half-made in its directory; yields the lock's descriptor.

    Whoever gives orders for a guest also holds "orders", which stays when the lock itself is lent (:func:`lent`).
    """
    check_name("guest", name)
    with lock(site, f"orders-{name}", patience), lock_steps(site, name, patience) as fd:
        yield fd


@contextlib.contextmanager
def lock_idle(site: Site, name: str) -> Iterator[None]:
    """Hold a guest's lock when that takes no time: raises :class:`Busy` when somebody has it, or has to be cleared up
    behind."""
    check_name("guest", name)
    with lock(site, f"orders-{name}", 0), lock(site, f"guest-{name}", 0):
        if _came(site, name).exists() or files.pending(site.guest(name)):
            raise Busy(f"guest {name}", why="something of it is half-made")
        yield


@contextlib.contextmanager
def lock_steps(site: Site, name: str, patience: float = _PATIENCE) -> Iterator[int]:
    """Like :func:`lock_guest`, for who carries out what another, waiting, has ordered."""
    check_name("guest", name)
    with lock(site, f"guest-{name}", patience) as fd:
        complete(site, name)
        files.sweep(site.guest(name))
        files.remove_tree(_doomed(site, name))
        yield fd


@contextlib.contextmanager
def lent(name: str, fd: int) -> Iterator[None]:
    """Let go of the guest's lock for those who now carry out what the caller has ordered; nobody else's orders come in.

    Raises :class:`Busy` when it is not given back.
    """
    fcntl.flock(fd, fcntl.LOCK_UN)
    try:
        yield
    finally:
        _acquire(fd, f"guest-{name}", _PATIENCE)


def names(site: Site) -> list[str]:
    """The recorded guests' names, sorted."""
    try:
        there = os.listdir(site.guests)
    except FileNotFoundError:
        return []
    known = (name for name in there if not name.startswith(files.PENDING))
    return sorted(name for name in known if os.path.exists(f"{site.guests}/{name}/{_RECORD}"))


def load(site: Site, name: str) -> Guest | None:
    """The record of ``name``, or None when there is none. Raises :class:`VserverError` when it cannot be read."""
    written = _written(site, name)
    return None if written is None else written[0]


def _written(site: Site, name: str) -> tuple[Guest, bytes] | None:
    """What :func:`load` returns, and the text of the record."""
    check_name("guest", name)
    path = f"{site.guests}/{name}/{_RECORD}"
    try:
        text = contents.read(path)
        return _parsed(text, path), text
    except FileNotFoundError:
        return None
    except (OSError, VserverError) as error:
        remedy = "Put a backup of it in its place, or remove its directory, with the guest's data."
        raise record.unreadable(path, error, remedy) from error


@functools.lru_cache(maxsize=4096)
def _parsed(data: bytes, path: str) -> Guest:
    """The record in a file; a call that changes something reads all of them twice."""
    return record.guest(files.parse_json(data, path))


def require(site: Site, name: str) -> Guest:
    """Like :func:`load`, but a missing record is an error."""
    guest = load(site, name)
    if guest is None:
        raise InvalidInput(f"guest {name} does not exist", remedy="Clone it from a template first.")
    return guest


@dataclass(frozen=True)
class Unreadable:
    """A guest whose record cannot be read.

    * error: why
    * known: what of it is understood all the same (:func:`.record.known`)
    * bound: whether its binding is among that
    """

    error: VserverError
    known: Guest
    bound: bool


@dataclass(frozen=True)
class Records:
    """Every recorded guest, sorted by name, and apart from them those that cannot be read.

    * texts: name → the record as it is written, of the former
    """

    guests: tuple[Guest, ...]
    unreadable: tuple[Unreadable, ...]
    texts: Mapping[str, bytes]

    @property
    def known(self) -> tuple[Guest, ...]:
        """All of them, for who asks what is taken."""
        return (*self.guests, *(each.known for each in self.unreadable))


def load_all(site: Site) -> Records:
    """Every record; one that vanishes meanwhile is left out."""
    guests, unreadable, texts = [], [], {}
    for name in names(site):
        try:
            written = _written(site, name)
        except VserverError as error:
            unreadable.append(_understood(site, name, error))
            continue
        if written is not None:
            guests.append(written[0])
            texts[name] = written[1]
    return Records(tuple(guests), tuple(unreadable), texts)


def _understood(site: Site, name: str, error: VserverError) -> Unreadable:
    noted = None
    with contextlib.suppress(OSError, VserverError):
        noted = files.read_json(site.guest(name) / _RECORD)
    return Unreadable(error, record.known(name, noted), record.understood("binding", noted) is not None)


def save(site: Site, guest: Guest) -> None:
    """Write the record. The caller holds the guest's lock, and "registry" when xid or addresses change."""
    files.make_directory(site.guest(guest.name))
    files.write_json(site.guest(guest.name) / _RECORD, record.of_guest(guest))


def prepare_record(clone: Path, guest: Guest) -> None:
    """Write the record into a clone that is to take another's place; it is for :func:`complete`."""
    files.write_json(clone / _RECORD, record.of_guest(guest))


def complete(site: Site, name: str) -> None:
    """Put the record that has come with a guest's clone into its place, if there is one. The caller holds the lock.

    Raises :class:`VserverError`.
    """
    came = _came(site, name)
    if not came.exists():
        return
    try:
        os.replace(came, site.guest(name) / _RECORD)
        files.fsync_directory(site.guest(name))
        files.fsync_directory(came.parent)
    except OSError as error:
        raise VserverError(f"take over the record of guest {name}'s new root", why=error.strerror) from error


def _came(site: Site, name: str) -> Path:
    return site.guest(name) / "root" / _RECORD


def forget(site: Site, name: str) -> None:
    """Remove the guest's directory with everything in it. The caller holds the guest's lock."""
    files.remove_tree(site.guest(name), _doomed(site, name))


def _doomed(site: Site, name: str) -> Path:
    """What the guest's directory is called while it is being removed; after a crash it is, by who next has the lock."""
    return site.guests / f"{files.PENDING}{name}"
