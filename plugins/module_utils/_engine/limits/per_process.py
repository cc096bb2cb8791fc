# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resource limits of each of a guest's processes (getrlimit(2))."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import units
from ..errors import InvalidInput, Unsupported, VserverError
from ..kernel import capability, cgroup, cgroup_processes
from ..model import Guest, Limits

FIELDS: tuple[str, ...] = ("rlimits",)
#: Name → number of every limit this platform has; OFILE is BSD's name of NOFILE, which no runtime knows.
RLIMITS: Mapping[str, int] = {
    name[len("RLIMIT_") :].lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}
_INFINITY = ("infinity", "unlimited", "-1")
#: What these count to: 20 minus the nice value, and the highest real-time priority (sched(7)).
_HIGHEST = {"nice": 40, "rtprio": 99}
#: How often processes are looked for that came while limits were set; a guest may go on forking for ever.
_ROUNDS = 50


def parse(options: Mapping[str, Any], recorded: Limits) -> Limits:
    """Option: ``rlimits``, name → a value for both, or a dictionary with ``soft`` and ``hard``."""
    given = options.get("rlimits")
    return recorded if given is None else dataclasses.replace(recorded, rlimits=_parse(given))


def _parse(given: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    parsed = {}
    for name, value in given.items():
        key = str(name).lower().removeprefix("rlimit_")
        if key not in RLIMITS:
            raise InvalidInput(f"rlimit {name!r} is unknown", remedy=f"Use one of {', '.join(sorted(RLIMITS))}.")
        soft, hard = (value.get("soft"), value.get("hard")) if isinstance(value, Mapping) else (value, value)
        if soft is None or hard is None:
            raise InvalidInput(f"rlimit {key} needs soft and hard", remedy="Give both, or one value for both.")
        pair = _number(key, soft), _number(key, hard)
        if pair[1] != -1 and not -1 < pair[0] <= pair[1]:
            raise InvalidInput(
                f"rlimit {key}: soft {soft} is above hard {hard}", remedy="Give soft no higher than hard."
            )
        parsed[key] = pair
    return dict(sorted(parsed.items()))


def _number(key: str, value: int | str) -> int:
    number = -1 if str(value).strip().lower() in _INFINITY else units.parse_bytes(f"rlimit {key}", value)
    most = _HIGHEST.get(key, number)
    if number > most:
        raise InvalidInput(f"rlimit {key} {value} is too large", remedy=f"Give at most {most} (getrlimit(2)).")
    return number


def refuse(limits: Limits) -> None:
    """Raise when this host cannot give these limits."""
    if not limits.rlimits:
        return
    all_of = "CAP_SYS_RESOURCE" in capability.effective()
    for name, (_soft, hard) in limits.rlimits.items():
        most = resource.getrlimit(RLIMITS[name])[1]
        if not all_of and _above(hard, most):
            raise InvalidInput(
                f"rlimit {name}: hard limit {_words(hard)} is too large",
                why=f"this host's own is {_words(most)}, and without CAP_SYS_RESOURCE it cannot be raised",
                remedy="Give less.",
            )
        if name == "nofile":
            files = int(Path("/proc/sys/fs/nr_open").read_text())
            if _above(hard, files):
                raise InvalidInput(
                    f"rlimit nofile: hard limit {_words(hard)} is too large",
                    why=f"this host allows {files}",
                    remedy="Give less, or raise sysctl fs.nr_open.",
                )
    _refuse_real_time(limits)


def _refuse_real_time(limits: Limits) -> None:
    top = cgroup.layout().controllers.get("cpu")
    if limits.rlimits.get("rtprio", (0, 0))[1] != 0 and top is not None and (top / "cpu.rt_runtime_us").exists():
        raise Unsupported(
            "rlimit rtprio",
            why="this kernel gives groups of processes no real time (CONFIG_RT_GROUP_SCHED with control groups of "
            "version 1)",
            remedy="Take it out for this host.",
        )


def _above(one: int, other: int) -> bool:
    return other != -1 and (one == -1 or one > other)


def _words(value: int) -> str:
    return _INFINITY[0] if value == -1 else str(value)


def write(guest: Guest, group: str) -> None:
    """Set the limits on every process of the guest, until all new ones have inherited them (prlimit(2)).

    * group: the guest's, below the top of the v2 tree
    """
    path = cgroup.layout().tree / group
    done: set[int] = set()
    for _round in range(_ROUNDS):
        new = set(cgroup_processes.ids(path)) - done
        differed = [_set(guest, pid) for pid in new]
        if not any(differed):
            return
        done |= new
    raise VserverError(
        f"set rlimits of guest {guest.name}",
        why="there are always new processes without them",
        remedy="Freeze the guest, and try again.",
    )


def _set(guest: Guest, pid: int) -> bool:
    """Set the limits on one process, which may have ended; whether one of them was another before."""
    differed = False
    for name, pair in guest.limits.rlimits.items():
        try:
            differed |= resource.prlimit(pid, RLIMITS[name], pair) != pair
        except ProcessLookupError:
            break
        except (PermissionError, ValueError) as error:
            raise VserverError(
                f"set rlimit {name} of guest {guest.name} to {pair}",
                why=str(error),
                remedy="A hard limit rises only as far as this host's own (CAP_SYS_RESOURCE).",
            ) from error
    return differed
