# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a run is about, and what is asked of whom."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.linux.vserver.plugins.filter.acted_on import KNOWN, acted_on
from ansible_collections.linux.vserver.plugins.filter.fleet import fleet
from ansible_collections.linux.vserver.plugins.filter.selection import selection
from ansible_collections.linux.vserver.plugins.filter.table import table
from ansible_collections.linux.vserver.plugins.module_utils._ansible import arguments

GROUPS = {
    "all": ["h1", "h2", "other", "a1", "b1", "a2", "b2"],
    "vserver_hosts": ["h1", "h2"],
    "vserver_guests": ["a1", "b1", "a2", "b2"],
    "a": ["a1", "a2"],
    "eu": ["h2", "a1"],
}
VARIABLES: dict[str, dict[str, Any]] = {
    **{name: {"vserver_host": f"h{name[1]}"} for name in GROUPS["vserver_guests"]},
    "h1": {},
    "h2": {},
    "other": {},
}


def chosen(limit: str, hosts: str = "vserver_hosts") -> dict[str, list[str]]:
    found = selection(GROUPS, VARIABLES, limit, hosts)
    for each in found:
        assert each["name"] in (each["host"], each["guests"][:1] and each["guests"][0])
    return {each["name"]: each["guests"] for each in found}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("", {"h1": ["a1", "b1"], "h2": ["a2", "b2"]}),
        ("all", {"h1": ["a1", "b1"], "h2": ["a2", "b2"]}),
        ("h1", {"h1": ["a1", "b1"]}),
        ("a1", {"a1": ["a1"]}),
        ("a", {"a1": ["a1"], "a2": ["a2"]}),
        ("vserver_guests", {"a1": ["a1", "b1"], "a2": ["a2", "b2"]}),
        ("h1:a2", {"h1": ["a1", "b1"], "a2": ["a2"]}),
        ("h1:a1", {"h1": ["a1", "b1"]}),
        ("!h2", {"h1": ["a1", "b1"]}),
        ("!h2:!a1", {"h1": ["b1"]}),
        ("!a", {"h1": ["b1"], "h2": ["b2"]}),
        ("vserver_guests:!h1", {"a2": ["a2", "b2"]}),
        ("eu", {"h2": ["a2", "b2"], "a1": ["a1"]}),
        ("all:&eu", {"h2": ["a2", "b2"], "a1": ["a1"]}),
        ("h1:!a1:!b1", {"h1": []}),
        ("other", {}),
        ("nosuch", {}),
    ],
)
def test_a_limit(limit: str, expected: dict[str, list[str]]) -> None:
    assert chosen(limit) == expected


def test_a_limit_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("h1\n!a1\n")
    assert chosen(f"@{tmp_path}/limit") == {"h1": ["b1"]}


def test_other_hosts() -> None:
    assert chosen("", "h2") == {"h2": ["a2", "b2"]}
    assert chosen("a", "h2") == {"a2": ["a2"]}
    assert selection({"all": [], "ungrouped": []}, {}, "", "localhost") == [
        {"name": "localhost", "host": "localhost", "guests": []}
    ]


