# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the host, the pure parts: what systemd says, our drop-in, records."""

from __future__ import annotations

import configparser
import dataclasses
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import (
    holdings,
    service,
    service_sockets,
    services,
    systemd,
    unit_start,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import binding
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.sock_diag import Socket
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Binding
from ansible_collections.linux.vserver.plugins.module_utils._engine.service import Service
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.systemd import Unit

SSH = """\
Id=ssh.service
LoadState=loaded
ActiveState=active
ControlGroup=/system.slice/ssh.service
TriggeredBy=ssh.socket
"""
SOCKET = """\
Id=cups.socket
LoadState=loaded
ActiveState=inactive
ControlGroup=
Triggers=cups.service
Listen=/run/cups/cups.sock (Stream)
Listen=[::]:631 (Stream)
Listen=127.0.0.1:632 (Stream)
"""


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (SSH, Unit("ssh.service", "system.slice/ssh.service", True, ("ssh.socket",))),
        (SOCKET, Unit("cups.socket", None, False, (), ("cups.service",), (631, 632))),
        ("Id=nosuch.service\nLoadState=not-found\nActiveState=inactive\n", None),
        ("", None),
    ],
)
def test_what_systemd_says(text: str, unit: Unit | None) -> None:
    assert systemd.parse_show(text) == unit


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ssh", "ssh.service"),
        ("ssh.socket", "ssh.socket"),
        ("getty@tty1", "getty@tty1.service"),
        ("a\\x2db.service", "a\\x2db.service"),
        *((wrong, None) for wrong in ("", "a/b", "a b", "..", "-x", "foo@", "foo@.service", "x" * 300, "a\nb", "ä")),
    ],
)
def test_the_name_of_a_unit(text: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(InvalidInput):
            systemd.unit_name(text)
    else:
        assert systemd.unit_name(text) == name


@pytest.mark.parametrize(("name", "section", "free"), [("a.service", "Service", False), ("a.socket", "Socket", True)])
def test_the_drop_in(name: str, section: str, free: bool) -> None:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(systemd.drop_in_text(name, Path("/usr/sbin/vserver"), Path("/var/lib/vserver")))
    assert parsed[section]["ExecStartPre"] == "+/usr/sbin/vserver bind-unit %n"
    assert parsed["Unit"]["RequiresMountsFor"] == "/var/lib/vserver"
    assert ("FreeBind" in parsed[section]) is free


@pytest.mark.parametrize(
    ("group", "unit", "own"),
    [
        ("/system.slice/ssh.service", "ssh.service", "system.slice/ssh.service"),
        ("/system.slice/a.service/.control", "a.service", "system.slice/a.service"),
        ("/system.slice/system-x.slice/x@1.service", "x@1.service", "system.slice/system-x.slice/x@1.service"),
        ("/system.slice/_cgroup.service", "cgroup.service", "system.slice/_cgroup.service"),
        ("/user.slice/session-1.scope", "ssh.service", None),
        ("/", "ssh.service", None),
    ],
)
def test_the_cgroup_of_a_unit(group: str, unit: str, own: str | None) -> None:
    if own is None:
        with pytest.raises(VserverError):
            unit_start._own_group(group, unit)
    else:
        assert unit_start._own_group(group, unit) == own


@given(
    st.sampled_from(["unit", "cgroup"]),
    st.builds(
        "{}vs-{}".format,
        st.sampled_from(["", "."]),
        st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), max_size=60),
    ),
    st.booleans(),
)
def test_a_record_comes_back(tmp_path_factory: pytest.TempPathFactory, kind: str, name: str, shared: bool) -> None:
    place = tmp_path_factory.mktemp("site")
    site = Site(place / "state", place / "run")
    wanted = Service(kind, name, Binding(("192.0.2.1/32", "2001:db8::1/64"), loopback="none", shared=shared))
    assert service.load(site, kind, name) is None
    service.save(site, wanted)
    assert service.load(site, kind, name) == wanted
    assert [found.name for found in service.load_all(site).known] == ([name] if kind == "unit" else [])
    service.forget(site, kind, name)
    service.forget(site, kind, name)
    assert service.load(site, kind, name) is None


