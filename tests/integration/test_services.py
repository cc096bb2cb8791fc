# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the host locked to its addresses: any cgroup here, units on a host that systemd runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import lifecycle, service, service_target, services
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, InvalidInput
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, cgroup_processes
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from .guests import SLEEP, Guests, eventually
from .systemd_host import SystemdHost, booted

#: Addresses of the host: the service's, and one that it shall leave to others.
OWN, OWN6, OTHER, LATE = "192.0.2.91", "2001:db8::91", "192.0.2.92", "192.0.2.93"
PORT = 8091
#: Listens on any address, and tells each client which one it has reached. With an argument: takes systemd's socket.
SERVER = f"""
import socket, sys
if sys.argv[1:] == ["activated"]:
    listening = socket.socket(fileno=3)
else:
    listening = socket.create_server(("", {PORT}))
while True:
    client, _peer = listening.accept()
    client.sendall(client.getsockname()[0].encode())
    client.close()
"""


@pytest.fixture(scope="module")
def addresses() -> Iterator[None]:
    """Addresses of the host, on its loopback interface."""
    held = (f"{OWN}/32", f"{OTHER}/32", f"{OWN6}/128")
    for text in held:
        subprocess.run(["ip", "address", "add", text, "dev", "lo"], check=True)
    yield
    for text in held:
        subprocess.run(["ip", "address", "del", text, "dev", "lo"], check=True)


def reached(address: str, port: int = PORT) -> str | None:
    """The address that the service says it was reached at, or None when it was not."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2) as client:
        return client.recv(100).decode() or None
    return None


def is_free(address: str, port: int = PORT) -> bool:
    """Whether somebody else could listen there."""
    with contextlib.suppress(OSError), socket.create_server((address, port)):
        return True
    return False


# ---- any cgroup


class Jobs:
    """A cgroup of the host with a server in it."""

    def __init__(self) -> None:
        self.name = "vserver-tests-jobs/one"
        self.path = cgroup.create(cgroup.layout(), self.name)
        self.server: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        """Start the server anew."""
        self.end()
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], preexec_fn=lambda: (self.path / "cgroup.procs").write_text("0")
        )
        eventually(lambda: reached(OWN), "the server does not listen")

    def end(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.server = None

    def remove(self) -> None:
        self.end()
        cgroup_processes.kill(self.path, 5)
        cgroup.remove(cgroup.layout(), self.name.partition("/")[0])


@pytest.fixture
def jobs(addresses: None, site: Site) -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.remove()
    service.forget(site, "cgroup", made.name)


def four_calls(site: Site, target: tuple[str, str], options: dict[str, Any] | None) -> Outcome:
    """Check, run, run, check; returns the outcome of the first run."""
    call = services.absent if options is None else services.configure
    arguments = (site, *target) if options is None else (site, *target, options)
    foretold = call(*arguments, check=True)
    made = call(*arguments)
    again, last = call(*arguments), call(*arguments, check=True)
    assert [outcome.changed for outcome in (foretold, made, again, last)] == [True, True, False, False]
    assert (foretold.before, foretold.after) == (made.before, made.after)
    return made


def test_a_cgroup_is_locked_and_released(site: Site, jobs: Jobs) -> None:
    jobs.serve()
    assert reached(OTHER) == OTHER and not is_free(OTHER)
    target = service_target.of_cgroup(site, str(jobs.path))
    assert target == service_target.of_cgroup(site, jobs.name) == ("cgroup", jobs.name)
    made = four_calls(site, target, {"addresses": [OWN, OWN6]})
    assert made.after["addresses"] == [f"{OWN}/32", f"{OWN6}/128"] and made.before["in_force"] is False
    assert made.subject["cgroup"] == jobs.name and "INET4_BIND" in made.subject["programs"]
    # The server's socket is still on "any": it no longer hears what is not its own, and yet holds the port.
    assert made.restart_required == (f"{jobs.name} listens on 0.0.0.0:{PORT}/tcp since before it was bound",)
    assert reached(OWN) == OWN and reached(OTHER) is None and not is_free(OTHER)
    jobs.serve()
    assert services.configure(site, *target, {}).restart_required == ()
    assert reached(OWN) == OWN and reached("127.0.0.1") and reached(OTHER) is None and is_free(OTHER)

    made = four_calls(site, target, {"loopback": "none"})
    assert made.before == {"loopback": "host", "in_force": False} and made.after == {
        "loopback": "none",
        "in_force": True,
    }
    assert reached(OWN) == OWN and reached("127.0.0.1") is None
    made = four_calls(site, target, {"addresses": [OTHER]})
    assert "loopback" not in made.after and reached(OWN) is None

    made = four_calls(site, target, None)
    assert made.before["addresses"] == [f"{OTHER}/32"]
    jobs.serve()
    assert reached(OWN) == OWN and reached(OTHER) == OTHER and reached("127.0.0.1")


def test_programs_that_went_astray_come_back(site: Site, jobs: Jobs) -> None:
    target = ("cgroup", jobs.name)
    services.configure(site, *target, {"addresses": [OWN]})
    jobs.remove()
    jobs.path = cgroup.create(cgroup.layout(), jobs.name)
    made = four_calls(site, target, {"addresses": [OWN]})
    assert made.before == {"in_force": False} and made.after == {"in_force": True}


def test_a_guest_and_a_service_never_have_one_address_unless_both_say_so(
    site: Site, jobs: Jobs, guests: Guests
) -> None:
    target = ("cgroup", jobs.name)
    guests.define("rival", addresses=[OWN], init=SLEEP)
    with pytest.raises(Conflict, match="guest rival"):
        services.configure(site, *target, {"addresses": [OTHER, OWN]})
    with pytest.raises(Conflict, match="guest rival"):
        services.configure(site, *target, {"addresses": [OWN], "shared": True})
    services.configure(site, *target, {"addresses": [OTHER]})
    for check in (True, False):
        with pytest.raises(Conflict, match="cgroup vserver-tests-jobs/one of the host"):
            lifecycle.configure(site, "rival", "binding", {"addresses": [OTHER]}, check=check)
    lifecycle.configure(site, "rival", "binding", {"shared": True})
    services.configure(site, *target, {"addresses": [OWN], "shared": True})
    services.absent(site, *target)
    lifecycle.configure(site, "rival", "binding", {"addresses": [OTHER]})


@pytest.mark.parametrize("text", ["", "/", "/sys", "../x", "vserver-tests", "vserver-tests/some/guest", "nosuch"])
def test_a_cgroup_that_is_no_services_is_refused(site: Site, addresses: None, text: str) -> None:
    with pytest.raises(InvalidInput):
        services.configure(site, *service_target.of_cgroup(site, text), {"addresses": [OWN]})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "addresses are missing"),
        ({"addresses": [LATE]}, f"{LATE}.*not one of this host"),
        ({"addresses": [OWN], "loopback": "private"}, "private"),
        ({"addresses": [OWN], "interface": "lo"}, "interface"),
        ({"addresses": [OWN], "network": "host"}, "network"),
    ],
)
def test_what_cannot_be_meant_is_refused(site: Site, jobs: Jobs, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        services.configure(site, "cgroup", jobs.name, options)
    assert service.load(site, "cgroup", jobs.name) is None


# ---- units


@pytest.fixture(scope="module")
def host(addresses: None, template_cache: Path) -> Iterator[SystemdHost]:
    """A host that systemd runs, with the engine on it."""
    place = template_cache.parent / f"systemd-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    with booted(place) as made:
        (made.root / "srv/server.py").write_text(SERVER)
        yield made


#: Runs a module in a process of its own, without what Ansible does around it.
_MODULE = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.loads(sys.argv[2])):
    importlib.import_module("ansible_collections.linux.vserver.plugins.modules." + sys.argv[1]).main()
"""


