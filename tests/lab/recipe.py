# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab host's disk image is made of: a stock Debian with its own kernel and what hosts of guests need (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: Debian's releases by the names that people type.
SUITES = {
    "bullseye": "bullseye",
    "11": "bullseye",
    "bookworm": "bookworm",
    "12": "bookworm",
    "trixie": "trixie",
    "13": "trixie",
}

#: Nothing is installed later: the lab's network ends at this machine.
_SYSTEM = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "python3",
    "python3-apt",
    "ca-certificates",
    "kmod",
    "procps",
    "iproute2",
    "iputils-ping",
    "netbase",
    "curl",
    "nftables",
    "btrfs-progs",
    "xfsprogs",
    "quota",
    "acl",
    "attr",
)
_HOST = ("crun", "mmdebstrap", "python3-psutil", "python3-pyroute2")
#: What looks at hosts from within.
_TESTS = ("lxcfs", "lynis", "python3-hypothesis", "python3-pytest", "stress-ng")

_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "lxcfs.service",
    "serial-getty@ttyS0.service",
    "systemd-pstore.service",
)

#: What ``lab-ready`` writes on the console when a host has booted.
READY = "lab: this host is ready"

# The host's number and the key of those who may log in come with the kernel's command line.
_IDENTIFY = """#!/bin/sh
set -eu
for word in $(cat /proc/cmdline); do
    case $word in
        lab.number=*) number=${word#*=} ;;
        lab.key=*) key=${word#*=} ;;
    esac
done
ip link set dev lo up
device=$(ls /sys/class/net | grep -v '^lo$')
ip address add "{prefix4}.$number/24" dev "$device"
ip address add "{prefix6}::$number/64" dev "$device" nodad
ip link set dev "$device" up
mkdir -p -m 700 /root/.ssh
echo "ssh-ed25519 $key" >/root/.ssh/authorized_keys
"""

_IDENTIFY_UNIT = """[Unit]
Description=Addresses and login of this lab host
DefaultDependencies=no
After=systemd-remount-fs.service systemd-udev-settle.service local-fs.target
Wants=network-pre.target
Before=network-pre.target network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-identify
[Install]
WantedBy=multi-user.target
"""

_READY_UNIT = f"""[Unit]
Description=Tell the console that this lab host is ready
After=multi-user.target ssh.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/echo {READY}
[Install]
WantedBy=multi-user.target
"""

_FILES = {
    "/etc/fstab": "/dev/vda / ext4 errors=remount-ro,x-systemd.growfs 0 0\n",
    "/etc/hostname": "lab\n",
    "/etc/modules-load.d/lab.conf": "virtio_net\n",
    "/etc/initramfs-tools/conf.d/lab": "MODULES=list\nBUSYBOX=n\nCOMPRESS={compression}\nFSTYPE=ext4\n",
    "/usr/share/initramfs-tools/modules.d/lab": "virtio_pci\nvirtio_blk\next4\ncrc32c\n",
    "/etc/ssh/sshd_config.d/lab.conf": "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n",
    "/etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=64M\n",
    "/etc/systemd/system/lab-identify.service": _IDENTIFY_UNIT,
    "/etc/systemd/system/lab-ready.service": _READY_UNIT,
    "/usr/local/sbin/lab-identify": _IDENTIFY,
}

# Called with the directory of the build, the root of the image, and the two lists of units.
_FINISH = """#!/bin/sh
set -eu
chroot "$2" systemctl enable --quiet $3
chroot "$2" systemctl mask --quiet $4
cp "$2"/boot/vmlinuz-* "$1/kernel"
cp "$2"/boot/initrd.img-* "$1/initrd"
rm -rf "$2"/boot/* "$2"/var/lib/apt/lists/* "$2"/var/cache/apt/*.bin
: >"$2/etc/machine-id"
"""

#: The private network of a lab; .1 is the controller, host number N has .N + 10.
PREFIX4 = "10.86.0"
PREFIX6 = "fd86:86"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what an image becomes.

    * sources: lines of sources.list(5)
    * files: content by path, written before the initial RAM file system is made
    * masked, enabled: systemd units
    * finish: a shell script that makes a root file system, kernel and initial RAM file system of what is installed
    """

    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    masked: tuple[str, ...]
    enabled: tuple[str, ...]
    finish: str
    filesystem: str

    @property
    def digest(self) -> str:
        """The same for recipes that make the same image."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def recipe(suite: str, sources: Sequence[str]) -> Recipe:
    """The recipe of a Debian release, installed from ``sources``."""
    # crun of Debian 11 is older than what guests need, and it is there for its kernel alone.
    host = _HOST if suite != "bullseye" else tuple(name for name in _HOST if name != "mmdebstrap")
    words = {
        "{prefix4}": PREFIX4,
        "{prefix6}": PREFIX6,
        "{compression}": "gzip" if suite == "bullseye" else "zstd",
    }
    files = {}
    for path, content in _FILES.items():
        for word, value in words.items():
            content = content.replace(word, value)
        files[path] = content
    return Recipe(
        suite=suite,
        # The security archive of Debian 11 names kernels that it no longer has.
        sources=tuple(line for line in sources if suite != "bullseye" or "security" not in line),
        packages=(*_SYSTEM, *host, *_TESTS),
        files=tuple(sorted(files.items())),
        masked=_MASKED,
        enabled=("lab-identify.service", "lab-ready.service"),
        finish=_FINISH,
        filesystem="ext4",
    )
