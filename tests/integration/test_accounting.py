# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a guest's use is what the load in it did."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle, metrics, running, usage
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.limits import devices
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually
from .links import link

M = 1 << 20
SPIN = "import time\nwhile time.process_time() < 1: pass\nprint(time.process_time())"
#: Holds sockets and memory until it is told to end.
HOLD = """
import signal, socket, sys
held = bytearray(16 << 20)
held[::4096] = b"x" * len(held[::4096])
sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_DGRAM)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
sockets[0].listen()
print("held", flush=True)
signal.pause()
"""


def used(site: Site, name: str) -> dict[str, Any]:
    (guest,) = usage.gathered(site, [name], ["usage"])
    assert "disk_bytes" not in guest
    found: dict[str, Any] = guest["usage"]
    return found


def test_processor_time_and_throttling(guests: Guests, site: Site) -> None:
    # The weight, so that it does come to its limit on a busy machine.
    guests.start("counts", init=SLEEP, limits={"cpus": 0.3, "cpu_weight": 10_000})
    before = used(site, "counts")
    spent = float(guests.run("counts", "python3", "-c", SPIN))
    after = used(site, "counts")
    assert spent <= after["cpu_seconds"] - before["cpu_seconds"] < spent + 1
    assert after["cpu_user_seconds"] + after["cpu_system_seconds"] == pytest.approx(after["cpu_seconds"], abs=0.1)
    assert after["throttled_seconds"] > before["throttled_seconds"] and after["throttled_periods"] > 0
    assert after["cpu_periods"] >= after["throttled_periods"]
    assert after["uptime_seconds"] > before["uptime_seconds"] > 0


def test_memory_and_sockets(guests: Guests, site: Site) -> None:
    # A connection that has ended, and which the kernel keeps for a minute, is nobody's.
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        listener.accept()[0].close()
    guests.start("holds", init=SLEEP, limits={"memory": "64M", "memory_swap": 0})
    before = used(site, "holds")
    assert before["sockets"] == 0 and before["oom_kills"] == 0
    with subprocess.Popen(guests.command("holds", "python3", "-c", HOLD), stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            after = used(site, "holds")
        finally:
            holder.send_signal(signal.SIGTERM)
    assert 16 * M <= after["memory_anonymous_bytes"] - before["memory_anonymous_bytes"] < 48 * M
    assert after["memory_bytes"] >= after["memory_anonymous_bytes"]
    assert after["sockets"] == 3
    assert after["processes"] >= 2 and sum(after["process_states"].values()) == after["processes"]
    guests.exec("holds", "python3", "-c", "x = bytearray(100 << 20); x[::4096] = b'1' * len(x[::4096])")
    full = used(site, "holds")
    assert full["oom_kills"] == 1 and full["memory_max_events"] != 0
    assert full["memory_peak_bytes"] is None or 60 * M < full["memory_peak_bytes"] <= 64 * M


def test_disks_and_processes(guests: Guests, site: Site) -> None:
    guests.start("moves", init=SLEEP, limits={"processes": 10})
    before = used(site, "moves")
    guests.run("moves", "dd", "if=/dev/zero", "of=/big", "bs=256k", "count=8", "oflag=direct")
    guests.run("moves", "dd", "if=/big", "of=/dev/null", "bs=256k", "count=4", "iflag=direct")
    forks = "import os\nfor _ in range(30):\n  try: os.fork() or os._exit(0)\n  except OSError: pass"
    guests.exec("moves", "python3", "-c", forks)
    after = used(site, "moves")
    assert 2 * M <= after["written_bytes"] - before["written_bytes"] < 4 * M
    assert M <= after["read_bytes"] - before["read_bytes"] < 64 * M  # programs are read, too
    assert after["processes_refused"] > before["processes_refused"]


@pytest.mark.skipif(cgroup.layout().mode == "unified", reason="version 2 always counts")
def test_version_1_counts_on_a_disk_that_never_had_a_limit(guests: Guests, site: Site, tmp_path: Path) -> None:
    image, place = tmp_path / "image", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * M)
    guests.start("counts", init=SLEEP)
    io = running.controllers(site, "counts")["io"]
    write = f"echo $$ >{io.path}/cgroup.procs; dd if=/dev/zero of={place}/big bs=256k count=8 oflag=direct"
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        devices.count(io, place)
        before = used(site, "counts")
        subprocess.run(["sh", "-c", write], check=True, capture_output=True)
        assert used(site, "counts")["written_bytes"] - before["written_bytes"] >= 2 * M
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_rates_and_metrics_tell_the_same(guests: Guests, site: Site) -> None:
    guests.start("rates", init=SLEEP)
    guests.define("still", init=SLEEP)
    before = usage.samples(site, ["rates"])
    guests.run("rates", "dd", "if=/dev/zero", "of=/big", "bs=256k", "count=8", "oflag=direct")
    (row,) = usage.rates(before, usage.samples(site, ["rates"]))
    assert row["written_bytes_per_second"] > 0 and row["cpu_percent"] > 0
    said = dict(line.rsplit(" ", 1) for line in metrics.text(site).splitlines() if not line.startswith("#"))
    assert said['vserver_guest_running{guest="rates"}'] == "1"
    assert said['vserver_guest_running{guest="still"}'] == "0"
    assert int(said['vserver_guest_written_bytes_total{guest="rates"}']) >= 2 * M
    assert float(said['vserver_guest_cpu_seconds_total{guest="rates"}']) >= row["cpu_seconds"]
    assert 'vserver_guest_cpu_seconds_total{guest="still"}' not in said


