# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of guests as a controller has it: an sshd on this network's loopback, and an inventory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = "host1"
PORT = 2222


#: A user of the host who is not root, and may become it without a password.
OPERATOR = "operator-of-guests"
_UID = 64321


@contextmanager
def operator(place: Path) -> Iterator[str]:
    """Have :data:`OPERATOR` on this host, for as long and as far as our own view of /etc goes. Without sudo and doas
    he could do nothing with guests.

    The caller is in a mount namespace of its own.
    """
    layers = place / "etc"
    layers.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(layers)], check=True)
    for name in ("upper", "work"):
        (layers / name).mkdir()
    options = f"lowerdir=/etc,upperdir={layers}/upper,workdir={layers}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", "/etc"], check=True)
    try:
        home = Path("/run") / OPERATOR
        home.mkdir()
        shutil.chown(home, _UID, _UID)
        for file, line in (
            ("passwd", f"{OPERATOR}:x:{_UID}:{_UID}::{home}:/bin/sh"),
            ("group", f"{OPERATOR}:x:{_UID}:"),
            ("shadow", f"{OPERATOR}:*:1::::::"),
            ("doas.conf", f"permit nopass {OPERATOR}"),
        ):
            with open(f"/etc/{file}", "a") as handle:
                handle.write(f"{line}\n")
        rule = Path("/etc/sudoers.d/guests")
        rule.write_text(f"{OPERATOR} ALL=(ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
        yield OPERATOR
    finally:
        subprocess.run(["umount", "--lazy", "/etc"], check=True)
        subprocess.run(["umount", "--lazy", str(layers)], check=True)
        shutil.rmtree(Path("/run") / OPERATOR, ignore_errors=True)


@contextmanager
def sshd(place: Path) -> Iterator[Path]:
    """An sshd that lets everybody in with a key; answers with that key's file, in ``place``."""
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / key)], check=True)
    authorized = Path("/run/sshd-authorized")  # every user has to read it
    authorized.write_text((place / "user.pub").read_text())
    settings = {
        "Port": PORT,
        "ListenAddress": "127.0.0.1",
        "HostKey": place / "host",
        "PidFile": "none",
        "AuthorizedKeysFile": authorized,
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
    }
    (place / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    Path("/run/sshd").mkdir(exist_ok=True)
    running = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(place / "config"), "-E", str(place / "log")])
    try:
        yield place / "user"
    finally:
        running.terminate()
        running.wait()
        authorized.unlink()


def inventory(way: str, key: Path, guests: Sequence[str], user: str = "root", **of_guests: Any) -> dict[str, Any]:
    """The host, reached by ``ssh`` or ``local``, and guests of it."""
    ssh = {
        "ansible_host": "127.0.0.1",
        "ansible_port": PORT,
        "ansible_user": user,
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
    }
    reach = ssh if way == "ssh" else {"ansible_connection": "local"}
    guest = {"ansible_connection": "linux.vserver.guest", "vserver_host": HOST, **of_guests}
    return {
        "vserver_hosts": {"hosts": {HOST: {**reach, "ansible_python_interpreter": sys.executable}}},
        "vserver_guests": {"hosts": {name: {} for name in guests}, "vars": guest},
    }


def end_masters(place: Path) -> None:
    """End the ssh connections whose control sockets are in ``place``."""
    for master in place.glob("*"):
        subprocess.run(["ssh", "-o", f"ControlPath={master}", "-O", "exit", "x"], capture_output=True, check=False)
