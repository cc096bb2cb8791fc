# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's life with a real Debian in it: starting, what it sees, freezing, rebooting, stopping."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, oci, power, running, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind import attach as binding_attach
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import runtimes
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import capability, cgroup_processes
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog as template
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import spec as template_spec

from .guests import SLEEP, Guests, become, eventually

STEPS = ("check", "run", "run", "check")


def four_calls(act: Callable[[bool], Outcome]) -> list[bool]:
    """What ``act`` says of ``changed`` over check → run → run → check."""
    return [act(step == "check").changed for step in STEPS]


def test_a_debian_guest_boots_to_running_and_sees_only_itself(guests: Guests) -> None:
    guests.start("first", init=SLEEP)
    mounts_before = Path("/proc/self/mountinfo").read_text()
    guest = guests.start("debian", addresses=["127.0.81.1"])
    guests.wait_booted("debian")
    assert Path("/proc/self/mountinfo").read_text() == mounts_before, "the host's mount table grows with each guest"

    seen = guests.run("debian", "ps", "-e", "-o", "pid=,comm=").split("\n")
    commands = {line.split()[1] for line in seen if line.strip()}
    assert {"systemd", "systemd-journal"} <= commands
    assert not commands & {"pytest", "kthreadd"}, "processes of the host are visible"

    uid = int(guests.host_status(guest["pid"])["Uid"].split()[0])
    assert uid == guest["xid"] << 16, "the guest's root is not root on the host"
    assert guests.run("debian", "id", "-u") == "0"
    assert guests.run("debian", "hostname") == "debian"
    assert guests.run("debian", "systemctl", "--failed", "--no-legend") == ""
    assert guests.run("debian", "stat", "-c", "%U", "/etc/passwd", "/usr/bin/apt-get") == "root\nroot"


def test_writes_stay_in_the_guest(guests: Guests, site: Site) -> None:
    guests.start("writer", init=SLEEP)
    guests.start("reader", init=SLEEP)
    guests.run("writer", "sh", "-c", "echo mine > /etc/motd; chmod 4755 /bin/sh; rm /etc/issue")
    assert guests.run("writer", "cat", "/etc/motd") == "mine"
    assert guests.run("reader", "cat", "/etc/motd") != "mine"
    assert guests.run("reader", "test", "-e", "/etc/issue", "-a", "!", "-u", "/bin/sh") == ""
    template = guests.template_root()
    assert (template / "etc/issue").exists()
    assert (template / "etc/motd").read_text() != "mine\n"
    own = site.guest("writer") / "root/upper/etc/motd"
    assert own.stat().st_uid == 0, "ownership on disk is unshifted"
    assert site.state.stat().st_mode & 0o077 == 0, "a setuid file in a clone must be out of everybody's reach"


@pytest.mark.parametrize(("command", "state"), [("reboot", "running"), ("poweroff", "stopped")])
def test_an_order_from_inside(guests: Guests, site: Site, command: str, state: str) -> None:
    first = guests.start("inside", addresses=["127.0.82.1"])
    guests.wait_booted("inside")
    guests.run("inside", "systemctl", "--no-block", command)
    eventually(lambda: info.guest(site, "inside")["pid"] != first["pid"], f"the guest did not {command}")
    eventually(lambda: info.state(site, "inside") == state, f"the guest is not {state} after {command}")
    if state == "running":
        guests.wait_booted("inside")
        assert info.guest(site, "inside")["binding"]["programs"], "the rebooted guest is not bound"
    else:
        eventually(lambda: not guests.traces("inside"), "the guest left something on the host")


def test_a_reboot_brings_waiting_settings_into_force(guests: Guests, site: Site) -> None:
    first = guests.start("settings")
    guests.wait_booted("settings")
    outcome = lifecycle.configure(site, "settings", "capabilities", {"drop": ["sys_ptrace"]})
    assert outcome.changed and outcome.restart_required
    assert "CAP_SYS_PTRACE" in capability.bounding(first["pid"])
    assert not lifecycle.configure(site, "settings", "capabilities", {"drop": ["SYS_PTRACE"]}).changed
    guests.run("settings", "systemctl", "--no-block", "reboot")
    eventually(lambda: info.guest(site, "settings")["pid"] not in (None, first["pid"]), "the guest did not reboot")
    now = info.guest(site, "settings")
    assert "CAP_SYS_PTRACE" not in capability.bounding(now["pid"])
    assert not now["restart_required"]


