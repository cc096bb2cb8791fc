# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests for tests: defined and started in a few words, asked from inside, and removed afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ansible_collections.linux.vserver.plugins.module_utils._engine import (
    enter,
    info,
    lifecycle,
    running,
    runtime,
    store,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup, process
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import versions as template_versions

#: An init that does nothing and catches nothing.
SLEEP = ("/bin/sleep", "infinity")
PATIENCE = 30.0
#: How long a command in a guest may take, in seconds.
TIMEOUT = 60.0
_ENTER = """
import sys
from pathlib import Path
from ansible_collections.linux.vserver.plugins.module_utils._engine import enter
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
state, run, cgroup, name, *argv = sys.argv[1:]
sys.exit(enter.run(Site(Path(state), Path(run), cgroup), name, argv))
"""


def eventually(condition: Callable[[], Any], otherwise: str, patience: float = PATIENCE) -> None:
    """Wait until ``condition`` holds; fail with ``otherwise`` when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def become(site: Site, name: str, state: str = "started") -> dict[str, Any]:
    """Bring a guest to ``state``; returns what ``guest_info`` says of it then."""
    lifecycle.set_state(site, name, state, {})
    return info.guest(site, name)


@dataclass
class Guests:
    """The guests of one test; :meth:`remove_all` ends and removes them."""

    site: Site
    template: str
    made: list[str] = field(default_factory=list)

    def define(
        self,
        name: str,
        *,
        addresses: Sequence[str] = (),
        method: str = "overlay",
        limits: Mapping[str, Any] | None = None,
        binding: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> None:
        """Clone the template for guest ``name``, and record its settings."""
        self.made.append(name)
        lifecycle.configure(self.site, name, "root", {"template": self.template, "method": method})
        lifecycle.configure(self.site, name, "binding", {"addresses": list(addresses), **(binding or {})})
        lifecycle.configure(self.site, name, "limits", limits or {})
        if context.get("init") is not None:
            context["init"] = list(context["init"])
        lifecycle.configure(self.site, name, "context", context)

    def start(self, name: str, **settings: Any) -> dict[str, Any]:
        """Define and start a guest; returns what ``guest_info`` says of it."""
        self.define(name, **settings)
        return become(self.site, name)

    def exec(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a running guest. It must not outlast :data:`TIMEOUT` seconds."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            child = os.fork()
            if child == 0:
                self._enter(name, argv, stdout.fileno(), stderr.fileno())
            start = process.start_ticks(child)
            if start is not None and not process.wait_gone(child, start, TIMEOUT):
                os.kill(child, signal.SIGTERM)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output = [file.read() for file in (stdout, stderr) if file.seek(0) == 0]
        return subprocess.CompletedProcess(argv, status, *output)

    def command(self, name: str, *argv: str) -> list[str]:
        """The words that run a command in a running guest, for a caller that goes on meanwhile."""
        site = (str(self.site.state), str(self.site.run), self.site.cgroup)
        return [sys.executable, "-c", _ENTER, *site, name, *argv]

    def _enter(self, name: str, argv: Sequence[str], stdout: int, stderr: int) -> NoReturn:
        status = 255
        try:
            for number, fd in enumerate((os.open(os.devnull, os.O_RDWR), stdout, stderr)):
                os.dup2(fd, number)
            status = enter.run(self.site, name, argv)
        except VserverError as error:
            os.write(2, str(error).encode())
        finally:
            os._exit(status)

    def run(self, name: str, *argv: str) -> str:
        """Like :meth:`exec`, for a command that has to succeed; returns its output."""
        result = self.exec(name, *argv)
        assert result.returncode == 0, result
        return result.stdout.strip()

    def wait_booted(self, name: str, patience: float = PATIENCE) -> None:
        """Wait until the guest's systemd says ``running``."""

        def state() -> str:
            return self.exec(name, "systemctl", "is-system-running").stdout.strip()

        eventually(lambda: state() in ("running", "degraded"), f"guest {name} does not boot", patience)
        failed = "" if state() == "running" else self.exec(name, "systemctl", "--failed", "--no-legend").stdout
        assert state() == "running", failed

    def group(self, name: str) -> Path:
        return running.outer_cgroup(self.site, cgroup.layout(), name) / "guest"

    def template_root(self) -> Path:
        return template_versions.resolve(self.site, self.template)

    @staticmethod
    def host_status(pid: int) -> dict[str, str]:
        return process.status(pid)

    @staticmethod
    def fetch(url: str) -> str | None:
        """The page at ``url`` as the host gets it, or None when nobody answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            return str(answer.read().decode())
        return None

    def traces(self, name: str) -> list[str]:
        """What a guest that does not run has left on the host."""
        groups = running.outer_groups(self.site, name)
        found = [str(path) for group in groups for path in cgroup.hierarchies(cgroup.layout(), group)]
        found += [str(place) for _runtime, place in runtime.state(self.site, name)]
        if Path(running.state_file(self.site, name)).exists():
            found.append("run state")
        mounts = Path("/proc/self/mountinfo").read_text()
        found += [line for line in mounts.splitlines() if f"{self.site.run}/{name}/" in line]
        return found

    def remove_all(self) -> None:
        for name in dict.fromkeys(self.made):
            with contextlib.suppress(FileNotFoundError):
                lifecycle.set_state(self.site, name, "absent", {"timeout": 0})
                lifecycle.remove_root(self.site, name)
            assert store.load(self.site, name) is None
