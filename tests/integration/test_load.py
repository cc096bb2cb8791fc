# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a load of known size did is what guest_info, ``vserver stat`` and ``metrics``, and playbook status tell."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import metrics, store, usage
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.usage import Sample

from . import templates
from .guests import SLEEP, Guests
from .links import link
from .test_accounting import ECHO, SEND
from .test_modules import ansible

M = 1 << 20
OWN, NEAR, FAR = "203.0.113.30/24", "203.0.113.1/24", "203.0.113.99"
#: Seconds of processor time; bytes written to disk and read again, sent and received, and held in memory.
BURNT, WRITTEN, SENT, HELD = 3.0, 24 * M, 16 * M, 64 * M
NEAR_ENOUGH = 0.05
NAME = "loaded"

#: Says what it has burnt with all it started, holds memory, and goes when its input ends.
LOAD = f"""
import os, subprocess, sys, time
def dd(*words):
    subprocess.run(["dd", "bs=256k", "count={WRITTEN // (256 << 10)}", "status=none", *words], check=True)
dd("if=/dev/zero", "of=/big", "oflag=direct")
dd("if=/big", "of=/dev/null", "iflag=direct")
subprocess.run(["python3", "-c", {SEND!r}, "{FAR}", "{SENT}"], check=True)
while sum(os.times()[:4]) < {BURNT}: pass
print(sum(os.times()[:4]), flush=True)
sys.stdin.readline()
held = bytearray({HELD})
held[::4096] = b"x" * len(held[::4096])
print("held", flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Did:
    """The guest before the load, after it, and while it held memory; what it says it has burnt."""

    site: Site
    before: Sample
    after: Sample
    holding: Sample
    burnt: float


@pytest.fixture(name="did", scope="module")
def loaded(debian_template: Path) -> Iterator[Did]:
    """A guest of this host's own site, for the playbook; the load is done, and its memory still held."""
    site = Site()
    store.prepare(site)
    with templates.provided(site, debian_template), link("vsload", NEAR) as made:
        made.far("ip", "address", "add", f"{FAR}/24", "dev", made.there)
        guests = Guests(site, templates.NAME)
        try:
            guests.start(NAME, addresses=[OWN], binding={"interface": "vsload"}, init=SLEEP, limits={"memory": "512M"})
            (before,) = usage.samples(site)
            far = ["nsenter", f"--net=/proc/{made.pid}/ns/net", "--", "python3", "-c", ECHO, FAR]
            load = guests.command(NAME, "python3", "-c", LOAD)
            with (
                subprocess.Popen(far, stdout=subprocess.PIPE) as served,
                subprocess.Popen(load, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running,
            ):
                try:
                    assert served.stdout and served.stdout.readline() == b"ready\n"
                    assert running.stdin and running.stdout
                    burnt = float(running.stdout.readline())
                    (after,) = usage.samples(site)
                    running.stdin.write("\n")
                    running.stdin.flush()
                    assert running.stdout.readline() == "held\n"
                    (holding,) = usage.samples(site)
                    yield Did(site, before, after, holding, burnt)
                finally:
                    served.terminate()
                    running.kill()
        finally:
            guests.remove_all()


def grown(did: Did, counter: str) -> float:
    return float(getattr(did.after.account, counter) - getattr(did.before.account, counter))


def passed_interface(did: Did, counter: str) -> int:
    before, after = did.before.account.network, did.after.account.network
    assert before is not None and after is not None
    return int(getattr(after["ipv4"], counter) - getattr(before["ipv4"], counter))


def anonymous(sample: Sample) -> int:
    assert sample.account.memory_anonymous_bytes is not None
    return sample.account.memory_anonymous_bytes


def test_the_counters_are_what_it_did(did: Did) -> None:
    told = {
        "processor seconds": (grown(did, "cpu_seconds"), did.burnt),
        "bytes written": (grown(did, "written_bytes"), WRITTEN),
        "bytes read": (grown(did, "read_bytes"), WRITTEN),
        "bytes sent": (passed_interface(did, "sent_bytes"), SENT),
        "bytes received": (passed_interface(did, "received_bytes"), SENT),
        "bytes held": (anonymous(did.holding) - anonymous(did.after), HELD),
    }
    for what, (counted, done) in told.items():
        print(f"{what}: {counted:.4g} counted, {done:.4g} done")
    # Programs are read from the disk as well, unless they are in the page cache.
    assert told["bytes read"][0] == pytest.approx(WRITTEN, rel=0.5) and told["bytes read"][0] >= WRITTEN
    del told["bytes read"]
    for what, (counted, done) in told.items():
        assert counted == pytest.approx(done, rel=NEAR_ENOUGH), what


def test_rates_are_what_it_did_in_the_time_it_took(did: Did) -> None:
    (row,) = usage.rates([did.before], [did.after])
    seconds = did.after.moment - did.before.moment
    for rate, done in (
        ("cpu_percent", 100 * did.burnt),
        ("written_bytes_per_second", WRITTEN),
        ("sent_bytes_per_second", SENT),
        ("received_bytes_per_second", SENT),
    ):
        assert row[rate] * seconds == pytest.approx(done, rel=NEAR_ENOUGH), rate


def test_info_and_metrics_say_the_same(did: Did) -> None:
    (told,) = usage.gathered(did.site, [NAME], ["usage"])
    said: dict[str, float] = {}
    for line in metrics.text(did.site).splitlines():
        if not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            said[key.removeprefix(metrics.PREFIX)] = float(value)
    for counter in ("cpu_seconds", "written_bytes", "read_bytes", "written_operations"):
        assert said[f'{counter}_total{{guest="{NAME}"}}'] == pytest.approx(told["usage"][counter], rel=NEAR_ENOUGH)
    sent = said[f'network_sent_bytes_total{{guest="{NAME}",family="ipv4",via="interface"}}']
    assert sent == told["usage"]["network"]["ipv4"]["sent_bytes"] == pytest.approx(SENT, rel=NEAR_ENOUGH)
    assert said[f'memory_anonymous_bytes{{guest="{NAME}"}}'] >= HELD
    assert said[f'memory_limit_bytes{{guest="{NAME}"}}'] == 512 * M
    assert sum(value for key, value in said.items() if key.startswith("processes_in_state")) == told["processes"]


def figure(text: str) -> float:
    """A size or a time as tables write it."""
    if ":" in text:
        minutes, seconds = text.split(":")
        return 60 * int(minutes) + int(seconds)
    number, unit = re.fullmatch(r"([0-9.]+)([BKMG])", text).groups()  # type: ignore[union-attr]
    return float(number) * 1024 ** "BKMG".index(unit)


def test_the_playbook_status_says_the_same(did: Did, tmp_path: Path) -> None:
    host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory: dict[str, Any] = {"vserver_hosts": {"hosts": {"here": host}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    said = ansible("linux.vserver.status", "--inventory", str(tmp_path / "inventory.json"))
    heading, row = (line.strip().strip('",') for line in said.splitlines() if "GUEST" in line or f" {NAME} " in line)
    places = {word: heading.index(word) + len(word) for word in ("CPU TIME", "MEMORY", "WRITTEN", "RECEIVED", "SENT")}
    cells = {word: row[:end].split()[-1] for word, end in places.items()}
    assert figure(cells["CPU TIME"]) == pytest.approx(did.burnt, abs=1.5)
    assert figure(cells["WRITTEN"]) == pytest.approx(WRITTEN, rel=0.1)
    for way in ("SENT", "RECEIVED"):
        assert figure(cells[way]) == pytest.approx(SENT, rel=0.1)
    assert figure(cells["MEMORY"]) > HELD