def test_freezing_stops_the_clock_of_every_process(guests: Guests, site: Site) -> None:
    counter = ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; done"]
    guests.start("frozen", init=counter)
    count = site.guest("frozen") / "root/upper/count"
    eventually(count.exists, "the guest does not count")
    assert four_calls(lambda check: lifecycle.set_state(site, "frozen", "frozen", {}, check=check)) == [
        True,
        True,
        False,
        False,
    ]
    assert info.state(site, "frozen") == "frozen"
    before = count.read_text()
    time.sleep(0.3)
    assert count.read_text() == before, "a frozen guest went on"
    assert lifecycle.set_state(site, "frozen", "started", {}).after["state"] == "running"
    eventually(lambda: count.read_text() != before, "a thawed guest does not go on")
    lifecycle.set_state(site, "frozen", "frozen", {})
    lifecycle.set_state(site, "frozen", "stopped", {})
    assert not guests.traces("frozen")


@pytest.mark.parametrize("method", ["overlay", "copy"])
def test_states_in_four_calls(guests: Guests, site: Site, method: str) -> None:
    name = f"states-{method}"
    guests.define(name, init=SLEEP, method=method)
    changes = {
        state: four_calls(lambda check, state=state: lifecycle.set_state(site, name, state, {}, check=check))
        for state in ("present", "started", "frozen", "started", "stopped")
    }
    assert changes == {
        "present": [False] * 4,
        "started": [True, True, False, False],
        "frozen": [True, True, False, False],
        "stopped": [True, True, False, False],
    }
    pids = {become(site, name, "restarted")["pid"] for _turn in range(2)}
    assert len(pids) == 2 and None not in pids
    with pytest.raises(Conflict, match="Stop it first"):
        lifecycle.remove_root(site, name)
    assert "Stop it first" in lifecycle.remove_root(site, name, check=True).warnings[0]
    assert four_calls(lambda check: lifecycle.set_state(site, name, "absent", {}, check=check)) == [
        True,
        True,
        False,
        False,
    ]
    assert (site.guest(name) / "root").is_dir(), "absent took the guest's data"
    assert four_calls(lambda check: lifecycle.remove_root(site, name, check=check)) == [True, True, False, False]
    assert not site.guest(name).exists()
    assert not guests.traces(name)


def test_a_guest_that_is_only_a_name_is_forgotten(guests: Guests, site: Site) -> None:
    for forget in (
        lambda check: lifecycle.set_state(site, "ghost", "absent", {}, check=check),
        lambda check: lifecycle.remove_root(site, "ghost", check=check),
    ):
        assert lifecycle.set_state(site, "ghost", "stopped", {}).changed
        assert four_calls(forget) == [True, True, False, False]
        assert store.load(site, "ghost") is None


def test_a_setting_without_effect_is_a_change_of_the_record(guests: Guests, site: Site) -> None:
    guests.start("settled", init=SLEEP)
    add = {"add": ["CHOWN"]}  # in the profile already
    outcomes = [lifecycle.configure(site, "settled", "capabilities", add) for _turn in range(2)]
    assert [outcome.changed for outcome in outcomes] == [True, False]
    assert not outcomes[0].restart_required


def test_stopping_is_orderly_and_then_firm(guests: Guests, site: Site) -> None:
    polite = ["/bin/bash", "-c", "trap 'echo bye > /bye; exit' TERM; while :; do sleep 0.05; done"]
    stubborn = ["/bin/bash", "-c", "trap 'echo no > /no' TERM; while :; do sleep 0.05; done"]
    guests.start("polite", init=polite)
    guests.start("stubborn", init=stubborn, timeout=1)
    guests.start("deaf", init=SLEEP, timeout=30)
    time.sleep(0.3)  # until the shells have set their traps
    for name, least, most in (("polite", 0, 15), ("stubborn", 1, 15), ("deaf", 0, 15)):
        pids = cgroup_processes.ids(guests.group(name))
        begun = time.monotonic()
        lifecycle.set_state(site, name, "stopped", {})
        assert least <= time.monotonic() - begun < most
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "processes survived"
        assert not guests.traces(name)
    assert (site.guest("polite") / "root/upper/bye").read_text() == "bye\n"
    assert (site.guest("stubborn") / "root/upper/no").read_text() == "no\n"