@pytest.mark.parametrize(("variables", "words"), [({}, "no variable vserver_host"), ({"vserver_host": "h3"}, "h3")])
def test_a_guest_of_no_host(variables: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        selection(GROUPS, {**VARIABLES, "b2": variables})


HOST = {"name": "h1", "host": "h1", "guests": ["a1", "b1"]}
GUEST = {"name": "a1", "host": "h1", "guests": ["a1"]}
SAID: dict[str, dict[str, Any]] = {
    "a1": {"vserver_host": "h1", "vserver_memory": "1G", "vserver_addresses": [], "vserver_cpus": None, "x": 1},
    "b1": {"vserver_host": "h1", "vserver_name": "bee", "vserver_state": "absent", "vserver_keep_data": True},
    "a2": {"vserver_host": "h1", "vserver_info": {}, "vserver_name": "a2", "vserver_host_become": "sudo"},
}
LISTED = [{"name": "l1", "cpus": 2}, {"name": "l2", "state": "absent"}]


@pytest.mark.parametrize(
    ("acting", "state", "expected"),
    [
        (GUEST, None, [{"name": "a1", "memory": "1G", "addresses": []}]),
        (GUEST, "frozen", [{"name": "a1", "state": "frozen"}]),
        (
            HOST,
            None,
            [
                *LISTED,
                {"name": "a1", "memory": "1G", "addresses": []},
                {"name": "bee", "state": "absent", "keep_data": True},
            ],
        ),
        (HOST, "stopped", [{"name": "l1", "state": "stopped"}, {"name": "a1", "state": "stopped"}]),
        (HOST, "absent", [{"name": name, "state": "absent"} for name in ("l1", "l2", "a1", "bee")]),
        ({**GUEST, "guests": ["a2"]}, None, []),
        ({**GUEST, "guests": ["a2"]}, "stopped", [{"name": "a2", "state": "stopped"}]),
    ],
)
def test_what_is_asked(acting: dict[str, Any], state: str | None, expected: list[dict[str, Any]]) -> None:
    before = copy.deepcopy((LISTED, SAID))
    assert acted_on(LISTED, SAID, acting, state) == expected
    assert before == (LISTED, SAID)


@pytest.mark.parametrize("name", ["vserver_adresses", "vserver_memroy", "vserver_capability_add"])
def test_a_variable_that_is_misspelled(name: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"{name}; is vserver_"):
        acted_on([], {"a1": {name: 1}}, GUEST)


def test_no_option_has_the_name_of_another_variable() -> None:
    options = set(arguments.guest_spec())
    assert not (options - {"name"}) & {*KNOWN, "hosts", "guests", "guest", "templates", "target", "acting", "serial"}
    assert not [name for name in options if name.startswith(("guest_", "host_", "template_"))]


def test_what_hosts_say_together() -> None:
    variables: dict[str, dict[str, Any]] = {
        **SAID,
        "h1": {"vserver_acting": HOST, "vserver_status": {"guests": [{"name": "x", "state": "running"}]}},
        "h2": {"vserver_acting": {"name": "h2", "host": "h2", "guests": []}, "vserver_status": {"unreachable": True}},
        "h3": {"vserver_acting": {"name": "h3", "host": "h3", "guests": []}, "vserver_status": {"guests": []}},
    }
    of_guest = {"guests": [{"name": "a1", "state": "frozen"}, {"name": "x", "state": "running"}]}
    variables["a1"] = {**variables["a1"], "vserver_acting": GUEST, "vserver_status": of_guest}
    found = fleet(["h1", "h2", "h3", "a1"], variables)
    assert [(row["host"], row["name"], row["state"]) for row in found] == [
        ("h1", "x", "running"),
        ("h1", "a1", "missing"),
        ("h2", None, "no answer"),
        ("h3", None, "no guests"),
        ("h1", "a1", "frozen"),
    ]
    heading, first, *_rest = table(found)
    assert heading.startswith("HOST  GUEST") and first.startswith("h1    x")
    assert table([{"name": "x", "state": "stopped"}])[0].startswith("GUEST")
    assert "CPU TIME" not in heading


def test_a_table_tells_what_guests_use_where_that_is_known() -> None:
    slots = {"received_bytes": 1 << 20, "sent_bytes": 3 << 20}
    usage = {"cpu_seconds": 65.0, "read_bytes": 0, "written_bytes": 5 << 30, "oom_kills": 2, "network": None}
    network = {"ipv4": slots, "ipv6": slots, "local_ipv4": slots, "local_ipv6": slots}
    heading, bound, unbound, stopped = table(
        [
            {"name": "bound", "state": "running", "usage": {**usage, "network": network}},
            {"name": "unbound", "state": "running", "usage": usage},
            {"name": "stopped", "state": "stopped", "usage": None},
        ]
    )
    assert re.split("  +", heading)[7:-1] == ["CPU TIME", "READ", "WRITTEN", "RECEIVED", "SENT", "OOM"]
    assert bound.split()[-7:-1] == ["1:05", "0B", "5.0G", "2.0M", "6.0M", "2"]
    assert unbound.split()[-4:-1] == ["-", "-", "2"]
    assert stopped.split()[-7:] == ["-"] * 7


def test_what_a_rebuild_takes() -> None:
    said = {"a1": {"vserver_template": "t", "vserver_memory": "1G", "vserver_data": ["/srv"]}}
    assert acted_on([], said, GUEST, "rebuilt") == [{"name": "a1", "template": "t", "data": ["/srv"]}]
    assert acted_on([], said, GUEST) == [{"name": "a1", "template": "t", "memory": "1G"}]
    with pytest.raises(AnsibleFilterError, match="what of guest l1 is kept"):
        acted_on([{"name": "l1"}], said, {**HOST, "guests": []}, "rebuilt")
