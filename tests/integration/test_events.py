# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a guest is told: to who watches, to a hook, and to the host's journal."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import info, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.event import WORDS
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import journal
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import SLEEP, Guests, become, eventually
from .systemd_host import SystemdHost, booted, tiny_guest
from .test_guest_unit import POWER

HOG = "x = bytearray(80 << 20); x[::4096] = b'1' * len(x[::4096])"
FORKS = "import os\nfor _ in range(30):\n  try: os.fork() or os._exit(0)\n  except OSError: pass"
#: A process 1 that ends with the exit status in /end.
ENDS = ("/bin/sh", "-c", "while ! [ -s /end ]; do sleep 0.05; done; exit $(cat /end)")


@dataclass(frozen=True)
class Journal:
    """What stands where journald listens."""

    channel: socket.socket

    def entry(self, guest: str, patience: float = 20) -> dict[str, str]:
        """The next entry about a guest."""
        while True:
            assert select.select([self.channel], [], [], patience)[0], f"the journal was told nothing of {guest}"
            text = self.channel.recv(1 << 16).decode(errors="replace")
            entry = dict(line.partition("=")[::2] for line in text.splitlines())
            if entry.get("VSERVER_GUEST") == guest:
                return entry

    def told(self, guest: str) -> tuple[str, str]:
        """What the next entry about a guest tells."""
        entry = self.entry(guest)
        assert entry["MESSAGE"].startswith(f"guest {guest}: ") and entry["SYSLOG_IDENTIFIER"] == "vserver", entry
        return entry["VSERVER_EVENT"], entry["VSERVER_DETAIL"]


@contextlib.contextmanager
def journal_at(path: Path) -> Iterator[Journal]:
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        try:
            yield Journal(channel)
        finally:
            path.unlink()
            for parent in made:
                parent.rmdir()