def test_systemd_gets_its_own_order(guests: Guests, site: Site) -> None:
    """It reads SIGRTMIN+3 from a descriptor, not with a handler."""
    guests.start("orderly", timeout=25)
    guests.wait_booted("orderly")
    begun = time.monotonic()
    lifecycle.set_state(site, "orderly", "stopped", {})
    assert time.monotonic() - begun < 20, "systemd did not power off by itself"
    assert not guests.traces("orderly")


def test_the_hosts_null_device_stays_the_hosts(guests: Guests, site: Site) -> None:
    """A runtime may give standard input away to the guest's root, who could then change its mode for the whole host."""
    guests.start("input", init=SLEEP)
    runtimes.runtimes(site)
    null = os.stat(os.devnull)
    assert (null.st_uid, null.st_gid, null.st_mode & 0o777) == (0, 0, 0o666)


def test_a_guest_has_few_file_systems_of_its_own_and_sees_nothing_of_the_kernels(guests: Guests) -> None:
    """With each of them grows what the end of any guest costs the kernel (memcg_reparent_list_lrus)."""
    guests.start("mounts", init=SLEEP)
    hosts = {line.split()[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    mounts = [line.split() for line in guests.run("mounts", "cat", "/proc/self/mountinfo").splitlines()]
    own: dict[str, str] = {}
    for _id, _parent, device, _root, point, *_rest in mounts:
        if device not in hosts:
            own.setdefault(device, point)
    masked = [path for path in oci.MASKED if os.path.isdir(path)]
    assert sorted(own.values()) == sorted(
        ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/run", *masked]
    )
    hidden = [path for path in (*oci.HIDDEN, "/sys/fs/bpf", "/sys/fs/pstore", *masked) if os.path.isdir(path)]
    assert len(hidden) > 2
    assert guests.run("mounts", "find", *hidden, "-mindepth", "1") == ""


def test_what_guests_hold_is_spread_over_the_disk_where_it_can_be(tmp_path: Path) -> None:
    image, place = tmp_path / "image", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    for kind, source in (("ext4", ["-o", "loop", str(image)]), ("tmpfs", ["tmpfs"])):
        subprocess.run(["mount", "-t", kind, *source, str(place)], check=True)
        try:
            site = Site(place / "state", tmp_path / kind)
            store.prepare(site)
            store.prepare(site)
            flags = subprocess.run(["lsattr", "-d", site.guests], check=False, capture_output=True, text=True).stdout
            assert ("T" in flags.split()[0]) is (kind == "ext4")
        finally:
            subprocess.run(["umount", str(place)], check=True)


def test_a_fork_bomb_at_stop_time_dies_as_a_whole(guests: Guests, site: Site) -> None:
    bomb = ["/bin/bash", "-c", "trap '' TERM; f() { f | f & }; f; while :; do sleep 1; done"]
    guests.start("bomb", init=bomb, timeout=0, limits={"processes": 200, "memory": "256M"})
    eventually(lambda: len(cgroup_processes.ids(guests.group("bomb"))) > 50, "the bomb did not go off")
    begun = time.monotonic()
    lifecycle.set_state(site, "bomb", "stopped", {})
    assert time.monotonic() - begun < 10
    assert not guests.traces("bomb")


def test_an_init_that_ends_leaves_nothing(guests: Guests, site: Site) -> None:
    guests.define("brief", init=["/bin/false"])
    with contextlib.suppress(VserverError):  # "its init ended at once", if it has by the time we look
        lifecycle.set_state(site, "brief", "started", {})
    eventually(lambda: not guests.traces("brief"), "the guest left something on the host")
    assert info.state(site, "brief") == "stopped"


def test_an_init_that_does_not_exist_is_an_error(guests: Guests, site: Site) -> None:
    guests.define("brief", init=["/no/such/init"])
    with pytest.raises(VserverError, match="(?i)no such file"):
        lifecycle.set_state(site, "brief", "started", {})
    assert not guests.traces("brief")


def test_limits_are_live_and_read_back(guests: Guests, site: Site) -> None:
    guests.start("limited", init=SLEEP)

    def set_limits(check: bool) -> Outcome:
        options = {"memory": "64M", "cpus": 0.5, "processes": 20, "rlimits": {"nofile": {"soft": 50, "hard": 60}}}
        return lifecycle.configure(site, "limited", "limits", options, check=check)

    assert four_calls(set_limits) == [True, True, False, False]
    pid = info.guest(site, "limited")["pid"]
    assert "Max open files            50                   60" in Path(f"/proc/{pid}/limits").read_text()
    eaten = guests.exec("limited", "python3", "-c", "a = b'x' * (200 << 20); print('no limit')")
    assert eaten.returncode == -signal.SIGKILL or eaten.returncode == 128 + signal.SIGKILL, eaten
    # Last: what it leaves are zombies that this init does not reap, and crun has to fork in the cgroup for an exec.
    forks = "import os\nn = 0\ntry:\n  while os.fork(): n += 1\nexcept OSError: print(n)"
    assert 0 < int(guests.run("limited", "python3", "-c", forks)) < 20
    lifted = {"memory": "max", "cpus": "max", "processes": "max"}
    outcome = lifecycle.configure(site, "limited", "limits", lifted)
    assert outcome.changed
    assert guests.run("limited", "python3", "-c", "a = b'x' * (200 << 20); print('no limit')") == "no limit"
    assert not lifecycle.configure(site, "limited", "limits", lifted).changed


@pytest.mark.parametrize("profile", ["system", "classic", "none"])
def test_capabilities_are_what_the_profile_says(guests: Guests, site: Site, profile: str) -> None:
    from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import capabilities

    name = f"caps-{profile}"
    guests.define(name, init=SLEEP)
    lifecycle.configure(site, name, "capabilities", {"profile": profile, "add": ["net_raw"], "drop": ["CAP_CHOWN"]})
    guest = become(site, name)
    expected = {f"CAP_{short}" for short in capabilities.PROFILES[profile]} | {"CAP_NET_RAW"}
    assert set(guest["capabilities"]["bounding"]) == expected - {"CAP_CHOWN"}
    status = guests.host_status(guest["pid"])
    assert status["CapInh"] == status["CapAmb"] == "0" * 16


def test_addresses_come_and_go_with_the_guest(guests: Guests, site: Site) -> None:
    def on_host() -> str:
        return subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout

    subprocess.run(["ip", "address", "add", "198.51.100.7/32", "dev", "lo"], check=True)
    try:
        guests.define("addressed", init=SLEEP, addresses=["198.51.100.7", "198.51.100.8", "2001:db8:51::8"])
        assert "198.51.100.8" not in on_host()
        lifecycle.set_state(site, "addressed", "started", {})
        assert "198.51.100.8/32" in on_host() and "2001:db8:51::8/128" in on_host()
        changed = lifecycle.configure(site, "addressed", "binding", {"addresses": ["198.51.100.7", "198.51.100.9"]})
        assert changed.changed and not changed.restart_required
        assert "198.51.100.9/32" in on_host() and "198.51.100.8/" not in on_host()
        lifecycle.set_state(site, "addressed", "stopped", {})
        left = on_host()
        assert "198.51.100.7/32" in left, "an address that was there before the guest was taken away"
        assert "198.51.100.9" not in left and "2001:db8:51::8" not in left
    finally:
        subprocess.run(["ip", "address", "del", "198.51.100.7/32", "dev", "lo"], check=True)


def test_a_shared_address_goes_with_the_last_that_has_it(guests: Guests, site: Site) -> None:
    """Each port is whose listener came first, also when it listens on "any" and the address is its second."""
    shared = "198.51.100.30"
    server = "import http.server as s; s.HTTPServer(('', {}), s.SimpleHTTPRequestHandler).serve_forever()"

    def on_host() -> bool:
        listed = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout
        return f" {shared}/32 " in listed

    guests.define("sharer1", init=["/usr/bin/python3", "-c", server.format(8001)], addresses=["127.0.87.1", shared])
    with pytest.raises(Conflict, match="shared: true"):
        lifecycle.configure(site, "sharer2", "binding", {"addresses": [shared]})
    with pytest.raises(Conflict, match="guest sharer1"):
        lifecycle.configure(site, "sharer2", "binding", {"addresses": [shared], "shared": True})
    lifecycle.set_state(site, "sharer1", "started", {})
    assert lifecycle.configure(site, "sharer1", "binding", {"shared": True}).after == {"shared": True}
    guests.define("sharer2", init=["/usr/bin/python3", "-c", server.format(8002)], addresses=["127.0.87.2"])
    lifecycle.configure(site, "sharer2", "binding", {"addresses": ["127.0.87.2", shared], "shared": True})
    lifecycle.set_state(site, "sharer2", "started", {})
    for port in (8001, 8002):
        eventually(lambda: guests.fetch(f"http://{shared}:{port}/"), f"nobody answers on port {port}")  # noqa: B023
    with pytest.raises(Conflict, match="guest sharer2"):
        lifecycle.configure(site, "sharer1", "binding", {"shared": False})
    lifecycle.set_state(site, "sharer1", "stopped", {"timeout": 0})
    assert on_host() and guests.fetch(f"http://{shared}:8002/") and not guests.fetch(f"http://{shared}:8001/")
    lifecycle.configure(site, "sharer2", "binding", {"addresses": ["127.0.87.2"]})
    assert not on_host()


@pytest.mark.parametrize(
    ("options", "program"),
    [
        ({"multicast": True}, "s.sendto(b'', ('224.0.0.251', 5353))"),
        ({"multicast": True}, "s.setsockopt(1, 6, 1) or s.sendto(b'', ('255.255.255.255', 9))"),
        ({"loopback": "host"}, "s.connect(('127.0.0.1', 9)) or exec('assert s.getsockname()[0] == \"127.0.0.1\"')"),
    ],
)
def test_what_a_guest_may_on_request(guests: Guests, site: Site, options: dict[str, Any], program: str) -> None:
    """Refused, allowed on the running guest, and refused again."""
    guests.start("asking", init=SLEEP, addresses=["198.51.100.31"], binding={"loopback": "none"})

    def may() -> bool:
        source = f"import socket; s = socket.socket(2, 2); {program}"
        return guests.exec("asking", "/usr/bin/python3", "-c", source).returncode == 0

    before = {"multicast": False, "loopback": "none"}
    for asked, allowed in ((before, False), (options, True), (before, False)):
        outcome = lifecycle.configure(site, "asking", "binding", asked)
        assert not outcome.restart_required and not lifecycle.configure(site, "asking", "binding", asked).changed
        assert may() is allowed, (options, program)


def test_one_page_port_80_two_guests(guests: Guests, site: Site) -> None:
    """Both guests serve port 80 of their own address, and neither the other's nor the host's."""
    server = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=80, bind='{}')"
    for number, name in enumerate(("page1", "page2"), 1):
        guests.start(name, init=["/usr/bin/python3", "-c", server.format("0.0.0.0")], addresses=[f"127.0.83.{number}"])
        guests.run(name, "sh", "-c", f"echo this is {name} > /index.html")
    for number, name in enumerate(("page1", "page2"), 1):
        eventually(lambda n=number: guests.fetch(f"http://127.0.83.{n}/index.html"), f"{name} does not answer")
        assert guests.fetch(f"http://127.0.83.{number}/index.html") == f"this is {name}\n"
    assert guests.fetch("http://127.0.0.1/index.html") is None
    probe = "import socket; s = socket.socket(); s.bind(('{}', 8080))"
    assert guests.exec("page1", "python3", "-c", probe.format("127.0.83.1")).returncode == 0
    assert guests.exec("page1", "python3", "-c", probe.format("198.51.100.99")).returncode != 0


def test_a_stock_nginx_answers_on_every_address(guests: Guests) -> None:
    """Debian's own configuration: a wildcard for IPv4, and one for IPv6 only."""
    addresses = ["127.0.85.1", "198.51.100.80", "2001:db8:85::1"]
    guests.start("nginx", addresses=addresses)
    guests.wait_booted("nginx")
    for url in ("http://127.0.85.1/", "http://198.51.100.80/", "http://[2001:db8:85::1]/"):
        assert "nginx" in (guests.fetch(url) or ""), url
        assert "nginx" in guests.run("nginx", "python3", "-c", FETCH, url)
    assert "nginx" in guests.run("nginx", "python3", "-c", FETCH, "http://localhost/")
    assert guests.fetch("http://127.0.0.1/") is None and guests.fetch("http://[::1]/") is None


FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"


@pytest.mark.parametrize(
    ("facet", "options", "words"),
    [
        ("root", {"template": "no-such"}, "does not exist"),
        ("root", {"template": "../x"}, "not valid"),
        ("root", {"template": "debian", "method": "magic"}, "unknown"),
        ("binding", {"addresses": ["192.0.2.300"]}, "cannot be parsed"),
        ("binding", {"addresses": ["224.0.0.1"]}, "cannot belong"),
        ("binding", {"addresses": ["127.0.0.1"]}, "cannot belong"),
        ("binding", {"addresses": ["::ffff:192.0.2.1"]}, "cannot belong"),
        ("binding", {"addresses": ["192.0.2.1", "192.0.2.1/24"]}, "given twice"),
        ("binding", {"interface": "a/b"}, "not valid"),
        ("binding", {"network": "bridge"}, "unknown"),
        ("capabilities", {"add": ["SYS_ADMON"]}, "Did you mean CAP_SYS_ADMIN"),
        ("capabilities", {"add": ["CHOWN"], "drop": ["cap_chown"]}, "both added and dropped"),
        ("capabilities", {"profile": "all"}, "unknown"),
        ("limits", {"memory": "lots"}, "not a size"),
        ("limits", {"memory": "1K"}, "too small"),
        ("limits", {"cpus": -1}, "not a number"),
        ("limits", {"processes": 0}, "too small"),
        ("limits", {"rlimits": {"nofiles": 3}}, "unknown"),
        ("limits", {"rlimits": {"nofile": {"soft": 9, "hard": 3}}}, "above hard"),
        ("context", {"xid": 1}, "out of range"),
        ("context", {"xid": 32768}, "out of range"),
        ("context", {"hostname": "a b"}, "not valid"),
        ("context", {"hostname": "a" * 65}, "not valid"),
        ("context", {"init": ["sleep"]}, "absolute path"),
        ("context", {"init": []}, "absolute path"),
        ("context", {"timeout": -1}, "out of range"),
    ],
)
def test_bad_input_is_refused_before_anything_changes(
    guests: Guests, site: Site, facet: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        lifecycle.configure(site, "bad", facet, options)
    assert not (site.guests / "bad" / "guest.json").exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "a\nb", "x" * 300, "-x", "a..b", "ä", "a b", ".locks"])
