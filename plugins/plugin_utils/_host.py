# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a host of guests: the connection its own variables describe, and commands of ``vserver`` on it.

Note that this plugin util is PRIVATE to the collection.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader

PROGRAM = "/usr/sbin/vserver"
#: Words before a command that has to run as root of the host; none of them asks for a password.
PREFIXES: Mapping[str, tuple[str, ...]] = {"none": (), "sudo": ("sudo", "-n", "--"), "doas": ("doas", "-n", "--")}
_LOCAL = ("local", "ansible.builtin.local")
_DEFAULTS = ("smart", "ssh")
_USAGE, _NOT_EXECUTED, _NOT_FOUND = 2, 126, 127


class Nothing(bytes):
    """Standard input that ends at once. Core's ssh gives a terminal to a command for which there is no input at all."""

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True)
class Ended:
    """How a command in a guest ended: its own exit status, and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


def kind(variables: Mapping[str, Any]) -> str:
    """The name of the connection plugin that a host with these variables has (pure)."""
    name = str(variables.get("ansible_connection", "ssh"))
    return "local" if name in _LOCAL else "ssh" if name in _DEFAULTS else name


def line(words: Sequence[str], become: str) -> str:
    """One line for the host's shell, which executes ``words`` as they are (pure)."""
    return "exec " + shlex.join([*PREFIXES[become], *words])


def entering(guest: str, argv: Sequence[str], word: str) -> list[str]:
    """The command that runs ``argv`` in ``guest`` and reports, marked by ``word``, how it ended (pure)."""
    return [PROGRAM, "task", word, guest, *argv]


def reported(word: str, stdout: bytes, stderr: bytes) -> Ended | None:
    """What the report says, taken out of the errors; None when the command did not come to its end (pure)."""
    found = re.search(word.encode() + rb" (\d+)\n", stderr)
    if found is None:
        return None
    return Ended(int(found[1]), stdout, stderr[: found.start()] + stderr[found.end() :])


def connection(
    play_context: Any, variables: Mapping[str, Any], task_keys: Mapping[str, Any] | None = None
) -> ConnectionBase:
    """The host's own connection, not yet made.

    * variables: of the host, templated; ``inventory_hostname`` among them
    """
    name = kind(variables)
    found = connection_loader.get(name, play_context)
    if found is None:
        raise AnsibleConnectionFailure(f"the connection plugin {name!r} of the guest's host was not found")
    known = {key: variables[key] for key in C.config.get_plugin_vars("connection", name) if key in variables}
    found.set_options(task_keys=dict(task_keys or {}), var_options=known)
    return found


def enter(
    host: ConnectionBase, become: str, guest: str, argv: Sequence[str], text: bytes | None, sudoable: bool = False
) -> Ended:
    """Run ``argv`` in ``guest``, with ``text`` as its standard input.

    Raises ``AnsibleConnectionFailure`` when the guest cannot be entered, or has ended meanwhile.
    """
    word = secrets.token_hex(16)
    status, stdout, stderr = host.exec_command(
        line(entering(guest, argv, word), become), in_data=text or Nothing(), sudoable=sudoable
    )
    ended = reported(word, stdout, stderr)
    if ended is None:
        raise AnsibleConnectionFailure(failure(status, stderr))
    return ended


def failure(status: int, stderr: bytes) -> str:
    """Why the program did not do it, and what to do (pure)."""
    said = to_text(stderr).strip() or f"exit status {status}"
    if status == _NOT_FOUND or (status == _USAGE and said.startswith(("usage:", "vserver:"))):
        return (
            f"{said}. {PROGRAM} is missing on the host of the guest, or of another version than this collection. "
            "Playbook linux.vserver.host, or module linux.vserver.engine, installs it."
        )
    if status == _NOT_EXECUTED or "this needs root" in said:
        return f"{said}. Log in to the host as root, or set vserver_host_become to sudo or doas."
    return said
