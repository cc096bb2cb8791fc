# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything of ours lives on a host."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """The places the engine writes to; another ``Site`` is another, independent set of guests.

    * state: records, templates and clones; survives a reboot; root-only (0700)
    * run: bundles and run state; gone after a reboot; 0711, because the guests' own root walks through it to its root
    * cgroup: name of our cgroup below the top of every hierarchy
    * program: the engine as one file, for what happens without Ansible
    """

    state: Path = Path("/var/lib/vserver")
    run: Path = Path("/run/vserver")
    cgroup: str = "vserver"
    program: Path = Path("/usr/sbin/vserver")

    @functools.cached_property
    def manual(self) -> Path:
        """The program's man page: below share/man of the directory that has the program's (FHS 4.11)."""
        return self.program.parents[1] / "share" / "man" / "man8" / f"{self.program.name}.8"

    @functools.cached_property
    def completion(self) -> Path:
        """Where bash looks for how to complete the program's words: beside the man page."""
        return self.manual.parents[2] / "bash-completion" / "completions" / self.program.name

    @functools.cached_property
    def templates(self) -> Path:
        return self.state / "templates"

    @functools.cached_property
    def guests(self) -> Path:
        return self.state / "guests"

    @functools.cached_property
    def locks(self) -> Path:
        return self.run / ".locks"

    @functools.cached_property
    def runtime(self) -> Path:
        """State directory of the OCI runtime (``--root``)."""
        return self.run / ".runtime"

    @functools.cached_property
    def steering(self) -> Path:
        """Where what steers packets to wildcard listeners is pinned, in a bpf file system of its own."""
        return self.run / ".bpf" / "steering"

    @functools.cached_property
    def lxcfs(self) -> Path:
        """Where lxcfs is mounted if guests are to show what it tells; its directory is closed to everybody but root."""
        return self.run / ".lxcfs" / "mount"

    def bundle(self, name: str) -> Path:
        """The generated bundle and run state of one guest."""
        return self.run / name

    def guest(self, name: str) -> Path:
        return self.guests / name

    def guest_cgroup(self, name: str) -> str:
        """The outer cgroup of a guest with a supervisor, relative to the top of a hierarchy.

        It holds ``guest``.
        """
        return f"{self.cgroup}/{name}"

    @functools.cached_property
    def slice(self) -> str:
        """The systemd slice, and the cgroup, of the guests that are units."""
        return f"{self.cgroup}.slice"

    def unit(self, name: str) -> str:
        """The systemd unit that a guest is where there is one; without a name, its template."""
        return f"{self.cgroup}@{name}.service"

    def guest_of(self, unit: str) -> str | None:
        """The name of the guest that has this systemd unit; None for any other unit."""
        before, after = self.unit("\0").split("\0")
        own = unit.startswith(before) and unit.endswith(after) and len(unit) > len(before) + len(after)
        return unit[len(before) : -len(after)] if own else None

    def unit_cgroup(self, name: str) -> str:
        """The cgroup that systemd makes for the guest's unit, relative to the top of a hierarchy."""
        return f"{self.slice}/{self.unit(name)}"