def test_bad_names_are_refused(site: Site, name: str) -> None:
    before = sorted(os.listdir(site.guests))
    for act in (
        lambda: lifecycle.configure(site, name, "context", {}),
        lambda: lifecycle.set_state(site, name, "started", {}),
        lambda: lifecycle.remove_root(site, name),
    ):
        with pytest.raises(InvalidInput, match="not valid"):
            act()
    assert sorted(os.listdir(site.guests)) == before


def test_what_another_guest_has_is_refused(guests: Guests, site: Site) -> None:
    guests.define("first", addresses=["198.51.100.20"], xid=777)
    with pytest.raises(Conflict, match="guest first has it"):
        lifecycle.set_state(site, "second", "present", {"xid": 777})
    for address in ("198.51.100.20", "127.3.9.1"):  # 127.3.9.1 is the private loopback address of xid 777
        with pytest.raises(Conflict, match="guest first"):
            lifecycle.configure(site, "second", "binding", {"addresses": [address]})
    assert store.load(site, "second") is None
    with pytest.raises(Conflict, match="its data stay"):
        lifecycle.configure(site, "first", "root", {"template": "debian", "method": "copy"})


def test_a_damaged_record_is_an_error_and_stays(guests: Guests, site: Site) -> None:
    guests.define("damaged", init=SLEEP)
    record = site.guest("damaged") / "guest.json"
    good = record.read_text()
    for text, words in (("{", "not JSON"), ('{"format": 99}', "format 99"), ('{"format": 1}', "damaged")):
        record.write_text(text)
        with pytest.raises(VserverError, match=words):
            lifecycle.set_state(site, "damaged", "started", {})
        assert record.read_text() == text
    record.write_text(good)
    assert lifecycle.set_state(site, "damaged", "started", {}).changed


