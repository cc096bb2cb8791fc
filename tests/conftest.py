# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable under its own name, wherever the repository lies.

It is done while this file is read, so that the conftest.py files below may import the collection as well.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis

REPOSITORY = Path(__file__).resolve().parents[1]
PLACE = Path("ansible_collections", "linux", "vserver")


def collections_root() -> Path:
    """The directory above ``ansible_collections``, made for this run where the repository is not inside of any."""
    if REPOSITORY.parts[-3:] == PLACE.parts:
        return REPOSITORY.parents[2]
    root = Path(tempfile.mkdtemp(prefix="linux.vserver-"))
    atexit.register(shutil.rmtree, root)
    (root / PLACE).parent.mkdir(parents=True)
    (root / PLACE).symlink_to(REPOSITORY)
    return root


ROOT = str(collections_root())
sys.path.insert(0, ROOT)
# Programs that a test starts find the collection as well.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ["ANSIBLE_COLLECTIONS_PATH"] = ROOT

# Machines that run tests are shared and slow; only results count.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("patient")