def module(host: SystemdHost, name: str, check: bool = False, /, **options: Any) -> dict[str, Any]:
    """Run a module on the host; a failed one has a result like the others."""
    given = json.dumps({**options, "_ansible_check_mode": check, "_ansible_diff": True})
    said = host.exec(sys.executable, "-c", _MODULE, name, given)
    result: dict[str, Any] = json.loads(said.stdout)
    return {"failed": False, **result}


def have_engine(host: SystemdHost) -> None:
    result = module(host, "engine")
    assert not result["failed"], result["msg"]


def module_four_calls(host: SystemdHost, **options: Any) -> dict[str, Any]:
    """Check, run, run, check; returns the result of the first run."""
    results = [module(host, "address_binding", check, **options) for check in (True, False, False, True)]
    assert not [result["msg"] for result in results if result["failed"]]
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["diff"] == results[1]["diff"] and results[2]["diff"] == {"before": {}, "after": {}}
    return results[1]


def serve(host: SystemdHost, name: str, *words: str, **unit: str) -> None:
    command = " ".join([sys.executable, "/srv/server.py", *words])
    host.add_unit(f"{name}.service", {"Unit": unit, "Service": {"ExecStart": command, "StandardError": "null"}})


def unit_programs(host: SystemdHost, name: str) -> bool:
    """Whether the kernel runs a binding of ours for the unit, looked at from outside."""
    group = host.run("systemctl", "show", "--value", "--property=ControlGroup", name).lstrip("/")
    return bool(services.binding_attach.attached(host.group / group))


