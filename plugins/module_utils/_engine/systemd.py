# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's systemd: facts of units, our drop-in beside one, its start, restart and stop."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import files
from .errors import InvalidInput, ToolFailed, Unsupported

UNITS = Path("/etc/systemd/system")
#: What is set by ``systemctl set-property --runtime`` (systemd.unit(5), "Unit File Load Path").
_SET = Path("/run/systemd/system.control")
#: The kinds of units that open network sockets; those of a socket unit are opened inside its own cgroup.
KINDS = (".service", ".socket")
_DROP_IN = "50-vserver-binding.conf"
_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}", re.ASCII)
_PROPERTIES = ("Id", "LoadState", "ActiveState", "ControlGroup", "TriggeredBy", "Triggers", "Listen")
_STANDING = ("Id", "FragmentPath", "ActiveState", "NeedDaemonReload")
_INET = re.compile(r"(?:\[.*\]|[0-9.]+):(\d+) ")
_TIMEOUT = 120.0


@dataclass(frozen=True)
class Unit:
    """A unit as systemd knows it.

    * name: its proper name, whatever alias it was asked by
    * group: its cgroup below the top of the v2 tree, None while it has none
    * active: whether it has been started
    * triggered_by, triggers: the units that start it, and those it starts
    * ports: what a socket unit listens on for network connections
    """

    name: str
    group: str | None
    active: bool
    triggered_by: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Standing:
    """How systemd has a unit.

    * source: the file it has read it from; None when it knows none
    * active: whether it runs, or is being started or stopped
    * outdated: whether the file has changed since, so that only daemon-reload has it read
    """

    source: str | None
    active: bool
    outdated: bool


def booted() -> bool:
    """Whether systemd runs this host (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def require(what: str, remedy: str) -> None:
    """Raise :class:`Unsupported` for ``what`` on a host that is not run by systemd."""
    if not booted():
        raise Unsupported(what, why="this host is not run by systemd", remedy=remedy)


def unit_name(text: str) -> str:
    """The full name of a unit; without a suffix it is a service (pure). Raises :class:`InvalidInput`."""
    name = text if text.endswith(KINDS) else f"{text}.service"
    if not _NAME.fullmatch(name) or name.startswith((".", "-")) or "@." in name or ".." in name:
        raise InvalidInput(
            f"unit {text!r} is not valid", remedy="Give the name of a service or socket unit, such as ssh.service."
        )
    return name


def show(name: str) -> Unit | None:
    """What systemd says of a unit, None when it does not know it. Raises :class:`ToolFailed`."""
    return parse_show(_systemctl("show", f"--property={','.join(_PROPERTIES)}", "--", name))


def parse_show(text: str) -> Unit | None:
    """Read the output of ``systemctl show`` (pure)."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _sign, value = line.partition("=")
        values.setdefault(key, []).append(value)

    def one(key: str) -> str:
        return values.get(key, [""])[0]

    if one("LoadState") in ("", "not-found"):
        return None
    return Unit(
        one("Id"),
        one("ControlGroup").strip("/") or None,
        one("ActiveState") not in ("inactive", "failed"),
        tuple(one("TriggeredBy").split()),
        tuple(one("Triggers").split()),
        tuple(int(match[1]) for match in map(_INET.match, values.get("Listen", ())) if match),
    )


def standings(*names: str) -> dict[str, Standing]:
    """How systemd has units, by their proper names; with wildcards, those of them that it has in memory."""
    return parse_standings(_systemctl("show", f"--property={','.join(_STANDING)}", "--", *names))


def parse_standings(text: str) -> dict[str, Standing]:
    """Read the output of ``systemctl show`` for several units (pure)."""
    found = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if line)
        if values:
            found[values["Id"]] = Standing(
                values["FragmentPath"] or None,
                values["ActiveState"] not in ("inactive", "failed"),
                values["NeedDaemonReload"] == "yes",
            )
    return found


def drop_in(name: str) -> Path:
    """Where our addition to a unit lies."""
    return UNITS / f"{name}.d" / _DROP_IN