@pytest.fixture(name="journald")
def fake_journald() -> Iterator[Journal]:
    """The machine that runs the tests has no journald; where it has, this is to be told by its journal instead."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, pytest.raises(OSError):
        client.connect(str(journal.SOCKET))
    journal.SOCKET.unlink(missing_ok=True)  # of a run that was killed
    with journal_at(journal.SOCKET) as made:
        yield made


class Watch:
    """``vserver events`` over this site's guests."""

    def __init__(self, site: Site, *words: str) -> None:
        package = lifecycle.__package__
        program = f"""
import sys
from pathlib import Path
from {package} import events
from {package}.cli import parser, watch
from {package}.site import Site
look = events.look
def first(site, before=None):
    events.look = look
    seen = look(site)
    print("ready", flush=True)
    return seen
events.look = first
asked = parser.parser("test", "events").parse_args(["events", "--interval", "0.05", *sys.argv[1:]])
watch.COMMANDS["events"](Site(Path({str(site.state)!r}), Path({str(site.run)!r}), {site.cgroup!r}), asked)
"""
        self._child = subprocess.Popen(
            [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    def line(self, patience: float = 30) -> str:
        """The next line, but for those of memory limits, which version 1 does not always count."""
        while True:
            said = self._line(patience)
            if "at its limit of memory" not in said:
                return said

    def _line(self, patience: float) -> str:
        assert self._child.stdout is not None
        assert select.select([self._child.stdout], [], [], patience)[0], "nothing is told"
        return self._child.stdout.readline().rstrip("\n")

    def end(self) -> str:
        """End it; what it had to complain about."""
        self._child.terminate()
        _stdout, stderr = self._child.communicate(timeout=20)
        return stderr


@contextlib.contextmanager
def watched(site: Site, *words: str) -> Iterator[Watch]:
    watch = Watch(site, *words)
    try:
        yield watch
    finally:
        watch.end()


def end_with(guests: Guests, name: str, status: int) -> None:
    guests.run(name, "sh", "-c", f"echo {status} >/end")


def test_events_are_told_and_a_hook_is_run(guests: Guests, site: Site, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n[ "$2" != frozen ]\n')
    hook.chmod(0o755)
    guests.start("killed", init=SLEEP, limits={"memory": "48M", "memory_swap": 0})
    guests.define("comes", init=SLEEP)
    watch = Watch(site, "--hook", str(hook))
    try:
        guests.exec("killed", "python3", "-c", HOG)
        assert watch.line() == "guest killed: 1 killed for want of memory"
        lifecycle.set_state(site, "comes", "started", {})
        assert watch.line() == "guest comes: started"
        lifecycle.set_state(site, "comes", "frozen", {})
        assert watch.line() == "guest comes: frozen"
        lifecycle.set_state(site, "comes", "started", {})
        assert watch.line() == "guest comes: thawed"
        lifecycle.set_state(site, "comes", "stopped", {"timeout": 0})
        assert watch.line() == "guest comes: stopped"
        told = ["killed out-of-memory 1 ", "comes started 1 ", "comes frozen 1 ", "comes thawed 1 ", "comes stopped 1 "]

        def lines() -> list[str]:
            return [line for line in (tmp_path / "told").read_text().splitlines() if "memory-max" not in line]

        eventually(lambda: lines() == told, "the hook was not run for all")
    finally:
        complaints = watch.end()
    assert complaints == f"vserver: warning: {hook} for guest comes: exit status 1\n"


def test_a_guest_that_ends_by_itself_is_told_how(guests: Guests, site: Site, journald: Journal) -> None:
    for name in ("fails", "leaves", "shot", "beaten"):
        guests.define(name, init=ENDS)
    with watched(site) as watch:
        for name, status, kind, words in (
            ("fails", 3, ("crashed", "exit status 3"), "its init ended unexpectedly, exit status 3"),
            ("leaves", 0, ("exited", ""), "its init ended"),
        ):
            lifecycle.set_state(site, name, "started", {})
            assert watch.line() == f"guest {name}: started"
            end_with(guests, name, status)
            assert watch.line() == f"guest {name}: {words}"
            assert journald.told(name) == kind
        pid = become(site, "shot")["pid"]
        assert watch.line() == "guest shot: started"
        os.kill(pid, signal.SIGKILL)
        assert watch.line() == "guest shot: its init ended unexpectedly, killed by SIGKILL"
        assert journald.told("shot") == ("crashed", "killed by SIGKILL")
        lifecycle.set_state(site, "beaten", "started", {})
        assert watch.line() == "guest beaten: started"
        lifecycle.kill(site, "beaten")
        assert watch.line() == "guest beaten: stopped, killed"
        assert journald.told("beaten") == ("stopped", "killed")


def test_a_guest_whose_supervisor_is_killed_too_just_ended(guests: Guests, site: Site) -> None:
    guests.start("unseen", init=SLEEP)
    pid = info.guest(site, "unseen")["pid"]
    with watched(site) as watch:
        for each in (int(guests.host_status(pid)["PPid"]), pid):
            os.kill(each, signal.SIGKILL)
        assert watch.line() == "guest unseen: ended"


@pytest.mark.parametrize(("command", "kind"), [("reboot", "rebooted"), ("poweroff", "powered-off")])
def test_an_order_from_inside_is_told(guests: Guests, site: Site, journald: Journal, command: str, kind: str) -> None:
    first = guests.start("orders")
    guests.wait_booted("orders")
    with watched(site) as watch:
        guests.run("orders", "systemctl", "--no-block", command)
        assert journald.told("orders") == (kind, "")
        assert watch.line() == f"guest orders: {WORDS[kind]}"
        if kind == "rebooted":
            eventually(lambda: info.guest(site, "orders")["pid"] not in (None, first["pid"]), "it did not boot again")
            assert watch.line() == "guest orders: started"


def test_limits_that_are_hit_are_told_to_the_journal(guests: Guests, site: Site, journald: Journal) -> None:
    guests.start("forks", init=SLEEP, limits={"processes": 8})
    guests.start("caches", init=SLEEP, limits={"memory": "48M"})
    guests.start("opens", init=SLEEP, limits={"sockets": 2})
    guests.start("wants", init=SLEEP, limits={"memory": "48M", "memory_swap": 0})
    with watched(site, "--journal"):
        guests.exec("forks", "python3", "-c", FORKS)
        entry = journald.entry("forks")
        assert entry["VSERVER_EVENT"] == "processes-refused"
        assert int(entry["VSERVER_COUNT"]) > 0 and entry["PRIORITY"] == "4"
        guests.exec("opens", "python3", "-c", "import socket\ns = [socket.socket() for _ in range(3)]")
        assert journald.told("opens") == ("sockets-refused", "")
        # What it writes stays in the page cache, at the limit, again and again: one entry.
        guests.run("caches", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=96")
        assert journald.told("caches") == ("memory-max", "")
        guests.exec("wants", "python3", "-c", HOG)
        assert journald.told("wants") == ("out-of-memory", "")
        lifecycle.set_state(site, "caches", "stopped", {"timeout": 0})
        assert journald.told("caches") == ("stopped", "")
        with pytest.raises(AssertionError, match="was told nothing of caches"):
            journald.entry("caches", patience=0.5)


def test_a_slow_hook_keeps_nobody_waiting(guests: Guests, site: Site, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 15\n")
    hook.chmod(0o755)
    guests.define("quick", init=SLEEP)
    with watched(site, "--hook", str(hook)) as watch:
        lifecycle.set_state(site, "quick", "started", {})
        assert watch.line() == "guest quick: started"
        began = time.monotonic()
        lifecycle.set_state(site, "quick", "stopped", {"timeout": 0})
        assert watch.line() == "guest quick: stopped"
        assert time.monotonic() - began < 10
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


NAME = "unit"
#: A process 1 that does what is in /do: reboot, poweroff, or end with an exit status.
OBEYS = """
while :; do
    if [ -s /do ]; then
        read -r what </do; rm /do
        case $what in [0-9]*) exit $what ;; *) /bin/power $what ;; esac
    fi
    sleep 0.05
done
"""


@pytest.fixture(name="host", scope="module")
def systemd_host(template_cache: Path) -> Iterator[SystemdHost]:
    """A host whose guests role host has watched over, with a hook."""
    place = template_cache.parent / f"events-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    with booted(place) as made:
        templates.tiny_tree(made.root / "srv/tree", ["sh", "sleep", "rm"])
        (made.root / "srv/power.c").write_text(POWER)
        made.run("cc", "-static", "-o", "/srv/tree/bin/power", "/srv/power.c")
        hook = made.root / "srv/hook"
        hook.write_text('#!/bin/sh\necho "$VSERVER_GUEST" "$2" "$3" "$4" >>/srv/hooked\n')
        hook.chmod(0o755)
        made.play(
            role("/srv/hook"),
            {"linux.vserver.template": {"name": "tiny", "method": "directory", "source": "/srv/tree"}},
            tiny_guest(NAME, init=["/bin/sh", "-c", OBEYS], timeout=0),
        )
        yield made


def role(hook: str | None) -> dict[str, object]:
    words = {"vserver_host_sysctls": {}, **({} if hook is None else {"vserver_host_event_hook": hook})}
    return {"ansible.builtin.include_role": {"name": "linux.vserver.host"}, "vars": words}


def test_a_unit_of_the_host_watches_and_ends_are_told_without_it(host: SystemdHost) -> None:
    hooked = host.root / "srv/hooked"
    assert host.run("systemctl", "is-enabled", "vserver-events") == "enabled"
    assert "changed=0 " in host.play(role("/srv/hook"))
    with journal_at(host.root / str(journal.SOCKET).lstrip("/")) as journald:
        host.run("vserver", "start", NAME)
        assert journald.told(NAME) == ("started", "")
        for order, kind in (("reboot", ("rebooted", "")), ("poweroff", ("powered-off", ""))):
            host.run("vserver", "exec", NAME, "--", "/bin/sh", "-c", f"echo {order} >/do")
            told = [journald.told(NAME), *([journald.told(NAME)] if order == "reboot" else [])]
            assert told == [kind, ("started", "")][: len(told)]
        host.run("vserver", "start", NAME)
        assert journald.told(NAME) == ("started", "")
        host.run("vserver", "exec", NAME, "--", "/bin/sh", "-c", "echo 9 >/do")
        assert journald.told(NAME) == ("crashed", "exit status 9")
        wanted = [
            "started 1 ",
            "rebooted 1 ",
            "started 1 ",
            "powered-off 1 ",
            "started 1 ",
            "crashed 1 exit status 9",
        ]
        eventually(
            lambda: hooked.read_text().splitlines() == [f"{NAME} {line}" for line in wanted], "the hook lacks one"
        )
        # Without a hook nothing watches, and ends are told by the unit's own steps.
        assert "changed=0 " not in host.play(role(None))
        assert host.exec("systemctl", "is-active", "vserver-events").stdout.strip() == "inactive"
        assert not (host.root / "etc/systemd/system/vserver-events.service").exists()
        assert "changed=0 " in host.play(role(None))
        host.run("vserver", "start", NAME)
        host.run("systemctl", "stop", f"vserver@{NAME}")
        assert journald.told(NAME) == ("stopped", "")