def test_state_of_a_former_boot_is_no_running_guest(guests: Guests, site: Site) -> None:
    """A pid that somebody else has now is told apart by its start time."""
    guests.start("former", init=SLEEP)
    state = Path(running.state_file(site, "former"))
    lifecycle.set_state(site, "former", "stopped", {})
    stale = f'{{"pid": {os.getpid()}, "start": 1, "runtime": "x", "started_at": "x", "guest": '
    state.write_text(stale + (site.guest("former") / "guest.json").read_text() + "}")
    assert info.state(site, "former") == "stopped"
    assert lifecycle.set_state(site, "former", "started", {}).changed


def test_check_mode_touches_nothing_on_a_new_host(tmp_path: Path) -> None:
    fresh = Site(tmp_path / "state", tmp_path / "run", "vserver-fresh")
    steps = [
        lambda: lifecycle.configure(fresh, "new", "root", {"template": "not-yet"}, check=True),
        lambda: lifecycle.configure(fresh, "new", "binding", {"addresses": ["198.51.100.60"]}, check=True),
        lambda: lifecycle.configure(fresh, "new", "capabilities", {}, check=True),
        lambda: lifecycle.configure(fresh, "new", "limits", {"memory": "64M"}, check=True),
        lambda: lifecycle.set_state(fresh, "new", "started", {}, check=True),
    ]
    assert all(step().changed for step in steps)
    assert not os.listdir(tmp_path)


