# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OCI runtime by itself, with nothing of ours around it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine.host import runtimes
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup


def path() -> str:
    """The preferred one of those that run here: crun takes no host whose controllers are of both versions."""
    mixed = cgroup.layout().mode == "hybrid"
    return next(path for path in runtimes.runtime_paths() if not (mixed and Path(path).name == "crun"))
