# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories that a rebuild keeps."""

from __future__ import annotations

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput
from ansible_collections.linux.vserver.plugins.module_utils._engine.rebuild import parse_data


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], ()),
        (["/srv"], ("srv",)),
        (["/srv/", "/srv"], ("srv",)),
        (["/var/lib/b", "/srv", "/var/lib/a/"], ("srv", "var/lib/a", "var/lib/b")),
        (["/srv/www", "/srv", "/srvx"], ("srv", "srvx")),
        (["/a-b", "/a", "/a/b"], ("a-b", "a")),
    ],
)
def test_directories(paths: list[str], expected: tuple[str, ...]) -> None:
    assert parse_data(paths) == expected


@pytest.mark.parametrize("path", ["", "/", "srv", "//srv", "/srv//www", "/srv/..", "/../srv", "/srv/./www", "/a\0b"])
def test_what_is_none(path: str) -> None:
    with pytest.raises(InvalidInput, match="keep the directory"):
        parse_data([path])
