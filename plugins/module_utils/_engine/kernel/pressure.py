# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pressure stall information of a v2 group (Documentation/accounting/psi.rst)."""

from __future__ import annotations

from collections.abc import Mapping

RESOURCES = ("cpu", "memory", "io")
#: Some of the processes that had work waited, or all of them did.
KINDS = ("some", "full")

#: Kind → ``avg10``, ``avg60``, ``avg300``: percent of the last so many seconds; ``total_seconds``: since the group's
#: beginning.
Pressure = Mapping[str, Mapping[str, float]]


def parse(text: str | None) -> Pressure | None:
    """The text of a pressure file; None where the kernel does not measure it (pure).

    There is no "full" of the processor before Linux 5.13.
    """
    lines = [line.split() for line in (text or "").splitlines()]
    return {words[0]: dict(map(_figure, words[1:])) for words in lines if words[0] in KINDS} or None


def _figure(word: str) -> tuple[str, float]:
    key, _sign, value = word.partition("=")
    return ("total_seconds", int(value) / 1e6) if key == "total" else (key, float(value))
