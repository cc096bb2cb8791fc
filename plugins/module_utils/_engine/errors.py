# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine raises. Every error says who, what was attempted, why it failed and what to do next."""

from __future__ import annotations


class VserverError(Exception):
    """An operation that did not happen, told in full sentences' worth of parts.

    * what: the attempt, without a full stop ("mount the root of guest web1")
    * why: the kernel's or the tool's own answer ("Invalid argument"), if there is one
    * remedy: what the operator can do next, if we know
    """

    def __init__(self, what: str, why: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.why = why
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.what if self.why is None else f"{self.what}: {self.why}"
        return text if self.remedy is None else f"{text}. {self.remedy}"


class InvalidInput(VserverError):
    """An option's value cannot be meant. Raised before anything has changed."""


class Conflict(VserverError):
    """The value is fine by itself, but something else on this host is in its way (an xid taken, a template in use)."""


class Unsupported(VserverError):
    """This host lacks what the operation needs: a kernel feature, a tool, a file system."""


class ToolFailed(VserverError):
    """A program we ran answered with an error."""


class Busy(VserverError):
    """Another process holds the lock and did not let go in time."""
