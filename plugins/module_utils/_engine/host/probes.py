# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this kernel and its settings can do, each tried out: one small function a feature, and the table of them.

A probe returns what it saw, or raises OSError (or :class:`~.errors.VserverError`) with the reason. It leaves nothing
behind: mounts are made in a child's own mount namespace, files below a temporary directory, processes in a cgroup that
is removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..chbind import attach
from ..errors import VserverError
from ..kernel import landlock, namespace, openat2
from ..kernel.syscall import syscall
from ..model import ID_COUNT
from ..site import Site
from . import cgroups, filesystem
from .facts import Feature
from .trial import in_child

_CLONE_NEWCGROUP, _CLONE_NEWIPC, _CLONE_NEWPID = 0x02000000, 0x08000000, 0x20000000
_PIDFD_OPEN = 434


@dataclass(frozen=True)
class Probe:
    """A feature's name, how to try it, what brings it when it is missing, and whether guests are impossible without."""

    name: str
    act: Callable[[Site], str]
    needs: str
    required: bool = False


def run(site: Site, probe: Probe) -> Feature:
    """Try one thing."""
    try:
        return Feature(probe.name, True, probe.act(site), None, probe.required)
    except OSError as error:
        reason = error.strerror or str(error)
    except VserverError as error:
        reason = error.why or error.what
    return Feature(probe.name, False, reason, probe.needs, probe.required)


def _user_namespaces(site: Site) -> str:
    os.close(namespace.user_namespace(filesystem.BASE, ID_COUNT))
    return f"{ID_COUNT} ids mapped"


def _unshare(flags: int) -> str:
    def act() -> str:
        namespace.unshare(flags)
        return ""

    return in_child(act)


def _namespaces(site: Site) -> str:
    everything = namespace.CLONE_NEWNS | namespace.CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWCGROUP
    return _unshare(everything) or "mount, UTS, IPC, PID, cgroup"


def _time_namespaces(site: Site) -> str:
    def act() -> str:
        namespace.begin_time()
        return f"{time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s since the boot of a new one"

    return in_child(act)


def _openat2(site: Site) -> str:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(openat2.open_in_root(root, "proc", os.O_PATH))
    finally:
        os.close(root)
    return ""


def binding() -> list[Feature]:
    """The hooks of the address binding."""
    return [
        Feature(
            f"binding_{found.name.lower()}",
            found.available,
            found.answer,
            None if found.available else f"Linux {found.since} with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL",
            found.required,
        )
        for found in attach.probe().values()
    ]


def _pidfd(site: Site) -> str:
    os.close(syscall("pidfd_open", _PIDFD_OPEN, os.getpid(), 0))
    return ""


def _landlock_scope(site: Site) -> str:
    version = landlock.abi()
    if version < landlock.ABI_WITH_SCOPES:
        raise OSError(f"ABI {version}, scopes came with {landlock.ABI_WITH_SCOPES}")
    return f"ABI {version}"


def _seccomp(site: Site) -> str:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    if "errno" not in actions:
        raise OSError(f"it knows only {' '.join(actions)}")
    return " ".join(actions)


def _pressure(site: Site) -> str:
    return Path("/proc/pressure/memory").read_text().splitlines()[0]


def _io_uring_disabled(site: Site) -> str:
    value = Path("/proc/sys/kernel/io_uring_disabled").read_text().strip()
    if value != "2":
        raise OSError(f"kernel.io_uring_disabled is {value}; guests are refused io_uring by their own filter")
    return "kernel.io_uring_disabled is 2"


def _on(version: str, setting: str = "") -> str:
    return f"Linux {version}" + (f" with {setting}" if setting else "")


PROBES: tuple[Probe, ...] = (
    Probe("namespaces", _namespaces, "a kernel with CONFIG_UTS_NS, CONFIG_IPC_NS, CONFIG_PID_NS, CONFIG_CGROUPS", True),
    Probe("user_namespaces", _user_namespaces, "CONFIG_USER_NS, and sysctl user.max_user_namespaces above 0", True),
    Probe("time_namespaces", _time_namespaces, _on("5.6", "CONFIG_TIME_NS")),
    Probe(
        "idmapped_mounts",
        filesystem.idmapped_mounts,
        "Linux 5.12 and a file system that allows it: ext4, xfs; btrfs from 5.15, tmpfs from 6.3",
        True,
    ),
    Probe("overlay_idmapped", filesystem.overlay_idmapped, _on("5.19", "CONFIG_OVERLAY_FS"), True),
    Probe("overlay_chowned", filesystem.overlay_chowned, _on("5.19", "CONFIG_OVERLAY_FS")),
    Probe("reflink", filesystem.reflink, "a file system that clones files: btrfs, or xfs made with reflink=1"),
    Probe("btrfs_subvolumes", filesystem.btrfs_subvolumes, "btrfs below our directory"),
    Probe(
        "project_quota",
        filesystem.project_quota,
        "mount option prjquota on xfs, or on ext4 with the features project and quota",
    ),
    Probe("openat2", _openat2, _on("5.6"), True),
    Probe("pidfd", _pidfd, _on("5.3"), True),
    Probe("seccomp", _seccomp, _on("4.14", "CONFIG_SECCOMP_FILTER"), True),
    Probe("landlock_scope", _landlock_scope, _on("6.12", "CONFIG_SECURITY_LANDLOCK and landlock among lsm=")),
    Probe("cgroup2", cgroups.tree, "cgroup2 mounted: boot with systemd.unified_cgroup_hierarchy=1", True),
    Probe("cgroup_freeze", cgroups.freeze, _on("5.2"), True),
    Probe("cgroup_kill", cgroups.kill, _on("5.14")),
    Probe("cgroup_cpu", cgroups.controller("cpu"), "a kernel with CONFIG_CFS_BANDWIDTH", True),
    Probe(
        "cgroup_memory",
        cgroups.controller("memory"),
        "CONFIG_MEMCG, kernel command line cgroup_enable=memory",
        True,
    ),
    Probe("cgroup_pids", cgroups.controller("pids"), "a kernel with CONFIG_CGROUP_PIDS", True),
    Probe("cgroup_io", cgroups.controller("io", "blkio"), "a kernel with CONFIG_BLK_CGROUP"),
    Probe("cgroup_cpuset", cgroups.controller("cpuset"), "a kernel with CONFIG_CPUSETS"),
    Probe(
        "socket_cgroups",
        cgroups.sockets,
        "Linux 5.15, or no v1 hierarchy of net_cls and net_prio: boot with cgroup_no_v1=net_cls,net_prio",
        True,
    ),
    Probe("pressure", _pressure, "kernel command line psi=1, CONFIG_PSI"),
    Probe("io_uring_disabled", _io_uring_disabled, "sysctl kernel.io_uring_disabled=2, Linux 6.6"),
)
