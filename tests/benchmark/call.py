# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call into the engine in a process that does nothing else, as a module's is: prints the milliseconds it took.

Called as ``python -m …call CGROUP FUNCTION ARGUMENTS``. Loading the engine does not count; module-noop has it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._engine import fleet, info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish

from .measure import Stopwatch


def _crowd(site: Site, template: str, first: int, count: int, state: str) -> None:
    """Bring guests that will sleep to ``state``, those with the numbers from ``first`` on; to stop, by name alone."""
    wishes = [
        Wish(f"fleet{number}", {} if state == "stopped" else _options(template, number), state, keep_data=False)
        for number in range(first, first + count)
    ]
    failed = [result.error for result in fleet.bring_all(site, wishes, check=False)]
    if any(failed):
        raise next(error for error in failed if error)


def _options(template: str, number: int) -> dict[str, dict[str, Any]]:
    return {
        "root": {"template": template},
        "binding": {"addresses": [address(number)], "interface": "lo"},
        "capabilities": {},
        # A machine that mixes control groups of both versions cannot limit anything with version 2 alone.
        "limits": {"processes": "max"},
        "context": {"init": ["/bin/sleep", "infinity"], "timeout": 0},
    }


def address(number: int) -> str:
    """The address of guest ``number`` of a crowd."""
    return f"10.200.{number // 200}.{number % 200 + 1}/32"


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "crowd": _crowd,
    "info.guests": info.guests,
    "lifecycle.configure": lifecycle.configure,
    "lifecycle.set_state": lifecycle.set_state,
}


def main(group: str, function: str, arguments: str) -> None:
    watch = Stopwatch()
    site, values = Site(cgroup=group), json.loads(arguments)
    with watch.running():
        _FUNCTIONS[function](site, *values)
    print(watch.milliseconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
