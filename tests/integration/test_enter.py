# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who enters a guest is confined as its own processes are, and behaves as a command run here would."""

from __future__ import annotations

import errno
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle, running
from ansible_collections.linux.vserver.plugins.module_utils._engine.facets import capabilities
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import (
    cgroup,
    cgroup_place,
    cgroup_processes,
    landlock,
    process,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel.syscall import prctl
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, become, eventually

#: A process of its own that does what a command line does: site, options, guest, command.
PROGRAM = """
import json, signal, sys
from pathlib import Path
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore them
from ansible_collections.linux.vserver.plugins.module_utils._engine import enter
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.joiner import Way
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
state, run, cgroup, options, name, *argv = sys.argv[1:]
try:
    sys.exit(enter.run(Site(Path(state), Path(run), cgroup), name, argv, Way(**json.loads(options))))
except VserverError as error:
    sys.exit(f"refused: {error}")
"""


def words(site: Site, name: str, *argv: str, options: str = "{}") -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(site.state), str(site.run), site.cgroup, options, name, *argv]


def started(site: Site, name: str, *argv: str, options: str = "{}") -> subprocess.Popen[bytes]:
    """The command, begun, with pipes for its standard streams."""
    pipe = subprocess.PIPE
    return subprocess.Popen(words(site, name, *argv, options=options), stdin=pipe, stdout=pipe, stderr=pipe)


def entered(site: Site, name: str, *argv: str, text: bytes = b"", options: str = "{}") -> tuple[int, bytes, bytes]:
    """Status, output and errors of a command that was given ``text``."""
    child = started(site, name, *argv, options=options)
    output, errors = child.communicate(text, timeout=60)
    return child.returncode, output, errors


@pytest.fixture
def guest(guests: Guests) -> Iterator[Guests]:
    guests.start("inside", init=SLEEP, addresses=["127.0.92.2"])
    yield guests


# --- confinement -----------------------------------------------------------------------------------------------------

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
SAME = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Uid", "Gid")


@pytest.mark.parametrize("user_namespace", [True, False])
@pytest.mark.parametrize("profile", ["system", "classic", "none"])
def test_it_is_confined_as_process_1_is(guests: Guests, site: Site, profile: str, user_namespace: bool) -> None:
    guests.define("inside", init=SLEEP, user_namespace=user_namespace)
    lifecycle.configure(site, "inside", "capabilities", {"profile": profile})
    lifecycle.configure(site, "inside", "limits", {"rlimits": {"nofile": {"soft": 100, "hard": 200}}})
    pid = become(site, "inside")["pid"]
    result = guests.run("inside", "sh", "-c", "cat /proc/self/status; ulimit -Sn; ulimit -Hn; umask; pwd")
    *lines, soft, hard, umask, directory = result.splitlines()
    status = {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}
    expected = guests.host_status(pid)
    expected |= {"Uid": "\t".join("0000"), "Gid": "\t".join("0000")}
    assert {key: status[key] for key in SAME} == {key: expected[key] for key in SAME}
    assert status["Groups"] == ""
    assert (soft, hard, umask, directory) == ("100", "200", "0022", "/")
    assert guests.run("inside", "readlink", *(f"/proc/self/ns/{kind}" for kind in KINDS)).splitlines() == [
        os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS
    ]


def test_another_user_has_no_capability(guest: Guests, site: Site) -> None:
    script = "id -u; id -g; id -G; grep Cap /proc/self/status; echo $HOME"
    status, output, errors = entered(site, "inside", "sh", "-c", script, options='{"uid": 1000, "gid": 100}')
    assert status == 0, errors
    uid, gid, groups, *sets, home = output.decode().splitlines()
    assert (uid, gid, groups, home) == ("1000", "100", "100", "/")
    held = {line.split()[0]: int(line.split()[1], 16) for line in sets}
    bounding = held.pop("CapBnd:")
    assert bounding and not any(held.values())


@pytest.mark.parametrize("options", ['{"uid": 65536}', '{"gid": -1}'])
def test_an_id_that_no_guest_has_is_refused(guest: Guests, site: Site, options: str) -> None:
    status, output, errors = entered(site, "inside", "true", options=options)
    assert status == 1 and not output
    assert b"does not exist in a guest" in errors


