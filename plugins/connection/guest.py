# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guest
short_description: Run tasks inside a guest
description:
  - Runs tasks inside a running guest, through its host. Nothing has to listen in the guest.
  - The host is reached as its own variables in the inventory say, locally or by ssh. All guests of a host share its
    ssh connection.
  - Commands are entered by the program C(/usr/sbin/vserver) of the host, and are confined as the guest's own processes.
  - Files are written and read by processes inside the guest. The host never opens a path that belongs to the guest.
version_added: 0.2.0
author:
  - linux.vserver contributors (@linux-vserver)
extends_documentation_fragment:
  - ansible.builtin.connection_pipelining
notes:
  - A guest that does not run, and a host that does not answer, is unreachable. A command that ends with whatever exit
    status has failed.
  - Tasks run as the guest's root, so C(become) to root does nothing. C(become) to another user needs C(sudo) in the
    guest, or C(ansible_become_method=su).
  - The kernel's boot id is the host's. M(ansible.builtin.reboot) tells that a guest has rebooted with
    C(boot_time_command) set to C(stat --format %Y /proc/1).
options:
  guest:
    description:
      - The guest's name. The name in the inventory, when not given.
    type: str
    vars:
      - name: vserver_name
  host:
    description:
      - The guest's host, by its name in the inventory. C(ansible_host), C(ansible_port), C(ansible_user),
        C(ansible_connection) and so on of that host say how to reach it.
      - A host that is not in the inventory is reached by ssh under this name, with such variables of the guest.
      - When not given, this machine is the host.
    type: str
    vars:
      - name: vserver_host
  host_become:
    description:
      - How a user of the host who is not root becomes root there, without a password.
      - This is independent of C(become), which acts inside the guest.
    type: str
    choices:
      - none
      - sudo
      - doas
    default: none
    ini:
      - section: vserver
        key: host_become
    env:
      - name: VSERVER_HOST_BECOME
    vars:
      - name: vserver_host_become
  pipelining:
    default: true
    vars:
      - name: ansible_pipelining
      - name: vserver_pipelining
"""

EXAMPLES = r"""
# An inventory
vserver_hosts:
  hosts:
    host1:
      ansible_host: 192.0.2.1
      ansible_user: root
vserver_guests:
  hosts:
    web1:
  vars:
    ansible_connection: linux.vserver.guest
    vserver_host: host1
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

from ansible_collections.linux.vserver.plugins.plugin_utils import _host

display = Display()

#: Files go through memory in pieces of this size: blocks of 64 KiB.
_BLOCK = 65536
_BLOCKS = 256
_PIECE = _BLOCK * _BLOCKS


class Connection(ConnectionBase):
    """A guest, entered through its host."""

    transport = "linux.vserver.guest"
    has_pipelining = True
    has_tty = False
    #: Whom tasks run as when nobody becomes another.
    default_user = "root"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._variables: Mapping[str, Any] = {"ansible_connection": "local", "inventory_hostname": "localhost"}
        self._name: str | None = None
        self._host: ConnectionBase | None = None

    def _resolve_option_variables(self, variables: Any, templar: Any) -> dict[str, Any]:
        """Beside our own variables, find those of the host."""
        options: dict[str, Any] = super()._resolve_option_variables(variables, templar)
        self._name = getattr(self._play_context, "delegate_to", None) or variables.get("inventory_hostname")
        host, hostvars = options.get("vserver_host"), variables.get("hostvars", {})
        if host and host in hostvars:
            self._variables = hostvars[host]  # each is templated when it is asked for, and few are
        elif host:
            of_guest = {key: value for key, value in variables.items() if key.startswith("ansible_")}
            for key in ("ansible_connection", "ansible_host", "ansible_ssh_host", "ansible_delegated_vars"):
                of_guest.pop(key, None)
            templated = {key: templar.template(value) for key, value in of_guest.items()}
            self._variables = {**templated, "inventory_hostname": host}
        return options

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self._host = _host.connection(self._play_context.copy(), self._variables, task_keys)

    @property
    def _guest(self) -> str:
        name = self.get_option("guest") or self._name or self._play_context.remote_addr
        if not name or name.startswith("-"):
            raise AnsibleError(f"{name!r} is not the name of a guest")
        return str(name)

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def _enter(self, argv: list[str], text: bytes | None, sudoable: bool = False) -> _host.Ended:
        if self._host is None:
            raise AnsibleConnectionFailure("the connection has no options yet")
        self._host.set_become_plugin(self.become if sudoable else None)
        return _host.enter(self._host, self.get_option("host_become"), self._guest, argv, text, sudoable)

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command line by the guest's shell."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {to_text(cmd)}", host=self._guest)
        ended = self._enter(["/bin/sh", "-c", to_text(cmd)], in_data, sudoable)
        return ended.status, ended.stdout, ended.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Have a process of the guest write the file."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {in_path} TO {out_path}", host=self._guest)
        path = to_bytes(in_path, errors="surrogate_or_strict")
        if not os.path.exists(path):
            raise AnsibleFileNotFound(f"file or module does not exist: {in_path}")
        with open(path, "rb") as source:
            for number, piece in enumerate(_pieces(source)):
                script = 'cat >>"$1"' if number else 'cat >"$1"'
                self._transfer(["/bin/sh", "-c", script, "sh", to_text(out_path)], piece, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Have a process of the guest read the file."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self._guest)
        words = ["dd", f"if={to_text(in_path)}", f"bs={_BLOCK}", f"count={_BLOCKS}"]
        with open(to_bytes(out_path, errors="surrogate_or_strict"), "wb") as target:
            piece, blocks = None, 0
            while piece is None or len(piece) == _PIECE:
                piece = self._transfer([*words, f"skip={blocks}"], None, in_path)
                target.write(piece)
                blocks += _BLOCKS

    def _transfer(self, argv: list[str], piece: bytes | None, path: str) -> bytes:
        ended = self._enter(argv, piece)
        if ended.status:
            raise AnsibleError(f"failed to transfer {path} of guest {self._guest}: {to_text(ended.stderr).strip()}")
        return ended.stdout

    def reset(self) -> None:
        """Let go of the connection to the host."""
        if self._host is not None and _host.kind(self._variables) != "local":
            self._host.reset()
        self._connected = False

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
        self._connected = False


def _pieces(source: Any) -> Iterator[bytes]:
    """A file in pieces, one that is empty for an empty file."""
    piece = source.read(_PIECE)
    while True:
        yield piece
        piece = source.read(_PIECE)
        if not piece:
            return
