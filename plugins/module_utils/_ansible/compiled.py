# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine that is on the host, compiled, in the place of the same source that Ansible has sent.

Python compiles what Ansible sends anew for each task, which takes four times as long as all that most tasks do.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from types import ModuleType


def prefer(package: ModuleType, program: Path) -> bool:
    """Have the modules of ``package`` imported from the zip application ``program``, where that has the very same ones.

    Nothing changes, and the answer is False, when a single file of both differs, when the program lacks one of a
    package below (it has what the command line needs), when somebody else than root could have written it, or when
    ``package`` is not in a zip file, as in a checkout.
    """
    found = _both(package, program)
    if found is None:
        return False
    about, here, there = found
    # A package below is all there or all here, and so has to be whole; beside those, each module is looked for in both.
    differing = [name for name, what in here.items() if there.get(name, what if name.count("/") == 1 else None) != what]
    if about.st_uid or about.st_mode & 0o022 or differing:
        return False
    package.__path__.insert(0, f"{program}/vserver")
    return True


def is_other(package: ModuleType, program: Path) -> bool:
    """Whether ``program`` is of another version than ``package``, which :func:`prefer` has left as it was."""
    found = _both(package, program)
    return found is not None and any(found[2].get(name, what) != what for name, what in found[1].items())


_Contents = dict[str, tuple[int, int]]


def _both(package: ModuleType, program: Path) -> tuple[os.stat_result, _Contents, _Contents] | None:
    """Whose the program is; checksum and size of each file that Ansible has sent of ``package``, named as in the
    program; and of each in that.

    None in a checkout, and without such a program.
    """
    sent = getattr(package.__loader__, "archive", None)
    if sent is None:
        return None
    place = f"{os.path.relpath(package.__path__[0], sent)}/"
    try:
        about = program.stat()
        with zipfile.ZipFile(sent) as ours, zipfile.ZipFile(program) as installed:
            there = {entry.filename: (entry.CRC, entry.file_size) for entry in installed.infolist()}
            here = {
                f"vserver/{entry.filename[len(place) :]}": (entry.CRC, entry.file_size)
                for entry in ours.infolist()
                if entry.filename.startswith(place)
            }
    except (OSError, zipfile.BadZipFile):
        return None
    return about, here, there
