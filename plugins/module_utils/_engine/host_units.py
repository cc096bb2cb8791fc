# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's systemd starts and stops guests, watches over them, and has them show their limits: by units of ours.

The state of files, links and processes is all that is compared. So that a run which is killed anywhere leaves something
that differs, a unit that has to be restarted for its new file is stopped before that is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import faults, files, installed, running, store, systemd, unit_files
from .errors import Conflict, Unsupported
from .outcome import Outcome, in_the_way
from .site import Site
from .unit_files import Wishes

_WHAT = "have units of guests"
#: Where files come before ours (systemd.unit(5), "Unit File Load Path"): of systemd-run, of generators.
_BEFORE_OURS = "/run/systemd/"


@dataclass(frozen=True)
class State:
    """What is compared of a unit.

    * text, mode: its file; None without one
    * enabled, active: None for a unit that is started when it is needed
    * outdated: whether systemd has an older file of it in mind
    """

    text: str | None = None
    mode: str | None = None
    enabled: bool | None = None
    active: bool | None = None
    outdated: bool = False


def ensure(site: Site, wishes: Wishes, *, check: bool = False) -> Outcome:
    """Have the units that are wished for, enabled and started. ``vserver-guests`` is never stopped for that.

    Raises :class:`Conflict` when a file of that name is somebody else's, :class:`Unsupported` without systemd or the
    program that they run, and :class:`VserverError` when a unit does not start.
    """
    with _locked(site, check):
        found = installed.read(site.program)
        if found is None and not check:
            raise Unsupported(
                _WHAT,
                why=f"{site.program} is missing, which they run",
                remedy="Use module linux.vserver.engine first, or role linux.vserver.host.",
            )
        wanted = _wanted(site, unit_files.texts(site, wishes, "(none)" if found is None else found[0].version))
        return _change(site, _observe(site, wanted), wanted, check)


def absent(site: Site, *, check: bool = False) -> Outcome:
    """Have none of the units. Raises :class:`Conflict` while guests run, which would then stop in disorder; in check
    mode it warns."""
    with _locked(site, check):
        wanted = _wanted(site, dict.fromkeys(unit_files.texts(site, Wishes(), "")))
        before = _observe(site, wanted)
        alive = [name for name in store.names(site) if running.may_run(site, name)]
        warnings: tuple[str, ...] = ()
        if alive and before != wanted:
            what, why = "remove the units of guests", f"{', '.join(alive)} run"
            warnings = in_the_way(Conflict(what, why=why, remedy="Stop them: vserver stop --all."), check=check)
        return dataclasses.replace(_change(site, before, wanted, check), warnings=warnings)


def running_program(site: Site) -> list[str]:
    """The names of our units that run ``site.program``; the caller holds the lock "engine", under which they change."""
    texts = {name: _read(_path(name)) or "" for name in unit_files.texts(site, Wishes(), "")}
    return [name for name, text in texts.items() if _is_ours(text) and f"{site.program} " in text]


def outdated(site: Site, version: str) -> list[str]:
    """Those of them that have been started for another version of the program, and run all the time."""
    events = unit_files.service(site, "events")
    text = _read(_path(events)) if events in running_program(site) else None
    return [] if text is None or unit_files.is_for(text, site, version) else [events]


@contextlib.contextmanager
def _locked(site: Site, check: bool) -> Iterator[None]:
    """Neither the units nor the program change meanwhile; check mode writes nothing."""
    systemd.require(_WHAT, "Have 'vserver autostart' run at boot, and 'vserver stop --all' before shutdown.")
    if check:
        yield
        return
    with store.lock(site, "engine"):
        for name in unit_files.texts(site, Wishes(), ""):
            files.sweep(systemd.UNITS, name)
        yield


def _path(name: str) -> Path:
    return systemd.UNITS / name


def _link(name: str) -> Path:
    """What systemctl makes to enable a unit. It is looked at itself: systemd remembers what it was once asked of it."""
    return systemd.UNITS / f"{unit_files.TARGET}.wants" / name


def _enable(name: str) -> None:
    link = _link(name)
    if not link.parent.is_dir():
        files.make_directory(link.parent, 0o755)
    link.symlink_to(_path(name))
    files.fsync_directory(link.parent)


