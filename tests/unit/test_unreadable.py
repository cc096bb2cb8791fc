# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose record cannot be read is named, and keeps nobody from anything else."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import (
    autostart,
    engine_file,
    files,
    fleet,
    host_addresses,
    info,
    lifecycle,
    metrics,
    record,
    running,
    service,
    services,
    several,
    store,
    usage,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.cli import look
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import process
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Binding, Context, Guest, Root
from ansible_collections.linux.vserver.plugins.module_utils._engine.registry import Registry
from ansible_collections.linux.vserver.plugins.module_utils._engine.running import Running
from ansible_collections.linux.vserver.plugins.module_utils._engine.service import Service
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog
from ansible_collections.linux.vserver.plugins.module_utils._engine.wish import Wish

NEWER = {"format": record.FORMAT + 1, "of_the_future": {}}


@pytest.fixture(name="site")
def made_site(tmp_path: Path) -> Site:
    """Three guests: good1, broken with a newer record, good2."""
    site = Site(state=tmp_path / "state", run=tmp_path / "run")
    store.prepare(site)
    for number, name in enumerate(["good1", "broken", "good2"]):
        address = f"192.0.2.{number + 1}/32"
        store.save(
            site,
            Guest(
                name,
                Root("debian", "20260101T000000Z", "overlay"),
                binding=Binding((address,)),
                context=Context(xid=28672 + number, autostart=name != "good1"),
            ),
        )
    _break(site, **NEWER)
    return site


def _break(site: Site, **changes: Any) -> None:
    path = site.guest("broken") / "guest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _destroy(site: Site) -> None:
    (site.guest("broken") / "guest.json").write_text("{")


def test_all_others_are_read(site: Site) -> None:
    records = store.load_all(site)
    assert [guest.name for guest in records.guests] == ["good1", "good2"]
    (broken,) = records.unreadable
    assert broken.known.name == "broken" and broken.known.xid == 28673 and "newer" in str(broken.error)


def test_what_it_has_nobody_else_gets(site: Site) -> None:
    registry = Registry(site)
    assert sorted(registry.names()) == ["broken", "good1", "good2"]
    with pytest.raises(VserverError, match="newer"):
        registry.recorded("broken")
    assert registry.recorded("good2") is not None
    assert registry.free_xid() == 28675
    asking = Guest("new", binding=Binding(("192.0.2.2/24",)), context=Context(xid=28680))
    assert [rival.name for rival in registry.rivals(asking)] == ["broken"]


def test_while_nothing_of_it_is_known_no_xid_is_free(site: Site) -> None:
    _destroy(site)
    with pytest.raises(Conflict, match="guest broken may have any"):
        Registry(site).free_xid()


@pytest.fixture(name="ssh")
def bound_ssh(site: Site) -> Path:
    """The record of a unit of the host that is bound to addresses."""
    service.save(site, Service("unit", "ssh.service", Binding(("198.51.100.1/32",), loopback="host")))
    (path,) = (site.state / "bindings").iterdir()
    return path


def _bind(site: Site, name: str, *addresses: str, shared: bool | None = None, check: bool = False) -> bool:
    options = {"addresses": list(addresses), "network": "host", "shared": shared}
    return lifecycle.configure(site, name, "binding", options, check=check).changed


@pytest.mark.parametrize("check", [True, False])
def test_a_service_that_is_bound_to_who_knows_what_costs_nobody_what_he_has(site: Site, ssh: Path, check: bool) -> None:
    for content in ("{", "{}", '{"format": 1, "binding": {"addresses": ["nonsense"]}}', '{"format": 1, "binding": []}'):
        ssh.write_text(content)
        _bind(site, "good1", "192.0.2.1/32", check=check)
        _bind(site, "good2", check=check)
        for name, addresses in (("good1", ["192.0.2.1/32", "192.0.2.9/32"]), ("new", ["198.51.100.1/32"])):
            with pytest.raises(Conflict, match=r"unit ssh\.service of the host may have any.*service\.json.*Remove it"):
                _bind(site, name, *addresses, check=check)
        assert lifecycle.configure(site, "good1", "context", {"timeout": 7}, check=True).changed
    assert not (site.guest("new") / "guest.json").exists()


