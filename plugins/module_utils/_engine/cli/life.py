# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that start and stop guests."""

from __future__ import annotations

import argparse

from .. import autostart, lifecycle, store
from ..site import Site


def _start(site: Site, arguments: argparse.Namespace) -> int:
    store.require(site, arguments.name)
    lifecycle.set_state(site, arguments.name, "started", {})
    return 0


def _stop(site: Site, arguments: argparse.Namespace) -> int:
    if arguments.all:
        autostart.stop(site)
        return 0
    store.require(site, arguments.name)
    lifecycle.set_state(site, arguments.name, "stopped", {})
    return 0


def _autostart(site: Site, arguments: argparse.Namespace) -> int:
    autostart.start(site, arguments.parallel)
    return 0


COMMANDS = {"start": _start, "stop": _stop, "autostart": _autostart}
