# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's units for its guests: what their files say, and what is read of what systemd says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import systemd, unit_files
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.systemd import Standing
from ansible_collections.linux.vserver.plugins.module_utils._engine.unit_files import Wishes

GUESTS, EVENTS, LXCFS = "vserver-guests.service", "vserver-events.service", "vserver-lxcfs.service"
ALL = Wishes(4, True, "/srv/hook", True)
OPTIONS: dict[str, Any] = {"autostart_parallel": None, "events": None, "event_hook": None, "lxcfs": False}


NONE = Wishes()


def texts(wishes: Wishes = NONE, version: str = "0123456789ab") -> dict[str, str | None]:
    return unit_files.texts(Site(), wishes, version)


def line(text: str | None, key: str) -> str:
    """The value of a setting that is there once."""
    (found,) = [line for line in (text or "").splitlines() if line.startswith(f"{key}=")]
    return found.partition("=")[2]


@pytest.mark.parametrize(
    ("given", "wishes"),
    [
        ({}, Wishes()),
        ({"autostart_parallel": 1, "lxcfs": True}, Wishes(1, lxcfs=True)),
        ({"events": True}, Wishes(events=True)),
        ({"event_hook": "/h"}, Wishes(events=True, hook="/h")),
        ({"event_hook": "/h", "events": False}, Wishes(hook="/h")),
    ],
)
def test_options(given: dict[str, Any], wishes: Wishes) -> None:
    assert unit_files.parse({**OPTIONS, **given}) == wishes


@pytest.mark.parametrize(
    "given",
    [{"autostart_parallel": number} for number in (0, -1)]
    + [{"event_hook": path} for path in ("", "tell-me", "./tell-me", "/a\nExecStartPre=/b", "/a\0", "/a\t")],
)
def test_options_that_cannot_be_meant(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(given))):
        unit_files.parse({**OPTIONS, **given})


def test_what_is_not_wished_for_has_no_file_and_the_rest_always_has() -> None:
    assert [name for name, text in texts().items() if text is None] == [LXCFS, EVENTS]
    assert None not in texts(ALL).values()


def test_who_starts_before_whom_is_the_order_of_the_files() -> None:
    names = list(texts(ALL))
    assert names == ["vserver.slice", "vserver@.service", LXCFS, EVENTS, GUESTS]
    for name in (LXCFS, EVENTS):
        assert line(texts(ALL)[name], "Before") == GUESTS


def test_each_file_names_its_maker_in_its_first_line() -> None:
    for text in texts(ALL).values():
        assert text is not None and unit_files.MARK in text.partition("\n")[0]


def test_each_wish_is_in_one_file_only() -> None:
    def differing(wishes: Wishes, version: str = "0123456789ab") -> list[str]:
        return [name for name, text in texts(wishes, version).items() if text != texts(ALL)[name]]

    assert differing(Wishes(None, True, "/srv/hook", True)) == [GUESTS]
    assert differing(Wishes(4, True, None, True)) == [EVENTS]
    assert differing(Wishes(4, True, "/srv/hook", False)) == [LXCFS]
    assert differing(ALL, "ba9876543210") == [EVENTS], "the rest goes on when the program is replaced"


def test_what_is_run() -> None:
    assert line(texts()[GUESTS], "ExecStart") == "/usr/sbin/vserver autostart"
    assert line(texts(ALL)[GUESTS], "ExecStart") == "/usr/sbin/vserver autostart --parallel 4"
    assert line(texts(Wishes(events=True))[EVENTS], "ExecStart") == "/usr/sbin/vserver events --journal"
    assert line(texts(ALL)[EVENTS], "ExecStart") == '/usr/sbin/vserver events --journal --hook "/srv/hook"'


def test_another_site_has_other_units_and_places() -> None:
    site = Site(Path("/s"), Path("/r"), "other", Path("/p/other"))
    for name, text in unit_files.texts(site, ALL, "0123456789ab").items():
        assert name.startswith("other") and text is not None
        for usual in ("/var/lib/vserver", "/run/vserver", "/usr/sbin/vserver", "vserver.slice", "vserver-"):
            assert usual not in text


def unquoted(word: str) -> str:
    """What systemd makes of a word in double quotes: C escapes, then specifiers, then variables."""
    assert word[0] == word[-1] == '"'
    found, rest = "", word[1:-1]
    while rest:
        pair = rest[:2]
        assert rest[0] != '"', "it ends early"
        if rest[0] in "\\%$":
            assert pair in ("\\\\", '\\"', "%%", "$$"), pair
            found, rest = found + pair[1], rest[2:]
        else:
            found, rest = found + rest[0], rest[1:]
    return found


@given(st.text(st.sampled_from("a/ \\\"%$'{};#i"), min_size=1))
def test_a_word_is_taken_literally(word: str) -> None:
    assert unquoted(unit_files.quoted(word)) == word


def test_what_systemd_says_of_several_units() -> None:
    said = (
        "Id=vserver.slice\nActiveState=active\nFragmentPath=\nNeedDaemonReload=no\n\n"
        "Id=vserver-guests.service\nActiveState=activating\nFragmentPath=/etc/systemd/system/vserver-guests.service\n"
        "NeedDaemonReload=yes\n\n"
        "Id=vserver-lxcfs.service\nActiveState=failed\nFragmentPath=/e/l\nNeedDaemonReload=no\n"
    )
    assert systemd.parse_standings(said) == {
        "vserver.slice": Standing(None, True, False),
        "vserver-guests.service": Standing("/etc/systemd/system/vserver-guests.service", True, True),
        "vserver-lxcfs.service": Standing("/e/l", False, False),
    }
