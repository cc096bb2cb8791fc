# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units that the host has for its guests: their names, and what is in their files (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInput
from .site import Site

#: In the first line of each file, also of those that earlier versions wrote.
MARK = "linux.vserver"
#: What has those units started that run with the host.
TARGET = "multi-user.target"
_FIRST_LINE = f"# Of {MARK}: host_units. Changes are overwritten.\n"


@dataclass(frozen=True)
class Wishes:
    """What the operator decides of the units.

    * parallel: how many guests start at a time at boot; None: as many as there are processors
    * events: whether guests are watched over
    * hook: a program that is run for everything that happens to a guest, then
    * lxcfs: whether guests show their own limits in /proc
    """

    parallel: int | None = None
    events: bool = False
    hook: str | None = None
    lxcfs: bool = False


def parse(options: Mapping[str, Any]) -> Wishes:
    """Options of module ``host_units`` → wishes. Raises :class:`InvalidInput`."""
    parallel, events, hook = options["autostart_parallel"], options["events"], options["event_hook"]
    if parallel is not None and parallel < 1:
        raise InvalidInput(f"autostart_parallel {parallel} starts no guest", remedy="Write a number such as 4.")
    if hook is not None and not (hook.startswith("/") and hook.isprintable()):
        raise InvalidInput(
            f"event_hook {hook!r} is not valid",
            remedy="Write the absolute path of a program, without control characters.",
        )
    return Wishes(parallel, hook is not None if events is None else events, hook, options["lxcfs"])


def service(site: Site, what: str) -> str:
    """The name of a service of ours that is no guest: ``guests``, ``events``, ``lxcfs``."""
    return f"{site.cgroup}-{what}.service"


def texts(site: Site, wishes: Wishes, version: str) -> dict[str, str | None]:
    """The content of each file by the unit's name, in the order in which the units start; None: not wanted.

    * version: of the program that is run
    """
    return {
        site.slice: _FIRST_LINE + _SLICE,
        site.unit(""): _FIRST_LINE + _guest(site),
        service(site, "lxcfs"): _FIRST_LINE + _lxcfs(site) if wishes.lxcfs else None,
        service(site, "events"): _FIRST_LINE + _events(site, wishes.hook, version) if wishes.events else None,
        service(site, "guests"): _FIRST_LINE + _guests(site, wishes.parallel),
    }


def quoted(word: str) -> str:
    """One word of a command line in a unit's file, taken literally (systemd.service(5), "Command lines")."""
    for special, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(special, escaped)
    return f'"{word}"'


_SLICE = """\
[Unit]
Description=Guests of linux.vserver
"""


def _guest(site: Site) -> str:
    return f"""\
[Unit]
Description=Guest %i of linux.vserver
RequiresMountsFor={site.state}
After=network-online.target
# A guest may reboot as often as it likes.
StartLimitIntervalSec=0

[Service]
# Process 1 of the guest is the main process: nothing of ours stays in memory.
Type=forking
PIDFile={site.run}/%i/pid
Slice={site.slice}
Delegate=yes
ExecStart={site.program} guest-unit start %i
# A start that is killed by a signal named below counts as done for systemd, unless this finds that it is not.
ExecStartPost=/usr/bin/test -e {site.run}/%i/state.json
ExecStop={site.program} guest-unit stop %i
ExecStopPost={site.program} guest-unit clear %i
SyslogIdentifier=vserver
# SIGHUP: the guest rebooted. SIGINT, which is success anyway: it powered off. SIGKILL is none, or a step that is killed
# would be one as well.
RestartForceExitStatus=SIGHUP
# What ExecStop has left may go at once.
KillSignal=SIGKILL
TimeoutStartSec=infinity
# ExecStop asks for more by as much as the guest may take.
TimeoutStopSec=90
NotifyAccess=exec
# Limits are the guest's own.
TasksMax=infinity
OOMPolicy=continue
"""


def _guests(site: Site, parallel: int | None) -> str:
    return f"""\
[Unit]
Description=Guests of linux.vserver
RequiresMountsFor={site.state}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={site.program} autostart{"" if parallel is None else f" --parallel {parallel}"}
ExecStop={site.program} stop --all
# A guest that does not start is in the journal, and keeps nobody from stopping the others at shutdown.
SuccessExitStatus=1
# Every guest has a timeout of its own.
TimeoutStartSec=infinity
TimeoutStopSec=infinity
KillMode=process

[Install]
WantedBy={TARGET}
"""


def _version_line(site: Site, version: str) -> str:
    return f"# For {site.program} of version {version}: it runs all the time, and so is restarted for another one.\n"


def is_for(text: str, site: Site, version: str) -> bool:
    """Whether the unit with this file, which runs all the time, has been started for this version (pure)."""
    return _version_line(site, version) in text


def _events(site: Site, hook: str | None, version: str) -> str:
    return f"""\
{_version_line(site, version)}
[Unit]
Description=Watch over guests of linux.vserver
RequiresMountsFor={site.state}
Before={service(site, "guests")}

[Service]
ExecStart={site.program} events --journal{"" if hook is None else f" --hook {quoted(hook)}"}
Restart=always
SyslogIdentifier=vserver

[Install]
WantedBy={TARGET}
"""


def _lxcfs(site: Site) -> str:
    place, mount = site.lxcfs.parent, site.lxcfs
    return f"""\
[Unit]
Description=Files of lxcfs for guests of linux.vserver
Documentation=man:lxcfs(1)
Before={service(site, "guests")}
# However often it dies: guests see the host's memory and processors meanwhile.
StartLimitIntervalSec=0

[Service]
ExecStartPre=/usr/bin/install -d -m 0711 {site.run}
ExecStartPre=/usr/bin/install -d -m 0700 {place} {mount}
ExecStart=/usr/bin/lxcfs --enable-loadavg --enable-cfs --enable-pidfd --pidfile={place}/pid {mount}
# What guests show is mounted in each of them, and has to be renewed there.
ExecStartPost=-{site.program} lxcfs --wait 10
# A newer library, without an end of what guests show.
ExecReload=/bin/kill -USR1 $MAINPID
ExecStopPost=-/bin/umount --lazy {mount}
ExecStopPost=-{site.program} lxcfs
Restart=always
RestartSec=1
TimeoutStartSec=infinity
OOMScoreAdjust=-1000

[Install]
WantedBy={TARGET}
"""