def test_a_unit_is_bound_for_good(host: SystemdHost) -> None:
    serve(host, "plain")
    host.run("systemctl", "start", "plain")
    eventually(lambda: reached(OTHER), "the server does not listen")
    options = {"unit": "plain", "addresses": [OWN, OWN6]}
    refused = module(host, "address_binding", **options)
    assert refused["failed"] and "/usr/sbin/vserver is missing" in refused["msg"] and "engine" in refused["remedy"]
    have_engine(host)

    made = module_four_calls(host, **options)
    assert made["diff"]["before"]["drop_in"] is False and made["diff"]["after"]["drop_in"] is True
    assert made["service"]["addresses"] == [f"{OWN}/32", f"{OWN6}/128"]
    assert made["service"]["unit"] == "plain.service" and made["restart_required"]
    assert unit_programs(host, "plain") and reached(OTHER) is None and not is_free(OTHER)
    restarted = module(host, "address_binding", True, restart=True, **options)
    assert restarted["changed"] and not is_free(OTHER)
    restarted = module(host, "address_binding", restart=True, **options)
    assert restarted["changed"] and not restarted["restart_required"]
    eventually(lambda: reached(OWN), "the restarted server does not listen")
    assert unit_programs(host, "plain") and is_free(OTHER) and reached("127.0.0.1")
    assert not module(host, "address_binding", restart=True, **options)["changed"]

    refused = module(host, "engine", state="absent")
    assert refused["failed"] and "plain.service" in refused["msg"]

    # Whatever starts it, it is bound first; also when nothing of /run is there any more, as after a reboot.
    host.run("systemctl", "stop", "plain")
    host.run("umount", "--lazy", "/run/vserver/.bpf")
    host.run("rm", "-r", "/run/vserver")
    host.run("systemctl", "start", "plain")
    eventually(lambda: reached(OWN), "the server does not listen")
    assert unit_programs(host, "plain") and is_free(OTHER) and reached(OTHER) is None
    host.run("systemctl", "daemon-reload")
    assert unit_programs(host, "plain")

    gone = module_four_calls(host, unit="plain.service", state="absent")
    assert gone["restart_required"] and gone["service"] == {}
    assert not unit_programs(host, "plain")
    host.run("systemctl", "restart", "plain")
    eventually(lambda: reached(OTHER), "the server does not listen everywhere again")
    assert not list((host.root / "etc/systemd/system").glob("plain.service.d"))
    host.run("systemctl", "stop", "plain")


def test_a_bound_unit_waits_for_its_address(host: SystemdHost) -> None:
    have_engine(host)
    serve(host, "waiting")
    subprocess.run(["ip", "address", "add", f"{LATE}/32", "dev", "lo"], check=True)
    try:
        assert not module(host, "address_binding", unit="waiting", addresses=[LATE], loopback="none")["failed"]
        subprocess.run(["ip", "address", "del", f"{LATE}/32", "dev", "lo"], check=True)
        host.run("systemctl", "start", "--no-block", "waiting")
        time.sleep(1)
        assert host.exec("systemctl", "is-active", "waiting").stdout == "activating\n"
        subprocess.run(["ip", "address", "add", f"{LATE}/32", "dev", "lo"], check=True)
        eventually(lambda: reached(LATE), "the server does not listen")
        assert reached(OWN) is None
    finally:
        host.run("systemctl", "stop", "waiting")
        assert not module(host, "address_binding", unit="waiting", state="absent")["failed"]
        subprocess.run(["ip", "address", "del", f"{LATE}/32", "dev", "lo"], check=True)


def test_a_unit_does_not_start_unbound(host: SystemdHost) -> None:
    have_engine(host)
    serve(host, "orphan")
    assert not module(host, "address_binding", unit="orphan", addresses=[OWN])["failed"]
    record = host.root / "var/lib/vserver/bindings/orphan.service.json"
    content = record.read_text()
    record.unlink()
    assert host.exec("systemctl", "start", "orphan").returncode != 0
    assert reached(OWN) is None
    record.write_text(content)
    assert not module(host, "address_binding", unit="orphan", state="absent")["failed"]


def test_sockets_that_systemd_opens_are_bound_with_the_socket_unit(host: SystemdHost) -> None:
    have_engine(host)
    serve(host, "activated", "activated")
    host.add_unit("activated.socket", {"Socket": {"ListenStream": f"0.0.0.0:{PORT}"}})
    host.run("systemctl", "start", "activated.socket")
    eventually(lambda: reached(OTHER) == OTHER, "nothing listens")
    options = {"addresses": [OWN], "restart": True}
    refused = module(host, "address_binding", unit="activated", **options)
    assert refused["failed"] and "activated.socket" in refused["msg"] and "first" in refused["remedy"]
    made = module_four_calls(host, unit="activated.socket", **options)
    assert not made["restart_required"] and made["diff"]["after"]["restarted"] is True
    eventually(lambda: reached(OWN) == OWN, "nothing listens")
    assert reached(OTHER) is None and is_free(OTHER)
    module_four_calls(host, unit="activated", **options)
    for unit in ("activated", "activated.socket"):
        module_four_calls(host, unit=unit, state="absent", restart=True)
    eventually(lambda: reached(OTHER) == OTHER, "nothing listens everywhere again")
    host.run("systemctl", "stop", "activated.socket", "activated.service")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": "nosuch"}, "no unit nosuch.service"),
        ({"unit": "a/b"}, "not valid"),
        ({"unit": "getty@"}, "not valid"),
        ({"unit": "plain", "cgroup": "x"}, "mutually exclusive"),
        ({}, "one of the following is required"),
        ({"name": "web1", "state": "absent"}, "network: host"),
    ],
)
def test_a_target_that_is_none_is_refused(host: SystemdHost, options: dict[str, Any], words: str) -> None:
    have_engine(host)
    result = module(host, "address_binding", addresses=[OWN], **options)
    assert result["failed"] and words in f"{result['msg']} {result.get('remedy')}"