@pytest.mark.parametrize(
    ("unit", "guest"),
    [
        ("vserver@web1.service", "web1"),
        ("vserver@web-1.a.service", "web-1.a"),
        ("vserver@.service", None),
        ("vserver-guests.service", None),
        ("ssh.service", None),
        ("vserver@web1.socket", None),
    ],
)
def test_a_guest_is_no_service_of_the_host(tmp_path: Path, unit: str, guest: str | None) -> None:
    site = Site(tmp_path / "state", tmp_path / "run")
    assert site.guest_of(unit) == guest
    if guest is not None:
        for check in (True, False):
            with pytest.raises(InvalidInput, match=f"it is guest {guest}.*'name: {guest}'"):
                services.configure(site, "unit", unit, {"addresses": ["192.0.2.1"]}, check=check)
        assert not site.state.exists()


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    site = Site(tmp_path / "state", tmp_path / "run")
    service.save(site, Service("unit", "ssh.service", Binding()))
    (record,) = (site.state / "bindings").iterdir()
    for content in ("{}", '{"format": 2}', "no JSON"):
        record.write_text(content)
        with pytest.raises(VserverError, match=r"ssh\.service\.json"):
            service.load(site, "unit", "ssh.service")


OWN = Binding(("192.0.2.1/24", "2001:db8::1/64"), loopback="host")


@pytest.mark.parametrize(
    ("protocol", "address", "port", "own", "misplaced"),
    [
        ("tcp", "192.0.2.1", 22, OWN, False),
        ("tcp", "2001:db8::1", 22, OWN, False),
        ("tcp", "127.0.0.1", 22, OWN, False),
        ("tcp", "127.0.0.1", 22, dataclasses.replace(OWN, loopback="none"), True),
        ("tcp", "192.0.2.2", 22, OWN, True),
        ("tcp", "0.0.0.0", 22, OWN, True),
        ("tcp", "::", 22, OWN, True),
        ("udp", "0.0.0.0", 53, OWN, True),
        ("udp", "0.0.0.0", 40000, OWN, False),
        ("tcp", "0.0.0.0", 40000, OWN, True),
        ("udp", "224.0.0.251", 5353, OWN, True),
        ("udp", "224.0.0.251", 5353, dataclasses.replace(OWN, multicast=True), False),
    ],
)
def test_a_socket_at_another_place_is_told(
    protocol: str, address: str, port: int, own: Binding, misplaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Socket(protocol, ip_address(address), port, False, 0, 1, 0)
    monkeypatch.setattr(service_sockets, "held", lambda unit, group: [found])
    monkeypatch.setattr(service_sockets.listeners, "client_ports", lambda: range(32768, 61000))
    policy = services.policy(Service("unit", "a.service", own))
    reasons = service_sockets.misplaced("a.service", policy, None, Path("/group"))
    assert bool(reasons) is misplaced
    if misplaced:
        assert f"{port}/{protocol}" in reasons[0]


def test_an_address_belongs_to_one_unless_both_say_so() -> None:
    guest = binding.Guest("web1", binding=Binding(("192.0.2.1/24",)), context=binding.Guest("x").context)
    guest = guest.with_section("context", dataclasses.replace(guest.context, xid=259))
    shared = guest.with_section("binding", dataclasses.replace(guest.binding, shared=True))
    same, loop = Binding(("192.0.2.1/32", "192.0.2.2/32")), Binding(("127.1.3.1/32",), shared=True)
    assert holdings.taken_from(guest, same) == {"192.0.2.1"}
    assert holdings.taken_from(shared, same) == holdings.taken_from(guest, dataclasses.replace(same, shared=True))
    assert not holdings.taken_from(shared, dataclasses.replace(same, shared=True))
    assert holdings.taken_from(shared, loop) == {"127.1.3.1"}
