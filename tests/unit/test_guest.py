# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of a guest: names, quantities, sections, records, comparison."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linux.vserver.plugins.module_utils._engine import model, record, shared_addresses, units
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind.policy import loopback_addresses
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import (
    binding,
    capabilities,
    context,
    limits,
    root,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets.order import FACETS
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import capability, cpu_list
from ansible_collections.linux.vserver.plugins.module_utils._engine.limits import per_process
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import (
    Binding,
    Capabilities,
    Context,
    Guest,
    Limits,
    Root,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.registry import Registry
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

addresses = st.one_of(
    st.ip_addresses(v=4, network="198.51.100.0/24"), st.ip_addresses(v=6, network="2001:db8::/64")
).map(str)


def _limits(**values: Any) -> Limits:
    """Limits that go together."""
    values["memory_high"] = values["memory_high"] and min(values["memory_high"], values["memory"] or 1 << 62)
    if values["cpus"] is None:
        values["cpu_period"] = values["cpu_burst"] = None
    if values["cpu_idle"]:
        values["cpu_weight"] = None
    return Limits(**values)


#: What a user writes where a section has None, but for "max".
NONE_OF = {"memory_low": 0, "memory_min": 0, "cpu_period": "100ms", "cpu_burst": "0", "cpu_weight": 100}
sections = {
    "root": st.builds(
        Root,
        st.sampled_from(["debian", "debian-12"]),
        st.just("20260101T000000Z"),
        st.sampled_from(["overlay", "copy"]),
    ),
    "binding": st.builds(
        Binding,
        st.lists(addresses, unique=True, max_size=5).map(
            lambda texts: binding.parse({"addresses": texts}, Binding()).addresses
        ),
        st.none() | st.just("eth0"),
        st.sampled_from(["bound", "host"]),
        st.sampled_from(["private", "host", "none"]),
        *[st.booleans()] * 3,
    ),
    "capabilities": st.builds(
        lambda profile, names, cut: Capabilities(profile, tuple(sorted(names[:cut])), tuple(sorted(names[cut:]))),
        st.sampled_from(sorted(capabilities.PROFILES)),
        st.lists(st.sampled_from(capability.NAMES), unique=True, max_size=6),
        st.integers(0, 6),
    ),
    "limits": st.builds(
        _limits,
        memory=st.none() | st.integers(4 << 20, 1 << 45),
        memory_high=st.none() | st.integers(4 << 20, 1 << 45),
        memory_swap=st.none() | st.integers(0, 1 << 45),
        memory_low=st.none() | st.integers(1, 4 << 20),
        memory_min=st.none() | st.integers(1, 4 << 20),
        cpus=st.none() | st.integers(100, 6400).map(lambda hundredths: hundredths / 100),
        cpu_period=st.none() | st.integers(1_000, 99_999),
        cpu_burst=st.none() | st.integers(1, 1_000),
        cpu_weight=st.none() | st.integers(101, 10_000),
        cpu_idle=st.booleans(),
        cpuset=st.none() | st.sets(st.integers(0, 300), min_size=1).map(cpu_list.words),
        processes=st.none() | st.just(model.AUTO) | st.integers(1, 10**6),
        sockets=st.none() | st.integers(0, 10**6),
        disk=st.none() | st.integers(1 << 20, 1 << 45),
        inodes=st.none() | st.integers(1, 10**6),
        io=st.dictionaries(
            st.sampled_from(["/dev/sda", "/dev/disk/by-id/x"]),
            st.dictionaries(st.sampled_from(["read", "write_operations"]), st.integers(1, 1 << 29), min_size=1),
        ).map(lambda devices: dict(sorted(devices.items()))),
        rlimits=st.dictionaries(
            st.sampled_from(sorted(set(per_process.RLIMITS) - {"nice", "rtprio"})),
            st.integers(0, 10**6).map(lambda n: (n, n)),
            max_size=3,
        ).map(lambda pairs: dict(sorted(pairs.items()))),
        sysctls=st.dictionaries(
            st.sampled_from(["kernel.sem", "fs.mqueue.msg_max", "user.max_inotify_watches"]),
            st.lists(st.integers(0, 10**9).map(str), min_size=1, max_size=4).map(" ".join),
        ).map(lambda values: dict(sorted(values.items()))),
    ),
    "context": st.builds(
        Context,
        st.integers(model.XID_MIN, model.XID_MAX),
        st.none() | st.sampled_from(["web1", "web1.example.com"]),
        st.none() | st.just(("/bin/sleep", "infinity")),
        st.integers(0, 3600),
        st.booleans(),
        st.booleans(),
    ),
}
guests = st.builds(Guest, st.just("web1"), **sections)


@given(guests)
def test_a_record_survives_the_disk(guest: Guest) -> None:
    assert record.guest(json.loads(json.dumps(record.of_guest(guest)))) == guest


@given(guests, st.data())
def test_a_damaged_record_is_refused_in_words(guest: Guest, data: st.DataObject) -> None:
    written = record.of_guest(guest)
    key = data.draw(st.sampled_from(sorted(written)))
    section = written[key]
    if isinstance(section, dict) and section and data.draw(st.booleans()):
        inner = data.draw(st.sampled_from(sorted(section)))
        if inner == "rlimits" or data.draw(st.booleans()):
            del section[inner]
        else:
            section["no-such-setting"] = 1
    else:
        written[key] = data.draw(st.none() | st.integers(-5, 0) | st.just([]))
    assert record.known("web1", written).name == "web1"
    try:
        again = record.guest(written)
    except VserverError:
        return
    assert record.of_guest(again).keys() == record.of_guest(guest).keys()


def options_of(facet: str, section: Any) -> dict[str, Any]:
    """The options a user would give for a section: what ``parse`` has to bring back."""
    options = dataclasses.asdict(section)
    if facet == "limits":
        options = {name: NONE_OF.get(name, "max") if value is None else value for name, value in options.items()}
        options["io"] = [{"device": device, **values} for device, values in section.io.items()]
        options["rlimits"] = {name: {"soft": soft, "hard": hard} for name, (soft, hard) in section.rlimits.items()}
    if facet == "context":
        options["init"] = options["init"] or "auto"
    return options


@pytest.mark.parametrize("facet", sorted(FACETS))
@given(data=st.data())
def test_parse_and_compare_agree(facet: str, data: st.DataObject) -> None:
    verbs = FACETS[facet]
    before, after = data.draw(sections[facet]), data.draw(sections[facet])
    if facet in ("binding", "context"):  # what cannot be unset keeps what is recorded
        keep = {"binding": ["interface"], "context": ["hostname"]}[facet]
        after = dataclasses.replace(after, **{name: getattr(after, name) or getattr(before, name) for name in keep})
    parsed = verbs.parse(options_of(facet, after), before)
    assert parsed == after
    assert verbs.parse(options_of(facet, after), parsed) == parsed, "parse is idempotent"
    assert verbs.parse({}, before) == before, "what is left out stays"
    assert verbs.compare(before, before) == []
    changes = verbs.compare(after, before)
    for change in changes:
        assert change.facet == facet
        assert change.before == getattr(before, change.option) != change.after == getattr(after, change.option)
    if not changes and facet not in ("limits", "capabilities"):
        assert before == after


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("512", 512), (512, 512), ("1K", 1024), ("1k", 1024), ("512M", 512 << 20), ("1.5G", 3 << 29),
        ("1 GiB", 1 << 30), ("2GB", 2 << 30), (" 3T ", 3 << 40), ("1E", 1 << 60),
    ],
)  # fmt: skip
def test_sizes(text: str | int, size: int) -> None:
    assert units.parse_bytes("memory", text) == size


