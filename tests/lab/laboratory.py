# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab: its hosts and their network, and everything that can happen to them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import image
from .failure import LabError
from .image import Image
from .machine import CONSOLE, Hardware, Machine, accelerated
from .network import FIRST, Network, address4, address6
from .recipe import READY
from .remote import Remote, public_key
from .warm import Saved, first_boot

_BOOT_PATIENCE = 900.0
_POLL = 0.2
#: Where the file system of an extra disk is mounted: where guests live.
STORAGE = "/var/lib/vserver"
_MAKE_FILESYSTEM = {
    "btrfs": ("mkfs.btrfs -q /dev/vdb", "defaults"),
    "ext4": ("mkfs.ext4 -q -O project,quota -E lazy_itable_init=1 /dev/vdb", "prjquota"),
    "xfs": ("mkfs.xfs -q /dev/vdb", "prjquota"),
}
_FILLER = ".lab-disk-full"


@dataclass(frozen=True)
class Lab:
    """The lab ``name``, with all of its files below ``cache``."""

    cache: Path
    name: str
    say: Callable[[str], None]

    @property
    def directory(self) -> Path:
        return self.cache / "labs" / self.name

    @property
    def network(self) -> Network:
        return Network(self.name)

    @property
    def remote(self) -> Remote:
        return Remote(self.directory)

    @property
    def _record(self) -> Path:
        return self.directory / "lab.json"

    # ---- hosts

    def machines(self) -> dict[str, Machine]:
        """The hosts by name, in their order; none where there is no lab."""
        if not self._record.exists():
            return {}
        key = public_key(self.cache / "key")
        return {name: self._machine(name, key, facts) for name, facts in json.loads(self._record.read_text()).items()}

    def _machine(self, name: str, key: str, facts: Mapping[str, Any]) -> Machine:
        hardware = Hardware(**facts["hardware"])
        return Machine(name, facts["number"], Image(Path(facts["image"])), hardware, key, self.directory)

    def chosen(self, names: Sequence[str]) -> list[Machine]:
        """These hosts, or all of them."""
        machines = self.machines()
        unknown = [name for name in names if name not in machines]
        if unknown or not machines:
            there = f"there are {', '.join(machines)}" if machines else "bring some up first: lab up bookworm"
            raise LabError(f"no host {', '.join(unknown)}: {there}" if unknown else f"no hosts: {there}")
        return [machine for name, machine in machines.items() if not names or name in names]

    # ---- up and down

    def up(self, suites: Sequence[str], hardware: Hardware) -> None:
        """One host of each release, host1 and so on. What was there before is gone."""
        self.down()
        shutil.rmtree(self.directory, ignore_errors=True)
        wanted = sorted(set(suites))
        with ThreadPoolExecutor() as pool:
            provided = pool.map(lambda suite: image.provide(self.cache / "images", suite, self.say), wanted)
            images = dict(zip(wanted, provided))
        self.directory.mkdir(mode=0o700, parents=True)
        record = {
            f"host{index}": {
                "number": FIRST - 1 + index,
                "suite": suite,
                "image": str(images[suite].directory),
                "hardware": asdict(hardware),
            }
            for index, suite in enumerate(suites, 1)
        }
        self._record.write_text(json.dumps(record, indent=2) + "\n")
        machines = list(self.machines().values())
        self.remote.write(self.network, self.cache / "key", {machine.name: machine.number for machine in machines})
        self.network.up()
        self._each(self._begin, machines)

    def reset(self, names: Sequence[str]) -> None:
        """The hosts as they were when the lab came up."""
        self._each(self._begin, self.chosen(names))

    def down(self) -> None:
        """No hosts and no network; only what the hosts wrote on their consoles is left."""
        for machine in self.machines().values():
            self._cut(machine)
        self.network.down()
        if self.directory.exists():
            for file in self.directory.iterdir():
                if file.is_dir():
                    shutil.rmtree(file)
                elif file.suffix != CONSOLE:
                    file.unlink()

    def _begin(self, machine: Machine) -> None:
        """A host that has just booted for the first time."""
        began = time.monotonic()
        self._cut(machine)
        self.network.add_port(machine.port)
        if accelerated():
            self._first_boot(machine)
        else:
            warm = first_boot(self.cache / "warm", machine)
            # Two labs at once need not boot the same machine twice.
            with warm.locked():
                if not warm.exists:
                    self._first_boot(machine)
                    self.remote.run(machine.name, "systemctl is-system-running --wait; sync")
                    self.remote.forget(machine.name)
                    warm.keep()
            self._resume(machine, warm)
        self.say(f"{machine.name}: up after {time.monotonic() - began:.1f} s")

    def _first_boot(self, machine: Machine) -> None:
        machine.make_disks()
        self._boot(machine)
        self._add_storage(machine)

    def _resume(self, machine: Machine, state: Saved) -> None:
        state.resume(self.network.inside)
        # Its clock stood still.
        self.remote.run(machine.name, f"date --set @{time.time():.3f}")

    def save(self) -> None:
        """Notes how all hosts are at this moment, for :meth:`restore`; what was noted before is forgotten."""
        self._each(self._save, self.chosen(()))

    def _save(self, machine: Machine) -> None:
        state = self._saved(machine)
        if state.exists:
            shutil.rmtree(state.directory)
        self.remote.run(machine.name, "sync")
        self.remote.forget(machine.name)
        state.keep()
        self._resume(machine, state)

    def restore(self, names: Sequence[str]) -> None:
        """The hosts as they were when they were saved."""
        self._each(self._restore, self.chosen(names))

    def _restore(self, machine: Machine) -> None:
        self._cut(machine)
        self.network.add_port(machine.port)
        self._resume(machine, self._saved(machine))

    def _saved(self, machine: Machine) -> Saved:
        return Saved(self.directory / f"{machine.name}.saved", machine)

    def _add_storage(self, machine: Machine) -> None:
        if machine.hardware.storage is None:
            return
        make, options = _MAKE_FILESYSTEM[machine.hardware.storage]
        line = f"/dev/vdb {STORAGE} {machine.hardware.storage} {options} 0 0"
        self.remote.run(
            machine.name,
            f"set -e; {make}; echo '{line}' >>/etc/fstab; mkdir -p {STORAGE}; mount {STORAGE}; chmod 700 {STORAGE}",
        )

    def _boot(self, machine: Machine) -> None:
        seen = self._console_size(machine)
        machine.start(self.network.inside)
        self._wait_ready(machine, seen)

    @staticmethod
    def _console_size(machine: Machine) -> int:
        return machine.console.stat().st_size if machine.console.exists() else 0

    def _wait_ready(self, machine: Machine, seen: int) -> None:
        """Waits until a host says on its console, behind ``seen`` bytes, that it has booted."""
        deadline = time.monotonic() + _BOOT_PATIENCE
        while True:
            if machine.console.exists() and READY.encode() in machine.console.read_bytes()[seen:]:
                return
            if machine.pid is None:
                raise LabError(f"{machine.name} went off while it booted: see {machine.console}")
            if time.monotonic() > deadline:
                raise LabError(f"{machine.name} has not booted in {_BOOT_PATIENCE:.0f} s: see {machine.console}")
            time.sleep(_POLL)

    # ---- what happens to hosts

    def reboot(self, names: Sequence[str]) -> None:
        """An orderly reboot; the hosts have booted when this returns."""
        self._each(self._reboot, self.chosen(names))

    def _reboot(self, machine: Machine) -> None:
        began = time.monotonic()
        seen = self._console_size(machine)
        # It may be gone before it has answered.
        self.remote.run(
            machine.name,
            "systemd-run --quiet --no-block --on-active=1 --timer-property=AccuracySec=50ms systemctl reboot",
        )
        self.remote.forget(machine.name)
        self._wait_ready(machine, seen)
        self.say(f"{machine.name}: rebooted after {time.monotonic() - began:.1f} s")

    def cut_power(self, names: Sequence[str]) -> None:
        """Off at once; what a host has not flushed may be lost."""
        for machine in self.chosen(names):
            self._cut(machine)

    def _cut(self, machine: Machine) -> None:
        machine.cut_power()
        self.remote.forget(machine.name)

    def power_on(self, names: Sequence[str]) -> None:
        """Boots the hosts that are off from their disks."""
        self._each(self._power_on, [machine for machine in self.chosen(names) if machine.pid is None])

    def _power_on(self, machine: Machine) -> None:
        began = time.monotonic()
        self.network.add_port(machine.port)
        self._boot(machine)
        self.say(f"{machine.name}: booted after {time.monotonic() - began:.1f} s")

    def partition(self, names: Sequence[str]) -> None:
        """No packet between any two hosts, while the controller reaches them; with names, cuts these off altogether."""
        machines = self.chosen(names)
        if not names:
            self.network.isolate([machine.port for machine in machines], True)
        for machine in machines if names else ():
            self.network.plug(machine.port, False)

    def heal(self) -> None:
        """The network is whole again."""
        ports = [machine.port for machine in self.chosen(())]
        self.network.isolate(ports, False)
        for port in ports:
            self.network.plug(port, True)

    def fill_disk(self, host: str, path: str) -> None:
        """Not one block is left in the file system of ``path``."""
        (machine,) = self.chosen([host])
        file = f"{path}/{_FILLER}"
        # All at once without writing it, then whatever that left.
        self.remote.run(
            machine.name,
            f"fallocate -l $(df --output=avail -B1 {path} | tail -1) {file}; "
            f"dd if=/dev/zero of={file} bs=4k oflag=append conv=notrunc status=none; sync; test -s {file}",
        )

    def free_disk(self, host: str, path: str) -> None:
        (machine,) = self.chosen([host])
        self.remote.run(machine.name, f"rm -f {path}/{_FILLER}")

    def status(self) -> list[dict[str, Any]]:
        """A dictionary for each host: name, suite, whether it is on, addresses, and where its console's log is."""
        record = json.loads(self._record.read_text()) if self._record.exists() else {}
        return [
            {
                "name": name,
                "suite": record[name]["suite"],
                "on": machine.pid is not None,
                "addresses": [address4(machine.number), address6(machine.number)],
                "console": str(machine.console),
                **asdict(machine.hardware),
            }
            for name, machine in self.machines().items()
        ]

    def call(self, words: Sequence[str]) -> int:
        """Runs a command on the controller's end of the lab's network; the answer is its exit status."""
        self.chosen(())
        return subprocess.run([*self.network.inside, *words], check=False).returncode

    @staticmethod
    def _each(work: Callable[[Machine], None], machines: Iterable[Machine]) -> None:
        machines = list(machines)
        with ThreadPoolExecutor(max_workers=max(1, len(machines))) as pool:
            list(pool.map(work, machines))