def test_it_is_in_the_guests_group_of_every_hierarchy(guest: Guests, site: Site) -> None:
    child = started(site, "inside", "cat")
    try:
        assert child.stdin
        layout = cgroup.layout()
        groups = [running.group(site, "inside"), *(top / site.guest_cgroup("inside") for top in layout.v1)]
        for group in groups:
            eventually(lambda group=group: len(cgroup_processes.ids(group)) == 2, f"{group} lacks the command")
    finally:
        child.communicate(timeout=60)
    assert child.returncode == 0


def test_it_joins_process_1_where_the_guests_own_group_holds_none(guests: Guests) -> None:
    """A systemd in the guest has moved to a group below."""
    guests.start("booted", addresses=["127.0.92.3"])
    guests.wait_booted("booted")
    now = running.read(guests.site, "booted")
    assert now is not None
    inside = guests.run("booted", "grep", "^0::", "/proc/self/cgroup")
    assert cgroup_place.of_process(now.pid).endswith("/guest" + inside.removeprefix("0::").rstrip("/"))


def test_only_standard_streams_come_along(guest: Guests) -> None:
    assert set(guest.run("inside", "sh", "-c", "echo /proc/self/fd/*").split()) <= {
        f"/proc/self/fd/{number}"
        for number in (0, 1, 2, 3)  # 3: the shell's own look
    }
    names = {line.split("=")[0] for line in guest.run("inside", "env").splitlines()}
    assert names == {"PATH", "container", "LANG", "HOME"}


def test_its_sockets_are_bound(guest: Guests) -> None:
    """An address that nobody has: the host may bind to it when it insists (IP_FREEBIND), a guest may not."""
    freebind = 15
    script = (
        f"import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_IP, {freebind}, 1)\n"
        "try: s.bind(('198.51.100.9', 80)); print('bound')\n"
        "except OSError as error: print(error.errno)"
    )
    with socket.socket() as hosts:
        hosts.setsockopt(socket.SOL_IP, freebind, 1)
        hosts.bind(("198.51.100.9", 80))
    assert guest.run("inside", "python3", "-c", script) == str(errno.EADDRNOTAVAIL)


