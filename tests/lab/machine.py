# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine: how QEMU is called for it, whether it runs, and how it loses its power."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .failure import LabError
from .image import Image

#: The suffix of the files that keep what hosts write on their consoles.
CONSOLE = ".console"
_PATIENCE = 60.0


def accelerated() -> bool:
    """Whether the processor runs stock kernels in a virtual machine.

    /dev/kvm alone says little: some machines have one that serves adapted kernels only.
    """
    flags = Path("/proc/cpuinfo").read_text().split()
    return ("vmx" in flags or "svm" in flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


@dataclass(frozen=True)
class Hardware:
    """What a host is made of; sizes as QEMU spells them.

    One processor each: several hosts are at work at once, and emulated ones wait for each other.
    """

    memory: str = "1536M"
    processors: int = 1
    disk: str = "8G"
    storage: str | None = None


@dataclass(frozen=True)
class Machine:
    """A host's machine, with its files in ``directory``.

    * port: the device of the lab's network that is its cable
    * number: the last part of its addresses
    * key: who may log in, the middle part of an OpenSSH public key
    """

    name: str
    number: int
    image: Image
    hardware: Hardware
    key: str
    directory: Path

    @property
    def port(self) -> str:
        return self.name

    @property
    def console(self) -> Path:
        return self.directory / f"{self.name}{CONSOLE}"

    @property
    def disk(self) -> Path:
        return self.directory / f"{self.name}.qcow2"

    @property
    def storage(self) -> Path:
        return self.directory / f"{self.name}.storage.qcow2"

    @property
    def socket(self) -> Path:
        return self.directory / f"{self.name}.qmp"

    @property
    def pidfile(self) -> Path:
        return self.directory / f"{self.name}.pid"

    @property
    def kernel_arguments(self) -> str:
        # Nothing tells a guest's kernel the time of an emulated processor better than the counter it knows.
        words = ["root=/dev/vda", "rootfstype=ext4", "rw", "console=ttyS0", "quiet", "net.ifnames=0", "fsck.mode=skip"]
        words += ["panic=-1", "tsc=reliable", "mitigations=off", "audit=0", "init_on_alloc=0"]
        # QEMU translates a program again wherever else it is mapped: with all of them in the same place, a process
        # costs a third.
        words += ["norandmaps"]
        words += [f"systemd.hostname={self.name}", f"lab.number={self.number}", f"lab.key={self.key}"]
        return " ".join(words)

    def arguments(self, accelerate: bool) -> list[str]:
        """How to call QEMU."""
        # Emulated, a string instruction goes byte by byte, and what keeps a kernel and its users apart has to be looked
        # after at each step: a kernel and a libc that do without are faster.
        slow = "".join(f",-{feature}" for feature in ("erms", "fsrm", "smap", "smep", "la57", "pku", "umip"))
        accelerator, processor = ("kvm", "max") if accelerate else ("tcg,thread=multi,tb-size=256", f"max{slow}")
        argv = ["qemu-system-x86_64", "-name", self.name, "-machine", "q35", "-accel", accelerator]
        argv += ["-cpu", processor, "-smp", str(self.hardware.processors), "-m", self.hardware.memory]
        argv += ["-nodefaults", "-no-user-config", "-display", "none", "-daemonize", "-pidfile", str(self.pidfile)]
        argv += ["-chardev", f"file,id=console,append=on,path={self.console}", "-serial", "chardev:console"]
        argv += ["-qmp", f"unix:{self.socket},server=on,wait=off"]
        argv += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)]
        argv += ["-append", self.kernel_arguments]
        argv += ["-netdev", f"tap,id=net,ifname={self.port},script=no,downscript=no"]
        argv += ["-device", f"virtio-net-pci,netdev=net,mac=52:54:00:86:00:{self.number:02x},romfile="]
        argv += ["-device", "virtio-rng-pci"]
        for name, file in self.disks.items():
            # What the host has flushed is in the file when QEMU is killed; what it has not may be lost.
            argv += ["-drive", f"if=none,id={name},format=qcow2,cache=writeback,discard=unmap,file={file}"]
            argv += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
        return argv

    @property
    def disks(self) -> dict[str, Path]:
        return {"root": self.disk, **({"storage": self.storage} if self.hardware.storage else {})}

    def make_disks(self) -> None:
        """Fresh disks: nothing of the image is written yet."""
        for file in self.disks.values():
            file.unlink(missing_ok=True)
        make_overlay(self.disk, self.image.root, "raw", self.hardware.disk)
        if self.hardware.storage:
            _image(str(self.storage), self.hardware.disk)

    def start(self, network: tuple[str, ...], incoming: str | None = None) -> None:
        """Switches it on: a boot, or the state that a shell command prints."""
        argv = [*network, "nice", "-n", "19", *self.arguments(accelerated())]
        argv += ["-incoming", f"exec:{incoming}"] if incoming else []
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode:
            raise LabError(f"{self.name} does not start: {result.stderr.strip()}")

    @property
    def pid(self) -> int | None:
        """The process of its QEMU, None when it is off. A number that something else has by now does not count."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int(self.pidfile.read_text())
            if str(self.pidfile).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        return None

    def cut_power(self) -> None:
        """Off, this very moment."""
        pid = self.pid
        if pid is None:
            return
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            # Only then is all of it closed; its command line, by which it is known, goes before.
            ended, _ignored, _ignored = select.select([process], [], [], _PATIENCE)
        finally:
            os.close(process)
        if not ended:
            raise LabError(f"{self.name}: process {pid} does not end")
        self.pidfile.unlink(missing_ok=True)


def make_overlay(file: Path, base: Path, kind: str, *size: str) -> None:
    """A disk that begins as ``base``, an image of the format ``kind``, which it never writes to."""
    _image("-F", kind, "-b", str(base), str(file), *size)


def _image(*words: str) -> None:
    result = subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", *words], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise LabError(f"qemu-img create: {result.stderr.strip()}")
