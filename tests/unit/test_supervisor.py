# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a supervisor boots a guest with that has rebooted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import record, store, supervisor
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

ENDED = Guest("web1", context=Context(xid=28672))
NEWER = Guest("web1", context=Context(xid=28672, hostname="www"))


@pytest.mark.parametrize(
    ("changes", "booted"),
    [
        ({}, NEWER),
        ({"format": record.FORMAT + 1}, ENDED),
        ({"limits": {**record.of_guest(NEWER)["limits"], "of_the_future": 1}}, ENDED),
    ],
)
def test_a_record_of_a_newer_version_keeps_no_guest_from_rebooting(
    changes: dict[str, Any], booted: Guest, tmp_path: Path
) -> None:
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    store.save(site, NEWER)
    (site.guest("web1") / "guest.json").write_text(json.dumps({**record.of_guest(NEWER), **changes}))
    assert supervisor.recorded(site, ENDED) == booted


def test_a_guest_that_is_forgotten_does_not_boot(tmp_path: Path) -> None:
    assert supervisor.recorded(Site(state=tmp_path / "state", run=tmp_path / "run"), ENDED) is None
