# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several runs at once: for the same guest, and for many."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.chbind import steering
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests


def at_once(acts: Sequence[Callable[[], object]]) -> list[int]:
    """Run each act in a process of its own, all released at the same moment; returns their exit codes.

    An act that returns False, or raises, exits with 1.
    """
    gate_read, gate_write = os.pipe()
    children = []
    for act in acts:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(gate_write)
                os.read(gate_read, 1)
                code = 1 if act() is False else 0
            finally:
                os._exit(code)
        children.append(child)
    os.close(gate_read)
    os.close(gate_write)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_two_starts_of_one_guest(guests: Guests, site: Site) -> None:
    guests.define("twice", init=SLEEP)
    changed = at_once([lambda: lifecycle.set_state(site, "twice", "started", {}).changed] * 4)
    assert sorted(changed) == [0, 1, 1, 1], "one run starts it, the others find it running"
    assert info.guest(site, "twice")["processes"] == 1


def test_start_and_stop_of_one_guest(guests: Guests, site: Site) -> None:
    guests.define("both", init=SLEEP)
    orders = ["started", "stopped", "restarted", "frozen"] * 3
    acts = [lambda state=state: lifecycle.set_state(site, "both", state, {}) for state in orders]
    assert at_once(acts) == [0] * len(acts)
    lifecycle.set_state(site, "both", "stopped", {})
    assert not guests.traces("both")


def test_the_first_starts_of_a_host_share_what_is_steered_by(tmp_path: Path) -> None:
    """As after a reboot, when no bpf file system is mounted yet."""
    top = tmp_path / "bpf"
    top.mkdir()

    def first() -> None:
        with steering.opened(top / "steering"):
            pass

    try:
        assert at_once([first] * 8) == [0] * 8
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert mounted.count(str(top)) == 1
    finally:
        while subprocess.run(["umount", str(top)], capture_output=True, check=False).returncode == 0:
            pass


def test_twenty_guests_come_to_be(guests: Guests, site: Site) -> None:
    names = [f"many{number}" for number in range(20)]

    def make(name: str) -> None:
        lifecycle.configure(site, name, "root", {"template": "debian"})
        lifecycle.set_state(site, name, "started", {"init": list(SLEEP)})

    guests.made += names
    assert at_once([lambda name=name: make(name) for name in names]) == [0] * len(names)
    found = info.guests(site, names)
    assert [guest["state"] for guest in found] == ["running"] * len(names)
    assert len({guest["xid"] for guest in found}) == len(names), "two guests have the same xid"
    acts = [lambda name=name: lifecycle.set_state(site, name, "absent", {"timeout": 0}) for name in names]
    assert at_once(acts) == [0] * len(names)


def test_one_address_goes_to_one_guest(guests: Guests, site: Site) -> None:
    names = [f"rival{number}" for number in range(6)]
    guests.made += names
    options = {"addresses": ["198.51.100.40"]}
    codes = at_once([lambda name=name: lifecycle.configure(site, name, "binding", options) for name in names])
    assert sorted(codes) == [0, 1, 1, 1, 1, 1]
    assert [guest.name for guest in store.load_all(site).guests if guest.binding.addresses] == [names[codes.index(0)]]
