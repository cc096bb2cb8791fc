# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of older and newer versions, and damaged ones: what is read of them, and what is said."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.linux.vserver.plugins.module_utils._engine import record, running, service, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import process
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import (
    Binding,
    Capabilities,
    Context,
    Guest,
    Limits,
    Root,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.running import Running
from ansible_collections.linux.vserver.plugins.module_utils._engine.service import Service
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

COLLECTION = Path(__file__).parents[2]
SECTIONS = {"root": Root, "binding": Binding, "capabilities": Capabilities, "limits": Limits, "context": Context}
#: A record as 0.1.0 wrote it.
FIRST: dict[str, Any] = {
    "format": 1,
    "name": "web1",
    "root": {"template": "debian", "version": "20260101T000000Z", "method": "overlay"},
    "binding": {"addresses": ["192.0.2.10/24"], "interface": None, "network": "bound"},
    "capabilities": {"profile": "system", "add": ["CAP_MKNOD"], "drop": []},
    "limits": {"memory": 1 << 29, "cpus": 1.5, "processes": 200, "rlimits": {"nofile": [1024, 4096]}},
    "context": {
        "xid": 101,
        "hostname": None,
        "init": ["/bin/sleep", "1"],
        "timeout": 30,
        "autostart": True,
        "user_namespace": True,
    },
}


@pytest.fixture(name="site")
def made_site(tmp_path: Path) -> Site:
    return Site(state=tmp_path / "state", run=tmp_path / "run")


def test_a_guest_without_later_settings_is_written_as_the_first_version_did() -> None:
    guest = record.guest(FIRST)
    assert guest.binding == Binding(("192.0.2.10/24",)) and guest.limits.rlimits == {"nofile": (1024, 4096)}
    assert json.loads(json.dumps(record.of_guest(guest))) == FIRST


def test_a_share_of_the_processes_is_no_limit_to_the_first_version_and_no_reason_to_refuse() -> None:
    guest = dataclasses.replace(record.guest(FIRST), limits=Limits())
    written = json.loads(json.dumps(record.of_guest(guest)))
    assert written["format"] == 1 and set(written["limits"]) == {"memory", "cpus", "rlimits"}
    assert record.guest(written) == guest
    unlimited = dataclasses.replace(guest, limits=Limits(processes=None))
    assert record.of_guest(unlimited)["limits"]["processes"] is None
    assert record.guest(record.of_guest(unlimited)) == unlimited


@pytest.mark.parametrize(
    "later",
    [{"binding": Binding(ping=True)}, {"limits": Limits(cpu_weight=400)}, {"limits": Limits(sysctls={"a": "1"})}],
)
def test_a_later_setting_gives_the_record_a_number_that_older_versions_refuse(later: dict[str, Any]) -> None:
    guest = dataclasses.replace(record.guest(FIRST), **later)
    written = json.loads(json.dumps(record.of_guest(guest)))
    assert written["format"] == 2 and record.guest(written) == guest
    assert record.guest({**written, "format": 1}) == guest  # as development versions before 0.2.0 wrote it


def test_a_released_format_has_the_fields_it_was_released_with() -> None:
    assert {facet: set(FIRST[facet]) for facet in SECTIONS} == {
        facet: set(fields) for facet, fields in record.RELEASED[1].items()
    }
    today = {facet: tuple(field.name for field in dataclasses.fields(kind)) for facet, kind in SECTIONS.items()}
    assert set(record.RELEASED) <= set(range(1, record.FORMAT + 1))
    # A field more needs a new FORMAT once its last one is released.
    assert record.RELEASED.get(record.FORMAT, today) == today
    # And whoever releases a version notes which fields its format has.
    version = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"]
    if version in yaml.safe_load((COLLECTION / "changelogs/changelog.yaml").read_text())["releases"]:
        assert record.FORMAT in record.RELEASED


def test_a_newer_record_is_refused_with_what_to_do(site: Site) -> None:
    path = site.guest("web1") / "guest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**FIRST, "format": record.FORMAT + 1, "of_the_future": {}}))
    with pytest.raises(VserverError) as told:
        store.load(site, "web1")
    assert str(path) in told.value.what
    assert f"newer linux.vserver has written it, in format {record.FORMAT + 1}" in str(told.value.why)
    assert "module engine" in str(told.value.remedy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        json.dumps({**FIRST, "format": None}),
        json.dumps({**FIRST, "surplus": {}}),
        json.dumps({**FIRST, "binding": {**FIRST["binding"], "surplus": 1}}),
        json.dumps({**FIRST, "binding": {**FIRST["binding"], "addresses": ["somewhere"]}}),
        json.dumps({**FIRST, "context": {**FIRST["context"], "xid": "101"}}),
    ],
)
def test_a_damaged_record_is_an_error_with_what_to_do(site: Site, text: str) -> None:
    path = site.guest("web1") / "guest.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(VserverError) as told:
        store.load(site, "web1")
    assert str(path) in told.value.what and told.value.why and "backup" in str(told.value.remedy)