def test_what_changes_live_and_what_waits_for_a_restart(guests: Guests, site: Site) -> None:
    first = guests.start("settings", init=SLEEP)
    live = lifecycle.set_state(site, "settings", "present", {"hostname": "renamed.example", "timeout": 1})
    assert live.changed and not live.restart_required
    assert guests.run("settings", "hostname") == "renamed.example"
    waiting = lifecycle.set_state(site, "settings", "present", {"init": ["/bin/sleep", "1000"]})
    assert waiting.changed and waiting.restart_required
    assert info.guest(site, "settings")["pid"] == first["pid"], "a guest was restarted unasked"
    again = lifecycle.set_state(site, "settings", "present", {"init": ["/bin/sleep", "1000"]})
    assert not again.changed and again.restart_required == waiting.restart_required
    assert lifecycle.configure(site, "settings", "limits", {}, restart=True, check=True).changed
    assert info.guest(site, "settings")["pid"] == first["pid"]
    asked = lifecycle.configure(site, "settings", "limits", {}, restart=True)
    assert asked.changed and not asked.restart_required
    assert info.guest(site, "settings")["pid"] not in (None, first["pid"])
    assert not lifecycle.configure(site, "settings", "limits", {}, restart=True).changed


def test_the_explicit_ways_out(guests: Guests, site: Site) -> None:
    guests.define("open", init=SLEEP, user_namespace=False)
    lifecycle.configure(site, "open", "binding", {"network": "host"})
    guest = become(site, "open")
    assert guests.host_status(guest["pid"])["Uid"].split()[0] == "0"
    assert guest["binding"]["programs"] == []
    assert guests.run("open", "cat", "/proc/self/uid_map").split() == ["0", "0", str(2**32 - 1)]
    for network in ("bound", "host"):
        assert lifecycle.configure(site, "open", "binding", {"network": network}).changed
        assert bool(info.guest(site, "open")["binding"]["programs"]) is (network == "bound")


