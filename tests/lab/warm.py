# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines, kept as they stood: a host that goes on from there is up in seconds, not after a boot or a playbook.

A first boot is kept for other labs only if it is emulated: with hardware acceleration a boot takes little longer, and
a saved state depends on the processor.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from . import kept
from .machine import Machine, make_overlay
from .monitor import Monitor
from .network import BRIDGE_HARDWARE_ADDRESS

_POLL = 0.05


def first_boot(place: Path, machine: Machine) -> Saved:
    """The state of a machine that has just booted, below ``place``: one for everything that it depends on."""
    version = subprocess.check_output(["qemu-system-x86_64", "--version"], text=True).splitlines()[0]
    arguments = [word.replace(str(machine.directory), "") for word in machine.arguments(False)]
    facts = json.dumps([version, arguments, asdict(machine.hardware), BRIDGE_HARDWARE_ADDRESS], sort_keys=True)
    return Saved(place / hashlib.sha256(facts.encode()).hexdigest()[:16], machine)


@dataclass(frozen=True)
class Saved:
    """A machine's memory and disks as they stood once, in ``directory``."""

    directory: Path
    machine: Machine

    @property
    def exists(self) -> bool:
        return self.directory.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For a ``with`` block in which nobody else makes the same state."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with self.directory.with_name(f".{self.directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def keep(self) -> None:
        """Takes the machine's state and disks away from it; it is off afterwards."""
        place = self.directory.parent
        kept.forget_old(place)
        work = Path(tempfile.mkdtemp(prefix=".warm-", dir=place))
        with Monitor(self.machine.socket) as monitor:
            monitor.migrate(f"zstd -q -1 -f -o {work}/state")
        self.machine.cut_power()
        for name, file in self.machine.disks.items():
            os.rename(file, work / f"{name}.qcow2")
        os.rename(work, self.directory)

    def resume(self, network: tuple[str, ...]) -> None:
        """Switches the machine on as it stood, with disks of its own on top of the kept ones."""
        kept.used(self.directory)
        for name, file in self.machine.disks.items():
            file.unlink(missing_ok=True)
            make_overlay(file, self.directory / f"{name}.qcow2", "qcow2")
        self.machine.start(network, incoming=f"zstd -q -dc {self.directory}/state")
        with Monitor(self.machine.socket) as monitor:
            while monitor.ask("query-status")["status"] == "inmigrate":
                time.sleep(_POLL)
            monitor.ask("cont")