def test_of_a_newer_record_what_is_known_keeps_others_away() -> None:
    newer = {
        **FIRST,
        "format": 99,
        "binding": {**FIRST["binding"], "of_the_future": 1},
        "limits": "of the future",
        "future": {},
    }
    known = record.known("web1", newer)
    assert known == dataclasses.replace(record.guest(FIRST), limits=Limits())
    assert record.known("web1", None) == Guest("web1")


def _run(site: Site, settings: Guest, /, **changes: Any) -> Running:
    """Note this very process as process 1 of a guest, and change what is noted."""
    start = process.start_ticks(os.getpid())
    assert start is not None
    now = Running(os.getpid(), start, "/usr/bin/crun", "2026-01-01T00:00:00+00:00", settings)
    path = Path(running.state_file(site, settings.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    running.write(site, now)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return now


def test_a_key_of_another_version_beside_the_settings_is_no_matter(site: Site) -> None:
    now = _run(site, record.guest(FIRST), of_the_future=1)
    assert running.read(site, "web1") == now == running.found(site, "web1")


def test_settings_of_a_newer_version_in_force_are_refused_and_the_guest_is_known_to_run(site: Site) -> None:
    newer = {**FIRST, "format": 99, "binding": {**FIRST["binding"], "of_the_future": 1}}
    now = _run(site, record.guest(FIRST), guest=newer)
    with pytest.raises(VserverError, match=r"newer linux\.vserver.*module engine"):
        running.read(site, "web1")
    assert running.found(site, "web1") == now and running.last(site, "web1") == now.guest
    assert running.may_run(site, "web1")
    _run(site, record.guest(FIRST), guest=newer, start=now.start + 1)  # it has ended, and nobody cleared up
    assert running.read(site, "web1") is None and not running.may_run(site, "web1")
    assert running.last(site, "web1") == now.guest


@pytest.mark.parametrize("text", ["{", "[]", '{"pid": 1}'])
def test_a_damaged_run_state_is_an_error_and_hinders_nobody_to_clear_up(site: Site, text: str) -> None:
    path = Path(running.state_file(site, "web1"))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(VserverError, match=r"state\.json"):
        running.read(site, "web1")
    assert running.last(site, "web1") is None and running.may_run(site, "web1")


def test_a_service_has_the_format_that_its_binding_takes(site: Site) -> None:
    for binding, number in ((Binding(("192.0.2.1/32",)), 1), (Binding(loopback="host"), 2)):
        service.save(site, Service("unit", "ssh.service", binding))
        path = site.state / "bindings" / "ssh.service.json"
        written = json.loads(path.read_text())
        assert written["format"] == number
        assert service.load(site, "unit", "ssh.service") == Service("unit", "ssh.service", binding)
        path.write_text(json.dumps({**written, "format": 99}))
        with pytest.raises(VserverError, match=r"newer linux\.vserver.*module engine"):
            service.load(site, "unit", "ssh.service")


def test_no_record_is_written_that_cannot_be_read() -> None:
    with pytest.raises(InvalidInput):
        record.guest({})
