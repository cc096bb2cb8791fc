# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine that a module works with. Ansible does not send it along: it would find and pack 120 files anew for each
task, and the host's Python compile them.

It is the program's on the host, compiled, where that is the controller's; else the controller brings it (action
``engine``).
"""

from __future__ import annotations

import base64
import gc
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import _engine
from .._engine import installed
from .arguments import Spec

#: Whether Ansible has sent the module, and with it a part of the engine; else this is a checkout, which has all of it.
SENT = getattr(_engine.__loader__, "archive", None) is not None
_GIVEN: Spec = {"_version": {"type": "str"}, "_engine": {"type": "str", "no_log": True}}
#: What the action gives a module that is sent, beside its options: the version of the controller's engine, and if need
#: be that, as a zip file in base64.
OPTIONS: Spec = _GIVEN if SENT else {}


def load(name: str) -> Any:
    """A module of the engine. Its name is no import that Ansible would follow.

    What is loaded stays. So garbage is collected neither meanwhile nor, later, in it or in what Ansible has loaded.
    """
    gc.disable()
    try:
        return importlib.import_module(f"{_engine.__name__}.{name}")
    finally:
        gc.freeze()
        gc.enable()


def provide(program: Path, version: str | None, brought: str | None, directory: Callable[[], str]) -> bool:
    """Have :func:`load` find the engine: in what was ``brought``, which is put into ``directory``, or in ``program``.

    The answer is False when nothing was brought, and the program is of another version, or might have been written by
    somebody else than root.
    """
    if not SENT:
        return True
    if brought is not None:
        program = Path(directory(), "engine.zip")
        with program.open("xb") as file:
            file.write(base64.b64decode(brought))
    elif version is None or installed.version(program) != version or not _is_roots(program):
        return False
    _engine.__path__.insert(0, f"{program}/vserver")
    return True


def _is_roots(program: Path) -> bool:
    about = os.stat(program)
    return not about.st_uid and not about.st_mode & 0o022


def is_other(program: Path, version: str | None) -> bool:
    """Whether the program on the host is of another version than the controller's engine."""
    return version is not None and installed.version(program) not in (None, version)
