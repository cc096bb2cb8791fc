# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles what is imported from zip files once for a whole run; Python reads this where it is in PYTHONPATH.

Ansible sends a module with all it imports as one zip file, which Python has no place to keep compiled code for: two
thirds of the time of a module of ours. Tests run thousands of them.
"""

from __future__ import annotations

import _imp
import contextlib
import hashlib
import marshal
import os
import sys
import zipimport
from collections.abc import Callable
from types import CodeType
from typing import Any

Compile = Callable[[str, bytes], CodeType]


def remembering(place: str, compiled: Compile) -> Compile:
    """The same, of which a source is kept compiled in a directory, by its content."""

    def remembered(path: str, source: bytes) -> CodeType:
        file = f"{place}/{hashlib.sha256(source).hexdigest()}.{sys.implementation.cache_tag}"
        with contextlib.suppress(OSError), open(file, "rb") as handle:
            code: CodeType = marshal.loads(handle.read())
            fixed: Any = _imp
            fixed._fix_co_filename(code, path)
            return code
        code = compiled(path, source)
        # A user who is not root may not write there.
        with contextlib.suppress(OSError):
            with open(f"{file}.{os.getpid()}", "xb") as new:
                new.write(marshal.dumps(code))
            os.replace(new.name, file)
        return code

    return remembered


importer: Any = zipimport
importer._compile_source = remembering(os.environ["VSERVER_TEST_COMPILED"], importer._compile_source)
