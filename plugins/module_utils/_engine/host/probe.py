# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host can do, found by trying: the kernel, the runtimes, the tools, the libraries, the file system."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..kernel import cgroup
from ..site import Site
from . import facts, filesystem, lxcfs, probes
from .facts import Feature, Runtime, Storage
from .probes import Probe
from .runtimes import SEARCH, begin_runtimes, preferred, runtime_paths, runtimes

__all__ = ["Feature", "Host", "Runtime", "Storage", "preferred", "probe", "runtime_paths", "runtimes"]


@dataclass(frozen=True)
class Host:
    """A host.

    * kernel, architecture: as ``uname -r`` and ``uname -m`` say
    * distribution: ``id``, ``version`` and ``name`` of os-release(5)
    * init: ``systemd`` when the host was booted by it, else the command of process 1
    * cgroups: the hierarchies
    * runtimes: the installed OCI runtimes, tried out
    * features: everything else, in the order it is reported
    """

    kernel: str
    architecture: str
    distribution: dict[str, str]
    init: str
    cgroups: cgroup.Layout
    storage: Storage
    runtimes: tuple[Runtime, ...]
    features: tuple[Feature, ...]

    def missing(self) -> list[Feature]:
        """What guests cannot be had without, and is not there."""
        return [feature for feature in self.features if feature.required and not feature.available]

    def to_dict(self) -> dict[str, Any]:
        """The host as JSON-ready data; ``features`` by name, ``runtime`` is the name of the one that is used."""
        chosen = preferred(self.runtimes)
        layout = self.cgroups
        return {
            "kernel": self.kernel,
            "architecture": self.architecture,
            "distribution": dict(self.distribution),
            "init": self.init,
            "cgroups": {
                "mode": layout.mode,
                "unified": None if layout.unified is None else str(layout.unified),
                "controllers": {name: str(top) for name, top in sorted(layout.controllers.items())},
            },
            "storage": {**dataclasses.asdict(self.storage), "restrictions": list(self.storage.restrictions)},
            "runtime": None if chosen is None else chosen.name,
            "runtimes": [dataclasses.asdict(runtime) for runtime in self.runtimes],
            "features": {feature.name: without_name(feature) for feature in self.features},
        }


def without_name(feature: Feature) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(feature).items() if key != "name"}


def probe(site: Site) -> Host:
    """Try out everything. Takes a few tenths of a second, changes nothing, leaves nothing behind; needs root."""
    system = os.uname()
    finish_runtimes = begin_runtimes(site)
    try:
        features = [probes.run(site, entry) for entry in (*probes.PROBES, *_OTHERS)] + probes.binding()
    finally:
        found = finish_runtimes()
    return Host(
        kernel=system.release,
        architecture=system.machine,
        distribution=_distribution(),
        init="systemd" if _booted_by_systemd() else Path("/proc/1/comm").read_text().strip(),
        cgroups=cgroup.layout(),
        storage=filesystem.storage(site),
        runtimes=found,
        features=(_runtime_feature(found), *features),
    )


def _runtime_feature(found: tuple[Runtime, ...]) -> Feature:
    chosen = preferred(found)
    if chosen is not None:
        return Feature("oci_runtime", True, f"{chosen.name} {chosen.version}", None, True)
    reasons = "; ".join(f"{runtime.name}: {runtime.detail}" for runtime in found) or "none is installed"
    return Feature("oci_runtime", False, reasons, "package crun (Debian, Ubuntu, Fedora, RHEL 9 and 10) or runc", True)


def _distribution() -> dict[str, str]:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with contextlib.suppress(OSError):
            return facts.parse_os_release(Path(path).read_text())
    return facts.parse_os_release("")


def _booted_by_systemd() -> bool:
    """As sd_booted(3) finds out."""
    return os.path.isdir("/run/systemd/system")


def _systemd(site: Site) -> str:
    if not _booted_by_systemd():
        raise OSError("this host was not booted by systemd; guests are started and watched without units")
    answer = subprocess.run(
        ["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL
    )
    return facts.first_version(answer.stdout)


def _tool(name: str) -> Callable[[Site], str]:
    def act(site: Site) -> str:
        path = shutil.which(name, path=SEARCH)
        if path is None:
            raise OSError("not installed")
        return path

    return act


def _library(name: str) -> Callable[[Site], str]:
    def act(site: Site) -> str:
        if importlib.util.find_spec(name) is None:
            raise OSError("this Python cannot import it")
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
        return ""

    return act


_OTHERS: tuple[Probe, ...] = (
    Probe("psutil", _library("psutil"), "package python3-psutil (Debian, Ubuntu, Fedora, RHEL)", True),
    Probe("pyroute2", _library("pyroute2"), "package python3-pyroute2 (Debian, Ubuntu, Fedora, RHEL)", True),
    Probe("tar", _tool("tar"), "package tar"),
    Probe("mmdebstrap", _tool("mmdebstrap"), "package mmdebstrap (Debian, Ubuntu, Fedora; EPEL for RHEL)"),
    Probe("debootstrap", _tool("debootstrap"), "package debootstrap (Debian, Ubuntu, Fedora; EPEL for RHEL)"),
    Probe("systemd", _systemd, "a host booted by systemd"),
    Probe("lxcfs", lxcfs.require_answer, "vserver_host_lxcfs of role host, for guests that see their own limits"),
)