def test_a_guest_that_waits_for_a_processor_has_pressure(guests: Guests, site: Site) -> None:
    guests.start("presses", init=SLEEP, limits={"cpus": 0.1})
    guests.exec("presses", "timeout", "1", "sh", "-c", "while :; do :; done")
    told = used(site, "presses")
    if not (cgroup.layout().tree / "cpu.pressure").exists() and not (guests.group("presses") / "cpu.pressure").exists():
        assert told["pressure"] is None and "psi=1" in told["not_counted"]["pressure"]
        return
    assert told["pressure"]["cpu"]["some"]["total_seconds"] > 0.1
    assert {"avg10", "avg60", "avg300"} < set(told["pressure"]["io"]["full"])
    assert "pressure" not in told["not_counted"]
    eventually(lambda: used(site, "presses")["pressure"]["cpu"]["some"]["avg10"] > 0, "no pressure is told")


#: Takes one connection, reads all of it, and answers as much.
ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], 7000), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as own:
    print("ready", flush=True)
    taken, _address = own.accept()
    size = 0
    while data := taken.recv(1 << 16):
        size += len(data)
    taken.sendall(bytes(size))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000)) as made:
    made.sendall(bytes(int(sys.argv[2])))
    made.shutdown(socket.SHUT_WR)
    size = 0
    while data := made.recv(1 << 16):
        size += len(data)
assert size == int(sys.argv[2])
"""
SIZE = 8 * M


def exchange(guests: Guests, name: str, address: str, server: Sequence[str]) -> None:
    """Have a guest send and receive SIZE bytes; what serves at ``address`` is run by the words ``server``."""
    with subprocess.Popen([*server, "python3", "-c", ECHO, address], stdout=subprocess.PIPE) as served:
        try:
            assert served.stdout is not None and served.stdout.readline() == b"ready\n"
            guests.run(name, "python3", "-c", SEND, address, str(SIZE))
        finally:
            served.terminate()


@pytest.mark.parametrize(
    ("family", "own", "near", "far"),
    [
        ("ipv4", "203.0.113.10/24", "203.0.113.1/24", "203.0.113.99"),
        ("ipv6", "fd00:7::10/64", "fd00:7::1/64", "fd00:7::99"),
    ],
)
def test_bytes_that_a_guest_exchanges_are_counted(
    guests: Guests, site: Site, family: str, own: str, near: str, far: str
) -> None:
    with link("vsacct", near) as made:
        made.far("ip", "address", "add", f"{far}/{near.partition('/')[2]}", "dev", made.there, *["nodad"][: ":" in far])
        guests.start("talks", addresses=[own], binding={"interface": "vsacct"}, init=SLEEP)
        before = used(site, "talks")["network"]
        exchange(guests, "talks", far, ["nsenter", f"--net=/proc/{made.pid}/ns/net", "--"])
        after = used(site, "talks")["network"]
        for counter in ("received_bytes", "sent_bytes"):
            assert after[family][counter] - before[family][counter] == pytest.approx(SIZE * 1.01, rel=0.05)
        for counter in ("received_packets", "sent_packets"):
            assert SIZE / 1500 < after[family][counter] - before[family][counter] < SIZE / 500
        assert {**after, family: None} == {**before, family: None}
        # An address more changes the binding, not what has been counted.
        more = [own, "203.0.113.11/24" if family == "ipv4" else "fd00:7::11/64"]
        assert lifecycle.configure(site, "talks", "binding", {"addresses": more}).changed
        again = used(site, "talks")["network"]
        assert again == after
        exchange(guests, "talks", far, ["nsenter", f"--net=/proc/{made.pid}/ns/net", "--"])
        total = used(site, "talks")["network"][family]["sent_bytes"] - before[family]["sent_bytes"]
        assert total == pytest.approx(2 * SIZE * 1.01, rel=0.05)
        said = dict(line.rsplit(" ", 1) for line in metrics.text(site).splitlines() if not line.startswith("#"))
        key = f'vserver_guest_network_sent_bytes_total{{guest="talks",family="{family}",via="interface"}}'
        assert int(said[key]) >= total
        lifecycle.set_state(site, "talks", "restarted", {"timeout": 0})
        assert used(site, "talks")["network"][family]["sent_bytes"] < SIZE
        lifecycle.set_state(site, "talks", "absent", {"timeout": 0})


def test_what_stays_on_the_host_is_counted_apart(guests: Guests, site: Site) -> None:
    guests.start("inward", addresses=["203.0.113.20/32"], init=SLEEP)
    exchange(guests, "inward", "203.0.113.20", guests.command("inward"))
    told = used(site, "inward")["network"]
    assert told["ipv4"] == dict.fromkeys(told["ipv4"], 0)
    for counter in ("received_bytes", "sent_bytes"):  # each byte goes out of one socket and into the other, both ways
        assert told["local_ipv4"][counter] == pytest.approx(2 * SIZE, rel=0.05)


def test_of_a_guest_with_the_network_of_the_host_nothing_is_counted(guests: Guests, site: Site) -> None:
    guests.start("open", binding={"network": "host"}, init=SLEEP)
    told = used(site, "open")
    assert told["network"] is None and "network: host" in told["not_counted"]["network"]


def test_what_a_guest_used_ends_with_it(guests: Guests, site: Site) -> None:
    guests.start("ends", init=SLEEP)
    guests.run("ends", "python3", "-c", SPIN)
    assert used(site, "ends")["cpu_seconds"] > 0.9
    lifecycle.set_state(site, "ends", "stopped", {"timeout": 0})
    assert usage.gathered(site, ["ends"], ["usage"])[0]["usage"] is None
    lifecycle.set_state(site, "ends", "started", {})
    time.sleep(0.1)
    assert used(site, "ends")["cpu_seconds"] < 0.9
