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

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .measure import Stopwatch

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
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
