# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that systemd calls."""

from __future__ import annotations

import argparse

from .. import guest_unit, proc_view, unit_start
from ..site import Site


def _bind_unit(site: Site, arguments: argparse.Namespace) -> int:
    unit_start.bind_unit(site, arguments.name)
    return 0


def _guest_unit(site: Site, arguments: argparse.Namespace) -> int:
    guest_unit.run_step(site, arguments.step, arguments.name)
    return 0


def _lxcfs(site: Site, arguments: argparse.Namespace) -> int:
    proc_view.renew_all(site, arguments.wait)
    return 0


COMMANDS = {"bind-unit": _bind_unit, "guest-unit": _guest_unit, "lxcfs": _lxcfs}