@pytest.mark.skipif(landlock.abi() < landlock.ABI_WITH_SCOPES, reason="scopes of Landlock came with Linux 6.12")
def test_abstract_sockets_of_host_and_guest_are_out_of_reach(guests: Guests) -> None:
    server = (
        "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + 'vserver-guest'); s.listen()\n"
        "open('/ready', 'w'); time.sleep(1000)"
    )
    client = (
        "import socket, sys\n"
        "for name in sys.argv[1:]:\n"
        "  s = socket.socket(socket.AF_UNIX)\n"
        "  try: s.connect(chr(0) + name); print('connected')\n"
        "  except OSError as error: print(error.errno)\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + 'vserver-own'); s.listen()\n"
        "socket.socket(socket.AF_UNIX).connect(chr(0) + 'vserver-own'); print('own')"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0vserver-host")
        listener.listen()
        guests.start("inside", init=["/usr/bin/python3", "-c", server])
        eventually(lambda: guests.exec("inside", "test", "-e", "/ready").returncode == 0, "the guest is not ready")
        answers = guests.run("inside", "python3", "-c", client, "vserver-host", "vserver-guest").split()
    assert answers == [str(errno.EPERM), str(errno.EPERM), "own"]


@pytest.mark.parametrize("hidden", [True, False])
def test_the_guests_root_cannot_look_into_who_enters(
    guest: Guests, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    """Until it executes its command, which is held up here for long enough to be found by a root that waits for it.

    Not hidden, it would be seen, so this root looks in the right place.
    """
    if not hidden:
        monkeypatch.setattr(process, "hide", lambda: prctl("show the process", 4, 1))  # PR_SET_DUMPABLE
    watch = (
        "import os, time\n"
        "def attempt(path, act):\n"
        "  try: return 'open ' + repr(act(path))[:200]\n"
        "  except OSError as error: return error.errno\n"
        "old = set(os.listdir('/proc')); open('/watching', 'w'); found = set()\n"
        "while not found: found = {pid for pid in set(os.listdir('/proc')) - old if pid.isdigit()}\n"
        "time.sleep(0.2)\n"
        "print(time.monotonic())\n"
        "for pid in found:\n"
        "  for name in ('environ', 'mem', 'maps'): print(attempt(f'/proc/{pid}/{name}', lambda p: open(p).read(1)))\n"
        "  for name in ('fd', 'map_files'): print(attempt(f'/proc/{pid}/{name}', os.listdir))\n"
        "  for name in ('exe', 'cwd', 'root', 'ns/net'): print(attempt(f'/proc/{pid}/{name}', os.readlink))\n"
    )
    watcher = started(guest.site, "inside", "python3", "-c", watch)
    ready = guest.site.guest("inside") / "root/upper/watching"
    eventually(ready.exists, "the watcher does not run")

    def late(*arguments: Any) -> None:
        time.sleep(1)
        os.write(1, str(time.monotonic()).encode())
        os._exit(0)

    with monkeypatch.context() as held:
        held.setattr(os, "execve", late)
        executed = float(guest.run("inside", "true"))
    output, errors = watcher.communicate(timeout=60)
    looked, *answers = output.decode().splitlines()
    assert watcher.returncode == 0, errors
    assert float(looked) < executed
    assert len(answers) == 9
    assert (set(answers) <= {str(errno.EACCES), str(errno.EPERM)}) == hidden, answers


def test_names_are_looked_up_in_the_guest_only(guest: Guests, site: Site, tmp_path: Path) -> None:
    """A program that the host alone has is not found; the guest's of the same name as a host's is what runs."""
    mine = tmp_path / "only-the-host"
    mine.write_text("#!/bin/sh\necho host\n")
    mine.chmod(0o755)
    for name in (str(mine), mine.name):
        status, output, errors = entered(site, "inside", name)
        assert (status, output) == (127, b""), errors
        assert errors == f"{name}: command not found\n".encode()
    plant = "printf '#!/bin/sh\\necho guest\\n' > /usr/local/sbin/true; chmod 755 /usr/local/sbin/true"
    guest.run("inside", "sh", "-c", plant)
    assert guest.run("inside", "true") == "guest"


@pytest.mark.parametrize("what", ["ln -s /etc/passwd /dev/pts/ptmx", "mkfifo /dev/pts/ptmx", "echo > /dev/pts/ptmx"])
def test_a_planted_terminal_is_refused(guest: Guests, site: Site, what: str) -> None:
    guest.run("inside", "sh", "-c", f"mount -t tmpfs none /dev/pts; {what}")
    status, output, errors = entered(site, "inside", "true", options='{"tty": true}')
    assert status == 1 and not output
    assert b"refused: enter guest inside: " in errors


# --- behaviour -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_exit_statuses(guest: Guests, script: str, status: int) -> None:
    assert guest.exec("inside", "sh", "-c", script).returncode == status


def test_what_cannot_be_executed_is_told(guest: Guests, site: Site) -> None:
    assert entered(site, "inside", "no-such-command") == (127, b"", b"no-such-command: command not found\n")
    assert entered(site, "inside", "/etc/passwd") == (126, b"", b"/etc/passwd: Permission denied\n")
    assert b"cannot be executed" in entered(site, "inside")[2]


def test_streams_carry_any_bytes(guest: Guests, site: Site) -> None:
    data = bytes(range(256)) * 5000
    assert entered(site, "inside", "cat", text=data) == (0, data, b"")
    status, output, errors = entered(site, "inside", "sh", "-c", "cat >&2", text=data)
    assert (status, output, errors) == (0, b"", data)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH])
def test_signals_are_passed_on(guest: Guests, site: Site, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    child = started(
        site, "inside", "sh", "-c", f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    )
    assert child.stdout and child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    output, _errors = child.communicate(timeout=60)
    assert (child.returncode, output) == (7, b"got\n")


def test_a_signal_ends_what_does_not_handle_it(guest: Guests, site: Site) -> None:
    child = started(site, "inside", "sh", "-c", "echo ready; exec sleep 1000")
    assert child.stdout and child.stdout.readline() == b"ready\n"
    child.terminate()
    child.communicate(timeout=60)
    assert child.returncode == 143


def on_terminal(argv: list[str], typed: bytes = b"", rows: int = 31) -> tuple[int, bytes]:
    """Run a command on a new terminal, as its operator; returns its status and what the terminal showed."""
    import fcntl
    import struct
    import termios

    child, master = pty.fork()
    if child == 0:
        os.execv(argv[0], argv)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 97, 0, 0))
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        shown += data
        if typed and b"type" in shown:
            os.write(master, typed)
            typed = b""
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


