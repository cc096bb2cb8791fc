# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about a host, as data, and the texts of the kernel it is read from (all pure)."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from ..kernel.mountinfo import Mount

#: Mount options that change what a file system can hold for guests.
_TELLING_OPTIONS = ("ro", "nosuid", "nodev", "noexec")
#: How file systems spell an enforced project quota in their mount options (ext4, xfs).
_PROJECT_QUOTA = {"prjquota", "pquota"}


@dataclass(frozen=True)
class Feature:
    """One thing the product uses.

    * available: whether it was seen to work
    * detail: what was seen, or the kernel's or the tool's own words of refusal
    * needs: the kernel version, package or setting that brings it; None when it is there
    * required: guests cannot be had without it
    """

    name: str
    available: bool
    detail: str
    needs: str | None = None
    required: bool = False


@dataclass(frozen=True)
class Runtime:
    """An installed OCI runtime.

    * works: it has just run a container built the way guests are
    * detail: why not, in its own words; empty when it works
    """

    name: str
    path: str
    version: str
    works: bool
    detail: str


@dataclass(frozen=True)
class Storage:
    """The file system that holds, or will hold, templates and guests.

    * path: our directory for them; mount_point, source, type: as in the host's mount table
    * size, free: bytes
    * restrictions: of ``ro``, ``nosuid``, ``nodev``, ``noexec`` those it is mounted with
    * project_quota: mounted with enforced project quota
    """

    path: str
    mount_point: str
    source: str
    type: str
    size: int
    free: int
    restrictions: tuple[str, ...]
    project_quota: bool


def mount_id(fdinfo: str) -> int:
    """Return the mount a descriptor is on, from the text of /proc/self/fdinfo/FD (proc_pid_fdinfo(5))."""
    for line in fdinfo.splitlines():
        key, _ignored, value = line.partition(":")
        if key == "mnt_id":
            return int(value)
    raise ValueError("no mnt_id in fdinfo")


def storage(path: str, mount: Mount, size: int, free: int) -> Storage:
    """Describe the file system of ``path``, which is on ``mount``."""
    options = {*mount.options, *mount.of_type}
    return Storage(
        path=path,
        mount_point=mount.point,
        source=mount.source,
        type=mount.type,
        size=size,
        free=free,
        restrictions=tuple(option for option in _TELLING_OPTIONS if option in options),
        project_quota=bool(_PROJECT_QUOTA & options),
    )


def parse_os_release(text: str) -> dict[str, str]:
    """Return id, version and name of the distribution from the text of os-release(5); what it leaves out is empty."""
    values = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            try:
                values[key.strip()] = " ".join(shlex.split(value))
            except ValueError:
                continue
    return {
        "id": values.get("ID", "linux"),
        "version": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME", values.get("NAME", "Linux")),
    }


def parse_hierarchies(cgroups: str) -> dict[str, int]:
    """Return controller → number of the v1 hierarchy it is bound to, 0: none or v2 (/proc/cgroups, cgroups(7))."""
    rows = (line.split() for line in cgroups.splitlines() if line and not line.startswith("#"))
    return {row[0]: int(row[1]) for row in rows if len(row) >= 4}


def parse_release(release: str) -> tuple[int, int]:
    """``6.1.0-13-amd64`` → (6, 1); (0, 0) when it begins with no number."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def sockets_lose_their_cgroup(hierarchies: Mapping[str, int], release: tuple[int, int]) -> str | None:
    """Say why cgroup-BPF programs are passed by on this host, or None when they are not.

    Before 5.15 a socket's one cgroup field was shared: with v1 net_cls or net_prio in use it no longer named the v2
    group (kernel commit 8520e224f547), and a binding would silently not hold.
    """
    used = [name for name in ("net_cls", "net_prio") if hierarchies.get(name, 0)]
    if not used or release >= (5, 15):
        return None
    return f"v1 {' and '.join(used)} in use on Linux {release[0]}.{release[1]}: sockets lose their v2 cgroup"


def errors_in_log(text: str) -> str:
    """What an OCI runtime logged as JSON lines at level error, as one line; empty when there is nothing."""
    messages = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            messages.append(str(entry.get("msg")))
    return "; ".join(dict.fromkeys(messages))


def first_version(text: str) -> str:
    """The first word of ``text`` that begins with a digit: what ``--version`` of most tools is about; else empty."""
    return next((word for word in text.split() if word[:1].isdigit()), "")