@pytest.mark.parametrize("text", ["", "-1", "1X", "G", "1e9", "1,5G", "0x10", "١", "9E", "1GG", "nan", "1\n2"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(InvalidInput, match="memory"):
        units.parse_bytes("memory", text)


@given(st.text())
def test_any_text_is_a_size_or_an_error_in_words(text: str) -> None:
    for parse in (units.parse_bytes, units.parse_count, units.parse_number):
        try:
            assert parse("option", text) >= 0
        except InvalidInput as error:
            assert "option" in error.what


@given(st.text())
def test_a_valid_name_is_one_path_component(text: str) -> None:
    try:
        name = model.check_name("guest", text)
    except InvalidInput:
        return
    assert (
        name not in (".", "..")
        and not set(name) & set("/\0\n ")
        and not name.startswith((".", "-"))
        and len(name) <= 63
    )


@given(st.text())
def test_any_text_is_an_address_or_an_error_in_words(text: str) -> None:
    try:
        (parsed,) = binding.parse({"addresses": [text]}, Binding()).addresses
    except InvalidInput:
        return
    assert str(ipaddress.ip_interface(parsed)) == parsed


@pytest.mark.parametrize(
    ("texts", "prefix", "parsed"),
    [
        (["192.0.2.10-192.0.2.12/24"], None, ["192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24"]),
        (["2001:db8::fe - 2001:db8::100"], 64, ["2001:db8::fe/64", "2001:db8::ff/64", "2001:db8::100/64"]),
        (["192.0.2.1", "192.0.2.9/28"], 24, ["192.0.2.1/24", "192.0.2.9/28"]),
        (["192.0.2.255-192.0.3.0"], None, ["192.0.2.255/32", "192.0.3.0/32"]),
        (["192.0.2.7-192.0.2.7"], None, ["192.0.2.7/32"]),
        ([], 24, []),
    ],
)
def test_ranges_and_prefix(texts: list[str], prefix: int | None, parsed: list[str]) -> None:
    options = {"addresses": texts, "prefix": prefix}
    assert list(binding.parse(options, Binding(("192.0.2.200/32",))).addresses) == parsed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"addresses": ["192.0.2.10-192.0.2.9"]}, "lower address first"),
        ({"addresses": ["192.0.2.1-2001:db8::1"]}, "not valid"),
        ({"addresses": ["10.0.0.0-10.0.1.0"]}, "at most 256"),
        ({"addresses": ["10.0.0.1-10.0.0.200", "10.0.1.1-10.0.1.57"]}, "257 addresses of IPv4 are too many"),
        ({"addresses": ["127.0.0.0-127.0.0.5"]}, "127.0.0.1 cannot belong"),
        ({"addresses": ["192.0.2.1-192.0.2.3", "192.0.2.2"]}, "192.0.2.2 is given twice"),
        ({"addresses": ["192.0.2.1-"]}, "cannot be parsed"),
        ({"addresses": ["192.0.2.1-9"]}, "cannot be parsed"),
        ({"addresses": ["192.0.2.1"], "prefix": 64}, "with prefix 64 cannot be parsed"),
        ({"prefix": 24}, "prefix is given without addresses"),
        ({"loopback": "hosts"}, "loopback 'hosts' is unknown"),
    ],
)
def test_a_bad_binding_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        binding.parse(options, Binding())