def test_of_a_newer_record_of_a_service_the_addresses_are_known(site: Site, ssh: Path) -> None:
    noted = json.loads(ssh.read_text())
    ssh.write_text(json.dumps({**noted, **NEWER, "binding": {**noted["binding"], "of_the_future": 1}}))
    with pytest.raises(Conflict, match=r"unit ssh\.service of the host is bound to it"):
        _bind(site, "good1", "198.51.100.1/32")
    assert _bind(site, "good1", "198.51.100.2/32")


def test_an_address_that_an_unreadable_guest_may_have_is_not_given_away(site: Site, ssh: Path) -> None:
    """Known from its record, from its run, or not at all."""
    with pytest.raises(Conflict, match="guest broken .* has it"):
        _bind(site, "good1", "192.0.2.2/32")
    assert _bind(site, "good1", "192.0.2.1/32", "192.0.2.8/32")
    now = Running(os.getpid(), process.start_ticks(os.getpid()) or 0, "runc", "2026-01-01T00:00:00+00:00", _broken())
    files.make_directory(site.bundle("broken"))
    running.write(site, now)
    _destroy(site)
    with pytest.raises(Conflict, match="guest broken .* has it"):
        _bind(site, "good1", "192.0.2.2/32")
    assert _bind(site, "good1", "192.0.2.1/32", "192.0.2.9/32")
    running.clear(site, "broken")
    assert _bind(site, "good1", "192.0.2.9/32"), "it had that already"
    for name in ("good1", "good2"):
        with pytest.raises(Conflict, match=r"guest broken may have any address.*broken/guest\.json"):
            _bind(site, name, "192.0.2.2/32")
    with pytest.raises(Conflict, match="guest broken may have any address"):
        services._refuse_contested(site, None, Service("unit", "a.service", Binding(("192.0.2.2/32",))))
    kept = service.load(site, "unit", "ssh.service")
    assert kept is not None
    services._refuse_contested(site, kept, kept)


def _broken() -> Guest:
    return Guest("broken", binding=Binding(("192.0.2.2/32",)), context=Context(xid=28673))


def test_an_address_that_was_shared_is_not_one_s_own_while_that_cannot_be_told(site: Site) -> None:
    assert _bind(site, "good1", "192.0.2.1/32", shared=True)
    _destroy(site)
    with pytest.raises(Conflict, match="guest broken may have any address"):
        _bind(site, "good1", "192.0.2.1/32", shared=False)
    assert _bind(site, "good2", "192.0.2.3/32", shared=True)


def test_what_is_shared_among_guests_is_told_with_the_way_out(site: Site) -> None:
    place = site.run / ".shared-addresses.json"
    for content in ("{", "[]", '{"192.0.2.1/24": {}}', '{"192.0.2.1/24": []}'):
        place.write_text(content)
        with pytest.raises(VserverError, match=r"read the record .*shared-addresses\.json.*Remove it"):
            host_addresses.down(site, "good1")
    place.unlink()
    host_addresses.down(site, "good1")


def test_the_program_that_an_unreadable_service_needs_stays(site: Site, ssh: Path, tmp_path: Path) -> None:
    place = dataclasses.replace(site, program=tmp_path / "sbin" / "vserver")
    engine_file.ensure(place)
    ssh.write_text("{")
    with pytest.raises(Conflict, match=r"ssh\.service are bound by it at each start"):
        engine_file.absent(place)


def test_its_template_stays(site: Site) -> None:
    assert catalog.in_use(site, "debian") == ["broken", "good1", "good2"]
    (site.templates / "other" / "20260101T000000Z").mkdir(parents=True)
    (site.templates / "other" / "20260101T000000Z" / "template.json").write_text("{}")
    _destroy(site)
    with pytest.raises(Conflict, match="it may be the root of guest broken"):
        catalog.absent(site, "other")


