# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest in which a newer version of the engine had a hand: what an older one can do for it, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, record, running
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually


def _of_the_future(path: Path, key: str | None = None) -> None:
    """Have a record look as a newer version would write it."""
    written: dict[str, Any] = json.loads(path.read_text())
    settings = written if key is None else written[key]
    settings["format"] = record.FORMAT + 1
    settings["limits"]["of_the_future"] = 1
    path.write_text(json.dumps(written))


def test_its_older_supervisor_boots_it_again(guests: Guests, site: Site) -> None:
    first = guests.start("modern", addresses=["127.0.91.2"])
    guests.wait_booted("modern")
    later = "sleep 1; systemctl --no-block reboot"
    guests.run("modern", "sh", "-c", f"setsid sh -c '{later}' </dev/null >/dev/null 2>&1 &")
    _of_the_future(Path(running.state_file(site, "modern")), "guest")
    _of_the_future(site.guest("modern") / "guest.json")
    eventually(lambda: running.found(site, "modern") is None, "the guest did not end")
    eventually(lambda: running.found(site, "modern") is not None, "the guest did not boot again")
    now = running.read(site, "modern")  # written by this version again
    assert now is not None and now.pid != first["pid"] and now.guest.binding.addresses == ("127.0.91.2/32",)
    told = info.guests(site, ["modern"])[0]
    assert told["state"] == "unreadable" and "a newer linux.vserver has written it" in told["error"]
    lifecycle.kill(site, "modern")
    assert not guests.traces("modern")
    (site.guest("modern") / "guest.json").write_text(json.dumps(record.of_guest(now.guest)))


def test_one_that_runs_with_settings_nobody_knows_is_named_and_can_be_ended(guests: Guests, site: Site) -> None:
    guests.start("modern", init=SLEEP, addresses=["127.0.91.3"])
    guests.start("plain", init=SLEEP)
    _of_the_future(Path(running.state_file(site, "modern")), "guest")
    with pytest.raises(VserverError, match=r"state\.json, the settings with which guest modern runs: a newer"):
        lifecycle.set_state(site, "modern", "stopped", {})
    assert {told["name"]: told["state"] for told in info.guests(site)} == {"modern": "unreadable", "plain": "running"}
    lifecycle.kill(site, "modern")
    assert not guests.traces("modern") and info.guest(site, "modern")["state"] == "stopped"


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}'])
def test_one_whose_run_state_is_damaged_can_be_ended(guests: Guests, site: Site, text: str) -> None:
    guests.start("hurt", init=SLEEP, addresses=["127.0.91.4"])
    Path(running.state_file(site, "hurt")).write_text(text)
    assert info.guests(site, ["hurt"])[0]["state"] == "unreadable"
    lifecycle.kill(site, "hurt")
    assert not guests.traces("hurt") and info.guest(site, "hurt")["state"] == "stopped"
