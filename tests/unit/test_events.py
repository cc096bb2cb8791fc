# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has happened between two looks at the guests."""

from __future__ import annotations

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.accounting import Account
from ansible_collections.linux.vserver.plugins.module_utils._engine.events import KINDS, Event, Seen, between


def seen(started_at: str = "then", state: str = "running", oom: int | None = 0, refused: int | None = 0) -> Seen:
    return Seen(started_at, state, Account(oom_kills=oom, processes_refused=refused))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, []),
        ({"a": seen()}, {"a": seen()}, []),
        ({}, {"a": seen()}, [Event("a", "started")]),
        ({"a": seen()}, {}, [Event("a", "ended")]),
        ({"b": seen()}, {"a": seen()}, [Event("a", "started"), Event("b", "ended")]),
        ({"a": seen(oom=5)}, {"a": seen("later")}, [Event("a", "restarted")]),
        ({"a": seen(oom=5)}, {"a": seen("later", oom=2)}, [Event("a", "restarted"), Event("a", "out-of-memory", 2)]),
        ({}, {"a": seen(state="frozen")}, [Event("a", "started"), Event("a", "frozen")]),
        ({"a": seen()}, {"a": seen(state="frozen")}, [Event("a", "frozen")]),
        ({"a": seen(state="frozen")}, {"a": seen()}, [Event("a", "thawed")]),
        ({"a": seen(oom=1)}, {"a": seen(oom=3)}, [Event("a", "out-of-memory", 2)]),
        ({"a": seen(refused=1)}, {"a": seen(refused=9)}, [Event("a", "processes-refused", 8)]),
        ({"a": seen(oom=None)}, {"a": seen(oom=None)}, []),
    ],
)
def test_between(before: dict[str, Seen], after: dict[str, Seen], found: list[Event]) -> None:
    assert between(before, after) == found
    assert all(event.kind in KINDS for event in found)