def test_programs_that_somebody_took_away_are_put_back(guests: Guests, site: Site) -> None:
    guests.start("stripped", init=SLEEP, addresses=["127.0.84.1"])
    binding_attach.detach(guests.group("stripped").parent)
    assert info.guest(site, "stripped")["binding"]["programs"] == []
    outcome = lifecycle.configure(site, "stripped", "binding", {})
    assert outcome.changed and outcome.before == {"network": "host"}
    assert info.guest(site, "stripped")["binding"]["programs"]


def test_an_address_that_somebody_took_away_is_put_back(guests: Guests, site: Site) -> None:
    """A network manager that restarts takes off what it has not put there."""
    guests.start("robbed", init=SLEEP, addresses=["198.51.100.90", "127.0.86.1"])
    subprocess.run(["ip", "address", "del", "198.51.100.90/32", "dev", "lo"], check=True)
    outcome = lifecycle.configure(site, "robbed", "binding", {})
    assert outcome.changed and outcome.before == {"addresses": ("127.0.86.1/32",)}
    listed = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout
    assert "198.51.100.90/32" in listed
    assert not lifecycle.configure(site, "robbed", "binding", {}).changed


def test_a_full_disk_and_a_read_only_one(guests: Guests, tmp_path: Path) -> None:
    """No half-made clone, no damaged record; a clear error."""
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", state], check=True)
    try:
        small = Site(state, tmp_path / "run", "vserver-small")
        tree = state / "tree"
        (tree / "bin").mkdir(parents=True)
        (tree / "bin/data").write_bytes(b"x" * 400_000)
        template.ensure(small, template_spec.parse({"name": "tiny", "method": "directory", "source": str(tree)}))
        shutil.rmtree(tree)
        lifecycle.configure(small, "one", "root", {"template": "tiny", "method": "copy"})
        with pytest.raises(VserverError, match="No space left on device"):
            lifecycle.configure(small, "two", "root", {"template": "tiny", "method": "copy"})
        assert not (small.guest("two") / "root").exists()
        (state / "filler").write_bytes(b"")
        with contextlib.suppress(OSError), (state / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        before = (small.guest("one") / "guest.json").read_text()
        with pytest.raises(VserverError, match="No space left on device"):
            lifecycle.configure(small, "one", "limits", {"memory": "64M"})
        assert (small.guest("one") / "guest.json").read_text() == before
        (state / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", state], check=True)
        with pytest.raises(VserverError, match="Read-only file system"):
            lifecycle.configure(small, "one", "limits", {"memory": "64M"})
        subprocess.run(["mount", "-o", "remount,rw", state], check=True)
        assert lifecycle.configure(small, "one", "limits", {"memory": "64M"}).changed
    finally:
        subprocess.run(["umount", state], check=True)


def test_an_xid_in_use_is_taken_even_when_no_record_has_it(guests: Guests, site: Site) -> None:
    """A running guest keeps its uid range until it restarts, whatever its record says by then."""
    guests.start("keeper", init=SLEEP, xid=801)
    assert lifecycle.set_state(site, "keeper", "present", {"xid": 802}).restart_required
    guests.define("taker", init=SLEEP)
    for xid in (801, 802):
        with pytest.raises(Conflict, match="guest keeper has it"):
            lifecycle.set_state(site, "taker", "present", {"xid": xid})
    lifecycle.set_state(site, "keeper", "restarted", {})
    assert lifecycle.set_state(site, "taker", "present", {"xid": 801}).changed


def test_an_address_moves_to_another_interface(guests: Guests, site: Site) -> None:
    def where(address: str) -> list[str]:
        listed = subprocess.run(
            ["ip", "-o", "address", "show", "to", address], capture_output=True, text=True, check=True
        )
        return [line.split()[1] for line in listed.stdout.splitlines()]

    subprocess.run(["ip", "link", "add", "vstest0", "type", "veth", "peer", "name", "vstest1"], check=True)
    try:
        guests.start("mover", init=SLEEP, addresses=["198.51.100.70"])
        assert where("198.51.100.70") == ["lo"]
        moved = lifecycle.configure(site, "mover", "binding", {"interface": "vstest0"})
        assert moved.changed and not moved.restart_required
        assert where("198.51.100.70") == ["vstest0"]
        assert not lifecycle.configure(site, "mover", "binding", {"interface": "vstest0"}).changed
        with pytest.raises(VserverError, match="no such interface"):
            lifecycle.configure(site, "mover", "binding", {"interface": "nowhere0"})
        lifecycle.set_state(site, "mover", "stopped", {})
        assert where("198.51.100.70") == []
    finally:
        subprocess.run(["ip", "link", "del", "vstest0"], check=True)


def test_an_rlimit_that_is_lifted_waits_for_a_restart(guests: Guests, site: Site) -> None:
    guests.start("lifted", init=SLEEP, limits={"rlimits": {"nofile": 77}})
    outcome = lifecycle.configure(site, "lifted", "limits", {"rlimits": {}})
    assert outcome.changed and outcome.restart_required
    now = become(site, "lifted", "restarted")
    assert not now["restart_required"]
    assert " 77 " not in Path(f"/proc/{now['pid']}/limits").read_text()


def test_a_guest_that_ends_during_a_call_waits_for_no_restart(
    guests: Guests, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = guests.start("brief", init=SLEEP)["pid"]

    def end(*_arguments: object) -> None:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: running.read(site, "brief") is None, "it does not end")

    monkeypatch.setattr(power, "become", end)
    outcome = lifecycle.configure(site, "brief", "capabilities", {"drop": ["kill"]})
    assert outcome.changed and not outcome.restart_required