guest_names = st.sampled_from(["a", "b", "c"])


@given(
    st.lists(st.tuples(st.booleans(), guest_names, st.sets(st.sampled_from(["192.0.2.1", "192.0.2.2"]))), max_size=20)
)
def test_a_shared_address_goes_with_its_last_guest(calls: list[tuple[bool, str, set[str]]]) -> None:
    table: shared_addresses.Table = {}
    model_holders: dict[str, set[str]] = {"192.0.2.1": set(), "192.0.2.2": set()}
    for joining, name, named in calls:
        if joining:
            missing = {f"{text}/24": None if model_holders[text] else "eth0" for text in named}
            table = shared_addresses.joined(table, name, missing)
            for text in named:
                model_holders[text].add(name)
        else:
            table, orphans = shared_addresses.left(table, name, named)
            gone = {text for text, holders in model_holders.items() if holders == {name} and text not in named}
            for text in set(model_holders) - named:
                model_holders[text].discard(name)
            assert orphans == {f"{text}/24": "eth0" for text in gone}
        held = {text.split("/")[0]: set(entry["guests"]) for text, entry in table.items()}
        assert held == {text: holders for text, holders in model_holders.items() if holders}


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("chown", "CAP_CHOWN"),
        ("CAP_CHOWN", "CAP_CHOWN"),
        ("cap_net_raw", "CAP_NET_RAW"),
        (" Sys_Admin ", "CAP_SYS_ADMIN"),
    ],
)
def test_capability_names(given_: str, kept: str) -> None:
    assert capabilities.parse({"add": [given_]}, Capabilities()).add == (kept,)


@pytest.mark.parametrize(("wrong", "near"), [("CHOWNN", "CAP_CHOWN"), ("NET_ADMINS", "CAP_NET_ADMIN"), ("", "CAP_")])
def test_unknown_capabilities_name_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InvalidInput, match=f"Did you mean {near}"):
        capabilities.parse({"drop": [wrong]}, Capabilities())


def test_the_classic_profile_is_that_of_util_vserver() -> None:
    """lib/getinsecurebcaps.c: what it drops, we drop; numbers 32 and above, which it left by mistake, as well."""
    dropped = [
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "MKNOD",
        "AUDIT_CONTROL",
    ]
    kept = set(capabilities.kept(Capabilities("classic")))
    assert not kept & {f"CAP_{name}" for name in dropped}
    assert kept | {f"CAP_{name}" for name in dropped} == set(capability.NAMES[:32])


@given(st.integers(0, (1 << 50) - 1))
def test_a_mask_has_as_many_names_as_bits(mask: int) -> None:
    names = capability.names_of(mask)
    assert len(names) == len(set(names)) == bin(mask).count("1")


def test_page_rounding_of_memory_is_no_change() -> None:
    page = resource.getpagesize()
    wanted = Limits(memory=10 * page * 1000 + 5)
    assert limits.compare(wanted, dataclasses.replace(wanted, memory=10 * page * 1000)) == []
    assert limits.compare(wanted, dataclasses.replace(wanted, memory=11 * page * 1000)) != []