def drop_in_text(name: str, program: Path, state: Path) -> str:
    """Our addition to a unit: before it opens a socket, its cgroup is bound (pure).

    ``+``: not as the unit's user, nor in its sandbox (systemd.service(5)). A socket unit may be needed before the
    network is, so its sockets are opened whether the address is there or not; a service waits for its address.
    """
    kind = name.rpartition(".")[2].capitalize()
    free = "FreeBind=yes\n" if kind == "Socket" else ""
    return (
        "# Of linux.vserver: address_binding. Changes are overwritten.\n"
        f"[Unit]\nRequiresMountsFor={state}\n\n"
        f"[{kind}]\nExecStartPre=+{program} bind-unit %n\n{free}"
    )


def has_drop_in(name: str, text: str) -> bool:
    """Whether our addition to a unit is there, as it should be."""
    with contextlib.suppress(FileNotFoundError):
        return drop_in(name).read_text() == text
    return False


def write_drop_in(name: str, text: str) -> None:
    """Have our addition to a unit, for systemd's next look at it."""
    path = drop_in(name)
    files.make_directory(path.parent, 0o755)
    files.sweep(path.parent, path.name)
    files.write(path, text.encode(), 0o644)
    read_again()


def remove_drop_in(name: str) -> None:
    """Take our addition to a unit away; it is fine when there is none."""
    path = drop_in(name)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        files.sweep(path.parent, path.name)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        read_again()


def read_again() -> None:
    """Have systemd read the files of all units."""
    _systemctl("daemon-reload")


def restart(unit: Unit) -> None:
    """Restart a unit. The services a socket unit has started would keep it from that: they stop for the moment."""
    if not unit.name.endswith(".socket"):
        _systemctl("restart", "--", unit.name)
        return
    found = (show(name) for name in unit.triggers if "@." not in name)
    held = [service.name for service in found if service is not None and service.active]
    for name in held:
        _systemctl("stop", "--", name)
    _systemctl("restart", "--", unit.name)
    for name in held:
        _systemctl("start", "--", name)


def start(name: str) -> None:
    """Start a unit and wait until it has started, however long that takes. Raises :class:`ToolFailed`."""
    _systemctl("start", "--", name, timeout=None)


def stop(name: str) -> None:
    """Stop a unit, wait until it has stopped, however long that takes, and forget that it ever failed."""
    _systemctl("stop", "--", name, timeout=None)
    with contextlib.suppress(ToolFailed):  # a unit that systemd has forgotten has no state to reset
        _systemctl("reset-failed", "--", name)


def set_property(name: str, *assignments: str) -> None:
    """Set properties of a unit until the host reboots (systemd.resource-control(5)). Raises :class:`ToolFailed`."""
    _systemctl("set-property", "--runtime", "--", name, *assignments)


def forget_properties(name: str, *keys: str) -> None:
    """Have nothing left of what :func:`set_property` has set for a unit; it is fine when there is nothing.

    That is for one that is gone, or for properties that have their usual value again.

    ``systemctl revert`` would take what the operator has written for the unit as well.
    """
    place = _SET / f"{name}.d"
    left = [path for path in (place / f"50-{key}.conf" for key in keys) if path.exists()]
    for path in left:
        path.unlink()
    if left:
        with contextlib.suppress(OSError):
            place.rmdir()
        read_again()


def extend_timeout(seconds: float) -> None:
    """Tell systemd, which runs this process for a unit, that its step may take this long (sd_notify(3))."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            text = f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"
            channel.sendto(text.encode(), "\0" + place[1:] if place[0] == "@" else place)


def _systemctl(*words: str, timeout: float | None = _TIMEOUT) -> str:
    environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    command = ["systemctl", "--no-ask-password", *words]
    attempt = " ".join(["systemctl", *words])
    try:
        said = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unsupported(attempt, why="systemctl is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(attempt, why=f"no answer for {error.timeout:.0f} s") from error
    if said.returncode:
        raise ToolFailed(attempt, why=said.stderr.strip() or f"exit status {said.returncode}")
    return said.stdout