def test_a_terminal_is_the_guests_own(guest: Guests, site: Site) -> None:
    script = 'tty; stty size; echo $TERM; tty -s </dev/tty && echo type; read line; echo "got $line"; exit 5'
    status, shown = on_terminal(words(site, "inside", "sh", "-c", script, options='{"tty": true}'), typed=b"abc\r")
    lines = shown.decode().replace("\r", "").splitlines()
    assert status == 5, shown
    assert lines[0] == "/dev/pts/0", shown
    assert lines[1] == "31 97"
    assert lines[-1] == "got abc"


def test_without_a_terminal_the_operators_own_does_not_go_along(guest: Guests, site: Site) -> None:
    script = 'for fd in 0 1 2; do test -t $fd && echo terminal $fd; done; echo type; read line; echo "got $line"'
    status, shown = on_terminal(words(site, "inside", "sh", "-c", script), typed=b"abc\r")
    assert status == 0, shown
    assert b"got abc" in shown and b"terminal" not in shown


def test_control_c_reaches_the_command_on_its_terminal(guest: Guests, site: Site) -> None:
    script = "trap 'echo got; exit 9' INT; echo type; while :; do sleep 0.05; done"
    status, shown = on_terminal(words(site, "inside", "sh", "-c", script, options='{"tty": true}'), typed=b"\x03")
    assert status == 9 and b"got" in shown


def test_a_terminal_for_who_has_none(guest: Guests, site: Site) -> None:
    status, output, errors = entered(site, "inside", "sh", text=b"tty; exit 4\n", options='{"tty": true}')
    assert status == 4, errors
    assert b"/dev/pts/0" in output


# --- guests that are not as they should be ---------------------------------------------------------------------------


def test_a_guest_that_does_not_run(guests: Guests, site: Site) -> None:
    guests.define("inside", init=SLEEP)
    status, _output, errors = entered(site, "inside", "true")
    assert (status, errors) == (1, b"refused: guest inside does not run. Start it first.\n")


def test_a_frozen_guest(guest: Guests, site: Site) -> None:
    lifecycle.set_state(site, "inside", "frozen", {})
    status, _output, errors = entered(site, "inside", "true")
    assert status == 1
    assert b"guest inside is frozen" in errors
    lifecycle.set_state(site, "inside", "started", {})
    assert guest.exec("inside", "true").returncode == 0


def test_a_guest_that_stops_ends_what_entered(guest: Guests, site: Site) -> None:
    child = started(site, "inside", "sh", "-c", "echo ready; exec sleep 1000")
    assert child.stdout and child.stdout.readline() == b"ready\n"
    lifecycle.set_state(site, "inside", "stopped", {"timeout": 0})
    child.communicate(timeout=60)
    assert child.returncode in (143, 137)  # it is asked first; without waiting, in this case


def test_a_signal_before_the_command_runs(guest: Guests, site: Site) -> None:
    """Whenever it comes, nothing is left running, and the status is the signal's."""
    for delay in range(0, 100, 10):
        child = started(site, "inside", "sleep", "1000")
        time.sleep(0.05 + delay / 1000)
        child.terminate()
        child.communicate(timeout=60)
        assert child.returncode in (143, -signal.SIGTERM)  # the latter while Python starts
    eventually(lambda: len(cgroup_processes.ids(guest.group("inside"))) == 1, "a command is left in the guest")


def test_a_guest_that_stops_meanwhile(guest: Guests, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 ends after it was found, and before its namespaces are joined."""
    from ansible_collections.linux.vserver.plugins.module_utils._engine import caller, enter
    from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError

    def stopping(stack: Any, entry: Any, tty: bool) -> int:
        lifecycle.set_state(site, "inside", "stopped", {"timeout": 0})
        return real(stack, entry, tty)

    real = caller._run
    monkeypatch.setattr(caller, "_run", stopping)
    with pytest.raises(VserverError, match="enter guest inside: it has stopped meanwhile"):
        enter.run(site, "inside", ["true"])


def test_a_guest_at_its_limit_of_processes(guest: Guests, site: Site) -> None:
    lifecycle.configure(site, "inside", "limits", {"processes": 1})
    status, _output, errors = entered(site, "inside", "true")
    assert status == 1
    assert b"refused: enter guest inside: " in errors


def test_the_profile_in_force_counts(guest: Guests, site: Site) -> None:
    """Capabilities that wait for a restart are not given to who enters."""
    lifecycle.configure(site, "inside", "capabilities", {"profile": "none"})
    held = int(guest.run("inside", "sed", "-n", "s/^CapBnd:\\t//p", "/proc/self/status"), 16)
    assert bin(held).count("1") == len(capabilities.PROFILES["system"])
