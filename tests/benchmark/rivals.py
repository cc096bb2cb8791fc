# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same as Ansible does it with LXC and podman: create and start, find as it is, destroy.

All of them run on the same tree, an overlay over one template, with the host's distribution's Python and the programs
that Debian has. None has a network of its own to set up. An address binding, a user namespace and a system call filter
only our guests have. ``lxc_container`` by itself waits a second after it has started something.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup

from .call import address
from .catalogue import CROWD, ENVIRONMENT, RIVALS
from .ground import Ground
from .measure import Say, Stopwatch
from .sides import Measure, Values, side_by_side

_PLAYBOOK = Path(__file__).with_suffix(".playbook")
_LXC = Path("/var/lib/lxc")
_SLEEP = ["/bin/sleep", "infinity"]

_STORAGE = """[storage]
driver = "overlay"
graphroot = "{place}/podman"
runroot = "{place}/podman-run"
"""
#: This machine's root may not raise limits, and crun does not take its mixed control groups.
_CONTAINERS = """[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{place}/podman-tmp"
"""
#: lxc-create runs it in the place of a program that would fill a tree.
_TEMPLATE = """#!/bin/sh
for word; do case $word in --path=*) place=${{word#*=}};; esac; done
mkdir "$place/delta"
sed -i "s|^lxc.rootfs.path.*|lxc.rootfs.path = overlayfs:{tree}:$place/delta|" "$place/config"
"""


@dataclass(frozen=True)
class Rival:
    """What the playbook gets for containers in a state."""

    name: str
    ground: Ground
    place: Path

    def containers(self, state: str) -> list[dict[str, Any]]:
        numbers = range(1, CROWD + 1)
        if self.name == "ours":
            template = self.ground.guests.template
            settings = {"template": template, "init": _SLEEP, "timeout": 0, "interface": "lo", "keep_data": False}
            return [{"name": f"guest{n}", "addresses": [address(n)], "state": state, **settings} for n in numbers]
        if self.name == "podman":
            settings = {"image": "localhost/tree", "command": _SLEEP, "network": ["none"], "stop_timeout": 0}
            return [{"name": f"pod{n}", "state": state, **settings} for n in numbers]
        settings = {"template": str(self.place / "template"), "config": str(self.place / "config")}
        return [{"name": f"lxc{n}", "state": state, **settings} for n in numbers]

    def bring(self, state: str, *, changes: bool) -> float:
        """The milliseconds that a playbook takes that brings all containers to ``state``, Ansible itself included."""
        program = Path(os.environ[ENVIRONMENT]) / "bin" / "ansible-playbook"
        variables = {"ansible_python_interpreter": "/usr/bin/python3", self.name: self.containers(state)}
        command = [str(program), "--inventory", "localhost,", "--connection", "local", "--extra-vars"]
        watch = Stopwatch()
        with watch.running():
            result = subprocess.run(
                [*command, json.dumps(variables), str(_PLAYBOOK)],
                env=environment(self.place),
                capture_output=True,
                text=True,
                check=False,
            )
        assert result.returncode == 0 and f"changed={int(changes)} " in result.stdout, (
            result.stdout[:3000] + result.stderr
        )
        return watch.milliseconds


def environment(place: Path) -> dict[str, str]:
    settings = {
        "CONTAINERS_CONF": str(place / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
    }
    return {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, **settings}


@contextlib.contextmanager
def prepared(ground: Ground) -> Iterator[Path]:
    """Templates and settings of all rivals, in places that only this mount namespace has."""
    place, tree = ground.site.state / ".rivals", ground.guests.template_root()
    (place / "lxc").mkdir(parents=True)
    (place / "storage.conf").write_text(_STORAGE.format(place=place))
    (place / "containers.conf").write_text(_CONTAINERS.format(place=place))
    (place / "config").write_text("lxc.net.0.type = none\nlxc.init.cmd = /bin/sleep infinity\n")
    (place / "template").write_text(_TEMPLATE.format(tree=tree))
    (place / "template").chmod(0o755)
    subprocess.run(["mount", "--bind", str(place / "lxc"), str(_LXC)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(_LXC)], check=True)
        subprocess.run(["podman", "system", "reset", "--force"], env=environment(place), check=True, stdout=2)
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(place)], check=True)
        for group in ("libpod_parent", "lxc.pivot"):
            with contextlib.suppress(OSError):  # the machine's own are in use
                cgroup.remove(cgroup.layout(), group)


def import_tree(ground: Ground, place: Path) -> None:
    with subprocess.Popen(["tar", "-C", str(ground.guests.template_root()), "-c", "."], stdout=subprocess.PIPE) as tar:
        command = ["podman", "import", "--quiet", "-", "localhost/tree"]
        subprocess.run(command, stdin=tar.stdout, stdout=2, env=environment(place), check=True)


def _against(name: str, step: str) -> Measure:
    """The figure of a step beside the rival ``name``."""

    def measure(ground: Ground, rounds: int, say: Say) -> Values:
        with prepared(ground) as place:
            if name == "podman":
                import_tree(ground, place)
            sides = [Rival(each, ground, place) for each in ("ours", name)]
            module = "containers.podman.podman_containers" if name == "podman" else "community.general.lxc_container"
            try:
                if step == "noop":
                    for side in sides:
                        side.bring("started", changes=True)
                ours, other = (functools.partial(_STEPS[step], side) for side in sides)
                return side_by_side(ours, other, module, rounds, say)
            finally:
                for side in sides:
                    with contextlib.suppress(AssertionError):
                        side.bring("absent", changes=True)

    return measure


def _create(side: Rival) -> float:
    took = side.bring("started", changes=True)
    side.bring("absent", changes=True)
    return took


def _noop(side: Rival) -> float:
    return side.bring("started", changes=False)


def _destroy(side: Rival) -> float:
    side.bring("started", changes=True)
    return side.bring("absent", changes=True)


_STEPS = {"create": _create, "noop": _noop, "destroy": _destroy}

MEASURES: Mapping[str, Measure] = {figure: _against(*figure.split("-")) for figure in RIVALS}