def _runs(site: Site, name: str) -> bool:
    """Whether a unit is one that runs with the host, not when something needs it."""
    return name not in (site.slice, site.unit(""))


def _wanted(site: Site, texts: Mapping[str, str | None]) -> dict[str, State]:
    """What is to be true of units with these files (pure); None: of units that are not wanted."""
    found = {}
    for name, text in texts.items():
        runs = text is not None if _runs(site, name) else None
        found[name] = State(text, None if text is None else "0644", runs, runs)
    return found


def _change(site: Site, before: Mapping[str, State], wanted: Mapping[str, State], check: bool) -> Outcome:
    differing = {name: (before[name], state) for name, state in wanted.items() if before[name] != state}
    if differing and not check:
        _apply(site, differing)
    now = before if check or not differing else _observe(site, wanted)
    return Outcome(
        bool(differing),
        {name: _difference(old, new) for name, (old, new) in differing.items()},
        {name: _difference(new, old) for name, (old, new) in differing.items()},
        {
            name: {"enabled": state.enabled, "active": state.active}
            for name, state in now.items()
            if state.text is not None
        },
    )


def _difference(one: State, other: State) -> dict[str, Any]:
    """What of ``one`` is not so in the other, as people read it (pure): a file by its lines."""
    mine, others = dataclasses.asdict(one), dataclasses.asdict(other)
    found = {key: value for key, value in mine.items() if value != others[key]}
    return {key: value.splitlines() if key == "text" and value is not None else value for key, value in found.items()}


def _observe(site: Site, wanted: Mapping[str, State]) -> dict[str, State]:
    """The units as they are. Raises :class:`Conflict` when one that is wanted is somebody else's."""
    template = site.unit("")
    known = systemd.standings(*(name for name in wanted if name != template), site.unit("*"))
    found = {}
    for name, state in wanted.items():
        path, standing = _path(name), known.get(name)
        text, others = _read(path), None
        if text is not None and not _is_ours(text):
            text, others = None, str(path)
        elif standing is not None and standing.source is not None and standing.source.startswith(_BEFORE_OURS):
            others = standing.source
        if others is not None and state.text is not None:
            remedy = f"Stop or unmask it (systemctl stop, systemctl unmask), or move {others} away."
            raise Conflict(f"have the unit {name}", why=f"{others} is not of linux.vserver", remedy=remedy)
        # Of all guests' units the file is the same one. Only a unit from before there was one has none.
        of_it = [each for each in known.values() if each.source == str(path)] if others is None else []
        found[name] = State(
            text,
            None if text is None else f"{stat.S_IMODE(path.stat().st_mode):04o}",
            others is None and _link(name).is_symlink() if _runs(site, name) else None,
            any(each.active for each in of_it) if _runs(site, name) else None,
            any(each.outdated for each in of_it)
            or (text is not None and standing is not None and standing.source is None),
        )
    return found


def _is_ours(text: str) -> bool:
    return unit_files.MARK in text.partition("\n")[0]


def _read(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(errors="replace")
    return None


def _apply(site: Site, differing: dict[str, tuple[State, State]]) -> None:
    """Stop what ends, write, have systemd read it, start. The order of units is that of their start."""
    idle = {name for name, (old, new) in differing.items() if new.active and not old.active}
    for name, (old, new) in reversed(differing.items()):
        renewed = name == unit_files.service(site, "events") and old.text != new.text
        if old.active and (not new.active or renewed):
            systemd.stop(name)
            idle |= {name} if new.active else set()
            faults.reached("units:stopped")
        if old.enabled and not new.enabled:
            _link(name).unlink()
            files.fsync_directory(_link(name).parent)
            faults.reached("units:disabled")
    for name, (old, new) in differing.items():
        if new.text is None and old.text is not None:
            _path(name).unlink(missing_ok=True)
            files.fsync_directory(systemd.UNITS)
            faults.reached("units:removed")
        elif new.text is not None and (old.text, old.mode) != (new.text, new.mode):
            files.write(_path(name), new.text.encode(), int(str(new.mode), 8))
            faults.reached("units:written")
        if new.enabled and not old.enabled:
            _enable(name)
            faults.reached("units:enabled")
    systemd.read_again()
    faults.reached("units:read")
    for name in (name for name in differing if name in idle):
        systemd.start(name)
        faults.reached("units:started")
