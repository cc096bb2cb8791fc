# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OCI runtime configuration of a guest (opencontainers/runtime-spec, config.md): a pure function of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .model import ID_COUNT, Guest

_INFINITY = (1 << 64) - 1

#: What process 1 finds in its environment.
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "container=vserver",  # systemd.io/CONTAINER_INTERFACE
    "LANG=C.UTF-8",
)

#: Files of /proc that tell of the host, or act on it.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/vmallocinfo",
)
#: The same of /sys: directories, which a runtime would mask with a file system of its own each, and with the number of
#: those grows what the end of any control group costs the kernel (memcg_reparent_list_lrus). A bind of what is always
#: empty in sysfs does as well; so are fs/bpf and fs/pstore by themselves.
HIDDEN, _EMPTY = ("/sys/devices/virtual/powercap", "/sys/firmware", "/sys/kernel", "/sys/module"), "fs/cgroup"
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")


def config(
    guest: Guest,
    root: Path,
    sys: Path,
    cgroup: str,
    kept: Sequence[str],
    seccomp: Mapping[str, Any] | None,
    hidden: Sequence[str] = (),
    seen: Path | None = None,
    user: Path | None = None,
) -> dict[str, Any]:
    """Return ``guest``'s config.json (pure).

    * root: where its root file system is mounted, sys: a bind of the host's sysfs, both as the launcher sees them
    * cgroup: the guest's group below the top of the v2 tree, which is all that the runtime sees of control groups
    * kept: the capabilities it keeps
    * hidden: which of :data:`HIDDEN` the host has
    * seen: directory with ``proc`` and ``cgroup`` of the host, read-only, for a spectator
    * user: a bind of the user namespace to join; None: the runtime makes one, whose owner is the host's root
    """
    namespaces = ["mount", "ipc", "uts"]
    if not guest.context.spectator:
        namespaces += ["pid", "cgroup"]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "cgroupsPath": f"/{cgroup}",
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(_READONLY),
    }
    if guest.context.user_namespace:
        linux["namespaces"].append({"type": "user", **({} if user is None else {"path": str(user)})})
        mapping = [{"containerID": 0, "hostID": guest.base_id, "size": ID_COUNT}]
        linux.update(uidMappings=mapping, gidMappings=mapping)
    else:
        # In a user namespace nobody can make a device node that works.
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    if seccomp is not None:
        linux["seccomp"] = dict(seccomp)
    return {
        "ociVersion": "1.0.2",
        "hostname": guest.hostname,
        "root": {"path": str(root)},
        "mounts": _mounts(sys, hidden, seen if guest.context.spectator else None),
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0, "umask": 0o022},
            "cwd": "/",
            "args": list(guest.context.init or ("/sbin/init",)),
            "env": list(ENVIRONMENT),
            # Nothing in the inheritable or ambient set: a service's user gains nothing by an exec (CVE-2022-27650).
            "capabilities": {which: list(kept) for which in ("bounding", "effective", "permitted")},
            "noNewPrivileges": False,
            "rlimits": [
                {"type": f"RLIMIT_{name.upper()}", "soft": _unsigned(soft), "hard": _unsigned(hard)}
                for name, (soft, hard) in guest.limits.rlimits.items()
            ],
        },
        "linux": linux,
    }


def _unsigned(limit: int) -> int:
    return _INFINITY if limit == -1 else limit


def _mounts(sys: Path, hidden: Sequence[str], seen: Path | None) -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    readonly = ["bind", "ro", *quiet]
    table: tuple[tuple[str, str, str, list[str]], ...] = (
        ("/proc", "proc", "proc", quiet) if seen is None else ("/proc", "none", str(seen / "proc"), readonly),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "noexec", "mode=755", "size=1m"]),
        ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", "shm", ["nosuid", "nodev", "mode=1777"]),
        ("/dev/mqueue", "mqueue", "mqueue", quiet),
        # The network devices in it are the host's, like the stack; a sysfs of its own needs a network namespace.
        ("/sys", "none", str(sys), readonly),
        *((place, "none", str(sys / _EMPTY), readonly) for place in hidden),
        ("/sys/fs/cgroup", "cgroup", "cgroup", quiet)
        if seen is None
        else ("/sys/fs/cgroup", "none", str(seen / "cgroup"), readonly),
        ("/run", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=755"]),
    )
    return [
        {"destination": destination, "type": kind, "source": source, "options": options}
        for destination, kind, source, options in table
    ]
