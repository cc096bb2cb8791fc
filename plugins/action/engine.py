# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs each module of the collection, with the engine of its host where that is this very one, else with ours brought.

See meta/runtime.yml for which modules that are, and module_utils/_ansible/engine.py for the other end.
"""

from __future__ import annotations

import base64
import zipfile
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.linux.vserver.plugins.module_utils._engine import source


class ActionModule(ActionBase):
    """What core does for a module, and once more where the host lacks the engine."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        background = bool(self._task.async_val and not self._connection.has_native_async)
        engine = source.whole()
        given = {**self._task.args, "_version": source.version(engine)}
        # Who runs in the background cannot ask for it, and who installs it must not take it from where it will be.
        bring = background or self._task.action.rpartition(".")[2] == "engine"
        answer = {"lacks_engine": True} if bring else self._execute_module(module_args=dict(given), task_vars=task_vars)
        if answer.get("lacks_engine"):
            packed = base64.b64encode(source.pack(engine, {}, b"", zipfile.ZIP_DEFLATED)).decode()
            given["_engine"] = packed
            answer = self._execute_module(module_args=given, task_vars=task_vars, wrap_async=background)
        if not background:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return {**result, **answer}
