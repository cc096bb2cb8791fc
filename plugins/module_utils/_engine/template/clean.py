# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking out of a new tree what must not be the same in every guest, and what only building needed.

machine-id(5) and sd-firstboot(8) say what an image must not carry; ssh host keys and random seeds are secrets.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from pathlib import Path

from .tree import Tree

#: Removed, files and whole directories.
_REMOVED = (
    "etc/hostname",  # systemd then keeps the kernel's host name, which is the guest's
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/urandom/random-seed",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/ldconfig/aux-cache",
    "usr/sbin/policy-rc.d",
    "root/.bash_history",
    # How the host reaches its mirror, proxies' passwords included, is no guest's business.
    "etc/apt/apt.conf.d/00mmdebstrap",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "debootstrap",
)
#: Emptied; the directories in them stay, with their owners.
_EMPTIED = ("var/lib/apt/lists", "var/cache/apt/archives", "var/cache/debconf/tmp", "var/log", "var/tmp", "run")
#: Removed by pattern: directory and file name.
_PATTERNS = (
    ("etc/ssh", "ssh_host_*_key"),
    ("etc/ssh", "ssh_host_*_key.pub"),
    ("var/cache/debconf", "*-old"),
    ("var/lib/dpkg", "*-old"),
)

SSH_UNIT = "etc/systemd/system/vserver-ssh-host-keys.service"
_SSH_WANTED = "etc/systemd/system/multi-user.target.wants/vserver-ssh-host-keys.service"
_SSH_UNIT_TEXT = """\
# Written by linux.vserver: the template has no ssh host keys, so every guest makes its own at its first boot.
[Unit]
Description=Make ssh host keys
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
DefaultDependencies=no
After=local-fs.target
Before=ssh.socket ssh.service sshd.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""


def clean(tree: Tree) -> int:
    """Make ``tree`` fit to be cloned; return its size on disk in bytes. Links in it lead nowhere but inside."""
    for path in _REMOVED:
        tree.remove(path)
    for path in _EMPTIED:
        tree.clear_files(path)
    for directory, pattern in _PATTERNS:
        for name in fnmatch.filter(tree.names(directory), pattern):
            tree.remove(f"{directory}/{name}")
    if tree.kind("etc") is not None:
        tree.write("etc/machine-id", b"", 0o444)
    if tree.kind("usr/sbin/sshd") == stat.S_IFREG:
        tree.write(SSH_UNIT, _SSH_UNIT_TEXT.encode())
        tree.link(_SSH_WANTED, f"/{SSH_UNIT}")
    mode = os.fstat(tree.fd).st_mode
    if mode & 0o555 != 0o555 or mode & 0o022:
        os.fchmod(tree.fd, 0o755)
    return tree.survey()


def give_resolver(tree: Tree) -> None:
    """Give the tree the host's name servers, where what the bootstrap copied is of no use in a guest.

    A stub resolver on the host's loopback address does not answer guests; systemd-resolved lists the real ones.
    """
    content = guest_resolver(Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
    if content is not None:
        tree.write("etc/resolv.conf", content)


def guest_resolver(host: Path, upstream: Path) -> bytes | None:
    """The content of ``upstream`` when ``host`` names only a stub on loopback, else that of ``host``.

    None when neither can be read.
    """
    for path in (host, upstream):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        lines = [line.split() for line in content.splitlines()]
        servers = [words[1] for words in lines if len(words) > 1 and words[0] == b"nameserver"]
        if path == upstream or not servers or not all(server.startswith((b"127.", b"::1")) for server in servers):
            return content
    return None
