# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated runtime configuration, and the layout of the control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import oci
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, mountinfo
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest, Limits


def config_of(guest: Guest) -> dict:  # type: ignore[type-arg]
    group = "vserver/web1/guest"
    hidden = ["/sys/kernel"]
    return oci.config(guest, Path("/r"), Path("/s"), group, ["CAP_CHOWN"], {"x": 1}, hidden, user=Path("/u"))


def test_a_guest_has_every_namespace_but_the_network() -> None:
    config = config_of(Guest("web1", context=Context(xid=100)))
    namespaces = {namespace["type"]: namespace.get("path") for namespace in config["linux"]["namespaces"]}
    assert namespaces == {**dict.fromkeys(("pid", "mount", "ipc", "uts", "cgroup")), "user": "/u"}
    mapping = [{"containerID": 0, "hostID": 100 << 16, "size": 65536}]
    assert config["linux"]["uidMappings"] == config["linux"]["gidMappings"] == mapping
    assert config["linux"]["seccomp"] == {"x": 1}
    assert config["hostname"] == "web1"


def test_no_capability_is_inherited_or_ambient() -> None:
    sets = config_of(Guest("web1", context=Context(xid=100)))["process"]["capabilities"]
    assert sets == {which: ["CAP_CHOWN"] for which in ("bounding", "effective", "permitted")}


def test_without_a_user_namespace_nothing_is_mapped() -> None:
    linux = config_of(Guest("web1", context=Context(xid=100, user_namespace=False)))["linux"]
    assert "user" not in {namespace["type"] for namespace in linux["namespaces"]} and "uidMappings" not in linux


def test_nothing_of_the_host_is_mounted_but_sysfs_read_only() -> None:
    mounts = config_of(Guest("web1", context=Context(xid=100)))["mounts"]
    binds = [mount for mount in mounts if "bind" in mount["options"]]
    assert [(mount["destination"], mount["source"]) for mount in binds] == [
        ("/sys", "/s"),
        ("/sys/kernel", "/s/fs/cgroup"),
    ]
    assert all("ro" in mount["options"] for mount in binds)
    assert all("nosuid" in mount["options"] for mount in mounts)


def test_rlimits_are_spelled_for_the_runtime() -> None:
    guest = Guest("web1", limits=Limits(rlimits={"nofile": (10, -1)}), context=Context(xid=100))
    assert config_of(guest)["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": (1 << 64) - 1}]


UNIFIED = "24 1 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "30 1 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "35 30 0:30 /elsewhere /mnt rw - cgroup cgroup rw,memory\n"
)


def test_layouts() -> None:
    unified = cgroup.layout_of(mountinfo.parse(UNIFIED), {"/sys/fs/cgroup": "cpu memory pids\n"})
    assert unified.mode == "unified"
    assert unified.controllers == dict.fromkeys(["cpu", "memory", "pids"], Path("/sys/fs/cgroup"))
    assert unified.tops == (Path("/sys/fs/cgroup"),)
    hybrid = cgroup.layout_of(mountinfo.parse(HYBRID), {"/sys/fs/cgroup/unified": "hugetlb\n"})
    assert hybrid.mode == "hybrid"
    assert hybrid.controllers == {
        "hugetlb": Path("/sys/fs/cgroup/unified"),
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory"),
    }
    assert len(hybrid.tops) == 4 and hybrid.named == (Path("/sys/fs/cgroup/systemd"),)
    legacy = cgroup.layout_of(mountinfo.parse(HYBRID.replace("cgroup2", "tmpfs")), {})
    assert legacy.mode == "legacy"
    with pytest.raises(OSError, match="no cgroup2"):
        assert legacy.tree


def test_a_spectator_has_the_hosts_processes_and_groups_read_only() -> None:
    guest = Guest("web1", context=Context(xid=100, init=("/a",), spectator=True))
    config = oci.config(guest, Path("/r"), Path("/s"), "vserver/web1/guest", [], None, seen=Path("/seen"))
    kinds = {namespace["type"] for namespace in config["linux"]["namespaces"]}
    assert kinds == {"mount", "ipc", "uts", "user"} and config["linux"]["uidMappings"]
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    for place, source in (("/proc", "/seen/proc"), ("/sys/fs/cgroup", "/seen/cgroup")):
        assert mounts[place]["source"] == source and {"bind", "ro", "nosuid"} <= set(mounts[place]["options"])
