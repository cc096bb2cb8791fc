# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into the hosts: the lab's ssh key and configuration, an inventory for Ansible, and commands over ssh."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .failure import LabError
from .network import Network, address4

_CONNECT = Path(__file__).resolve().with_name("connect.py")
_PATIENCE = 300.0


def public_key(key: Path) -> str:
    """The middle part of the public key that belongs to the private key in a file, which is made if it is missing."""
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with key.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two labs may be the first
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key)], check=True)
    return key.with_suffix(".pub").read_text().split()[1]


@dataclass(frozen=True)
class Remote:
    """ssh to the hosts of one lab, by name."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.json"

    def write(self, network: Network, key: Path, numbers: Mapping[str, int]) -> None:
        """Writes the configuration and the inventory of these hosts, given with the last part of their addresses."""
        # A copy, as a lab may outlive the tree that it was brought up from.
        shutil.copy(_CONNECT, self.directory)
        self.config.write_text(ssh_config(network, key, numbers, self.directory))
        variables = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_args": f"-F {self.config}",
            "ansible_ssh_pipelining": True,
            "ansible_timeout": 120,
        }
        hosts = {name: {"ansible_host": address4(number)} for name, number in numbers.items()}
        group = {"hosts": hosts, "vars": variables}
        self.inventory.write_text(json.dumps({"vserver_hosts": group}, indent=2) + "\n")

    def words(self, host: str, *command: str) -> list[str]:
        return ["ssh", "-F", str(self.config), host, *command]

    def run(self, host: str, command: str) -> str:
        """What a shell command prints on a host, where it must succeed."""
        words = self.words(host, command)
        try:
            result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{host}: no answer within {_PATIENCE:.0f} s to: {command}") from error
        if result.returncode:
            raise LabError(f"{host}: {command}: {result.stderr.strip()} (exit status {result.returncode})")
        return result.stdout

    def forget(self, host: str) -> None:
        """Drops the connection that is kept open, as the host is about to lose its own end."""
        subprocess.run(["ssh", "-F", str(self.config), "-O", "exit", host], capture_output=True, check=False)


def ssh_config(network: Network, key: Path, numbers: Mapping[str, int], directory: Path) -> str:
    """An ssh_config(5) that works from anywhere on this machine (pure)."""
    connect = " ".join([*network.inside, sys.executable, str(directory / _CONNECT.name), "%h", "%p"])
    common = f"""Host {" ".join([*numbers, *map(address4, numbers.values())])}
    User root
    IdentityFile {key}
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ProxyCommand {connect}
    ProxyUseFdpass yes
    ControlMaster auto
    ControlPath {directory}/%n.ssh
    ControlPersist 600
    ServerAliveInterval 15
    ServerAliveCountMax 4
"""
    return common + "".join(f"Host {name}\n    HostName {address4(number)}\n" for name, number in numbers.items())