def test_an_rlimit_goes_live_when_added_and_waits_when_removed() -> None:
    none, some = Limits(), Limits(rlimits={"nofile": (1, 2)})
    assert [change.live for change in limits.compare(some, none)] == [True]
    assert [change.live for change in limits.compare(none, some)] == [False]


def test_automatic_xids_are_the_lowest_free_ones(tmp_path: Path) -> None:
    registry = Registry(Site(state=tmp_path / "state", run=tmp_path / "run"))
    for xid in (28672, 28673, 28675, 5):
        registry.put(Guest(str(xid), context=Context(xid=xid)))
    assert registry.free_xid() == 28674
    registry.drop("28673", None)
    assert registry.free_xid() == 28673
    registry.put(Guest("28673", context=Context(xid=28673)))
    assert registry.free_xid() == 28674
    registry.put(Guest("28672", context=Context(xid=6)))
    assert registry.free_xid() == 28672
    for xid in range(28672, 32767):
        registry.put(Guest(str(xid), context=Context(xid=xid)))
    with pytest.raises(VserverError, match="are taken"):
        registry.free_xid()


def test_rivals_are_those_that_have_something_the_guest_asks_for(tmp_path: Path) -> None:
    registry = Registry(Site(state=tmp_path / "state", run=tmp_path / "run"))
    others = {
        "xid": Guest("xid", context=Context(xid=300)),
        "address": Guest("address", binding=Binding(("192.0.2.1/24",)), context=Context(xid=301)),
        "loopback": Guest("loopback", binding=Binding(("127.1.44.1/32",)), context=Context(xid=302)),
        "none": Guest("none", binding=Binding(("192.0.2.2/24",)), context=Context(xid=303)),
    }
    for other in others.values():
        registry.put(other)
    asking = Guest("asking", binding=Binding(("192.0.2.1/32",)), context=Context(xid=300))
    registry.put(asking)
    assert registry.rivals(asking) == [others[name] for name in ("address", "loopback", "xid")]
    registry.put(dataclasses.replace(others["address"], binding=Binding()))
    assert dataclasses.replace(others["address"], binding=Binding()) in registry.rivals(asking)
    registry.drop("xid", None)
    assert others["xid"] not in registry.rivals(asking)


@given(sections["context"])
def test_ids_and_loopback_tell_the_xid(section: Context) -> None:
    guest = Guest("web1", context=section)
    assert guest.base_id >> 16 == guest.xid and guest.base_id + 65535 < 1 << 31
    assert loopback_addresses(guest.xid)[0] == ipaddress.ip_address(
        int(ipaddress.ip_address("127.0.0.1")) ^ guest.xid << 8
    )


def test_a_clone_keeps_its_version_unless_another_template_is_named() -> None:
    recorded = Root("debian", "20260101T000000Z", "overlay")
    assert root.parse({"template": "debian"}, recorded) == recorded
    assert root.parse({"template": "debian", "method": "auto"}, recorded) == recorded
    assert root.parse({"template": "other"}, recorded) == Root("other", None, "auto")


def test_context_options_that_are_left_out_stay() -> None:
    recorded = Context(7, "a", ("/x",), 5, True, False)
    assert context.parse({"timeout": 6}, recorded) == dataclasses.replace(recorded, timeout=6)
    assert context.parse({"init": ["auto"]}, recorded).init is None


def test_a_spectator_runs_a_program_as_users_of_its_own() -> None:
    program = {"init": ["/usr/bin/agent"]}
    section = context.parse({"spectator": True, **program}, Context(xid=100))
    assert section.spectator
    for given_, words in (
        ({"spectator": True}, "cannot boot"),
        ({"spectator": True, "user_namespace": False, **program}, "user namespace"),
    ):
        with pytest.raises(InvalidInput, match=words):
            context.parse(given_, Context(xid=100))
    with pytest.raises(InvalidInput, match="cannot boot"):
        context.parse({"init": ["auto"]}, section)
    assert not context.parse({"spectator": False, "init": ["auto"]}, section).spectator


def test_a_spectator_has_no_power_over_processes() -> None:
    watcher = Guest(
        "watcher", capabilities=Capabilities("system", ("CAP_SYS_RESOURCE",)), context=Context(spectator=True)
    )
    withheld = set(capabilities.kept(watcher.capabilities)) - set(capabilities.of(watcher))
    assert withheld == {"CAP_KILL", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE"}
    with pytest.raises(InvalidInput, match="CAP_SYS_RESOURCE"):
        capabilities.resolve(Site(), watcher, [], False)
