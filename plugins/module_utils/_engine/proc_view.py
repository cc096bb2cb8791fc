# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that see their own limits in /proc: files of lxcfs are mounted over the kernel's.

lxcfs makes each of its files for who reads, from the cgroup of process 1 in the reader's PID namespace. When it dies,
whatever shows them fails with ENOTCONN, and no lxcfs that is started later revives that; so the mounts of running
guests are taken down or made anew, from outside (:func:`renew`).
"""

from __future__ import annotations

import functools
import os
import time

from . import running, several, store
from .errors import VserverError
from .host import lxcfs
from .host.trial import in_child
from .kernel import cgroup, mount, mountinfo, namespace, openat2
from .site import Site

#: Those with times since the host's boot, which is not that of a guest with a time namespace.
_HOSTS_TIME = ("proc/stat", "proc/uptime")
#: Guests at a time: more than processors, for one that is being started is waited for.
_PARALLEL = 64


def warnings(site: Site, name: str) -> tuple[str, ...]:
    """What is to be said of lxcfs before guest ``name`` starts."""
    if lxcfs.mounted(site) is None or lxcfs.answering(site) is not None:
        return ()
    return (f"lxcfs does not answer: guest {name} will see the host's memory and processors; restart vserver-lxcfs",)


def _wanted(pid: int) -> tuple[str, ...]:
    own_time = namespace.has_time() and not namespace.shared(pid, "time")
    return tuple(file for file in lxcfs.FILES if not (own_time and file in _HOSTS_TIME))


def _present(pid: int) -> list[tuple[str, str]]:
    """What of lxcfs is mounted where it belongs, and the device of each."""
    points = {f"/{file}" for file in lxcfs.FILES}
    found = (each for each in mountinfo.read(pid) if each.type == lxcfs.TYPE)
    return [(each.point, each.device) for each in found if each.point in points]


def shown(site: Site, pid: int) -> bool:
    """Whether the guest whose process 1 is ``pid`` shows files of the lxcfs in use. Raises FileNotFoundError."""
    device = lxcfs.mounted(site)
    return device is not None and any(entry[1] == device for entry in _present(pid))


def renew(site: Site, pid: int, device: str | None) -> None:
    """Have the guest whose process 1 is ``pid`` show files of the lxcfs with this device and no other; None: of none.

    Raises OSError.
    """
    present = _present(pid)
    stale = [point for point, shows in present if shows != device]
    missing = [] if device is None else [file for file in _wanted(pid) if (f"/{file}", device) not in present]
    if stale or missing:
        in_child(functools.partial(_change, site, pid, stale, missing), lxcfs.PATIENCE)


def _change(site: Site, pid: int, stale: list[str], missing: list[str]) -> str:
    """In a child: what is mounted comes along as descriptors, and paths are looked up in the guest alone."""
    trees = {file: mount.clone(site.lxcfs / file) for file in missing}
    namespace.enter(pid, "mnt", namespace.CLONE_NEWNS)
    for point in stale:
        mount.detach(point)
    top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for file, tree in trees.items():
        links_refused = openat2.RESOLVE_IN_ROOT | openat2.RESOLVE_NO_SYMLINKS
        mount.attach(tree, openat2.open_in_root(top, file, os.O_PATH, resolve=links_refused))
    return ""


def renew_all(site: Site, patience: float) -> None:
    """Have every running guest show files of the lxcfs in use, or the kernel's own when that does not answer.

    * patience: how many seconds to wait for an answer

    Raises :class:`VserverError`, at the end, if it did not work for a guest.
    """
    deadline = time.monotonic() + patience
    device = lxcfs.answering(site)
    while device is None and time.monotonic() < deadline:
        time.sleep(0.1)
        device = lxcfs.answering(site)
    layout = cgroup.layout()
    # By cgroup, because one that is being started has no state yet; its lock is waited for.
    there = [name for name in store.names(site) if running.outer_cgroup(site, layout, name).is_dir()]
    if there:
        several.each(there, _PARALLEL, "renew lxcfs in", functools.partial(_renew_guest, site, device))


def _renew_guest(site: Site, device: str | None, name: str) -> None:
    with store.lock_guest(site, name):
        now = running.read(site, name)
        if now is None:
            return
        try:
            renew(site, now.pid, None if now.guest.context.spectator else device)
        except OSError as error:
            if running.read(site, name) == now:
                raise VserverError(f"have guest {name} show what lxcfs tells", why=error.strerror) from error