def test_it_is_listed_with_the_reason(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    told = usage.gathered(site, None, ("disk", "usage"))
    assert [guest["name"] for guest in told] == ["broken", "good1", "good2"]
    assert told[0]["state"] == "unreadable" and "newer" in told[0]["error"]
    assert told[1]["state"] == "stopped" and "error" not in told[1] and told[0]["usage"] is told[1]["usage"] is None
    assert [guest["name"] for guest in info.guests(site, ["good2", "broken"])] == ["good2", "broken"]
    arguments = {"json": False, "all": True, "names": []}
    assert look.COMMANDS["list"](site, _arguments(arguments)) == 0
    shown = capsys.readouterr()
    assert "unreadable" in shown.out and "good2" in shown.out and "newer" in shown.err
    assert look.COMMANDS["status"](site, _arguments(arguments)) == 3
    shown = capsys.readouterr()
    assert "unreadable" in shown.out and "newer" in shown.out and "good2" in shown.out
    assert look.COMMANDS["list"](site, _arguments({**arguments, "json": True})) == 0
    assert [guest["state"] for guest in json.loads(capsys.readouterr().out)] == ["unreadable", "stopped", "stopped"]


def _arguments(values: dict[str, Any]) -> Any:
    import argparse

    return argparse.Namespace(**values)


def test_metrics_say_which_can_be_read(site: Site) -> None:
    lines = metrics.text(site).splitlines()
    readable = {line for line in lines if line.startswith("vserver_guest_readable")}
    assert readable == {
        f'vserver_guest_readable{{guest="{name}"}} {int(name != "broken")}' for name in ("broken", "good1", "good2")
    }
    assert 'vserver_guest_running{guest="good1"} 0' in lines
    assert not [line for line in lines if "running" in line and "broken" in line]


def test_it_is_a_failed_result_of_a_list_and_the_others_are_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = [Wish(name, {"context": {"timeout": 7}}) for name in ("good1", "broken", "good2")]
    monkeypatch.setattr(fleet.boot, "prepare", lambda _site: None)
    for check in (True, False):
        results = fleet.bring_all(site, wishes, parallel=2, check=check)
        assert [result.name for result in results] == ["good1", "broken", "good2"]
        assert [result.outcome.changed for result in results] == [True, False, True]
        assert [result.error is None for result in results] == [True, False, True]
        assert "guests/broken/guest.json" in str(results[1].error) and "newer" in str(results[1].error)
    assert [guest.context.timeout for guest in store.load_all(site).guests] == [7, 7]


def test_a_purge_leaves_it_and_says_so(site: Site) -> None:
    results = fleet.bring_all(site, [Wish("good1"), Wish("good2")], purge=True, parallel=1, check=True)
    assert [(result.name, result.error is None) for result in results] == [
        ("good1", True),
        ("good2", True),
        ("broken", False),
    ]


def test_others_are_configured_one_by_one(site: Site) -> None:
    assert lifecycle.configure(site, "good2", "context", {"hostname": "two"}).changed
    assert lifecycle.configure(site, "new", "context", {"hostname": "three"}).changed
    assert store.require(site, "new").xid == 28675
    with pytest.raises(VserverError, match="newer"):
        lifecycle.configure(site, "broken", "context", {"hostname": "x"})


@pytest.mark.parametrize("known", ["autostart", "no autostart", "nothing"])
def test_with_the_host_the_others_start_and_it_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    if known == "nothing":
        _destroy(site)
    elif known == "no autostart":
        _break(site, context={**record.written(context=Context(xid=28673))["context"]})
    tried: list[str] = []
    monkeypatch.setattr(several, "each", lambda names, *_rest: tried.extend(names))
    autostart.start(site, 2)
    assert tried == (["good2"] if known == "no autostart" else ["broken", "good2"])
