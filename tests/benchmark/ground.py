# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where figures are taken: a site of its own with a real template, its guests, and their peers beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from ..integration import bare_runtime, templates
from ..integration.guests import Guests
from .peers import BareRuntime

#: The places are the default ones, so that modules act on the same guests; they are private to this run.
SITE = Site(cgroup="vserver-benchmark")


@dataclass
class Ground:
    """Guests and peers of one figure; :meth:`clear` removes them."""

    site: Site
    guests: Guests
    peers: BareRuntime

    def crowd(self, prefix: str, count: int) -> list[str]:
        """Define ``count`` guests that will sleep, and return their names."""
        names = [f"{prefix}{number}" for number in range(1, count + 1)]
        for number, name in enumerate(names, 1):
            self.guests.define(name, addresses=[f"127.200.0.{number}"], init=("/bin/sleep", "infinity"))
        return names

    def clear(self) -> None:
        self.guests.remove_all()
        self.guests.made.clear()
        self.peers.remove_all()


def _network() -> tuple[str, ...]:
    return ("nsenter", f"--net={os.environ['VSERVER_TEST_HOST_NETWORK']}", "--")


@contextmanager
def opened(say: Callable[[str], None]) -> Iterator[Ground]:
    """Makes the ground ready. The caller is in the mount and network namespaces of the run."""
    store.prepare(SITE)
    engine_file.ensure(SITE)
    say("template: fetched from the cache, or built now")
    directory = templates.debian(Path(os.environ["VSERVER_TEST_CACHE"]), _network())
    layout = cgroup.layout()
    with templates.provided(SITE, directory) as name:
        guests = Guests(SITE, name)
        ground = Ground(SITE, guests, BareRuntime(SITE, bare_runtime.path(), guests.template_root()))
        try:
            yield ground
        finally:
            ground.clear()
            ground.peers.close()
            cgroup.remove(layout, SITE.cgroup)
