# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The five facets of a guest, in the order in which a guest comes to be."""

from __future__ import annotations

from collections.abc import Mapping

from ..facet import Facet
from . import binding, capabilities, context, limits, root

FACETS: Mapping[str, Facet] = {
    "root": root,
    "binding": binding,
    "capabilities": capabilities,
    "limits": limits,
    "context": context,
}
