# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's new root from a newer template, with the directories that hold its data.

The new root is made beside the old one, which stays as it is until both change places in one step (renameat2(2)).
With the new root comes the new record; :func:`.store.complete` puts it into its place, by whoever has the guest's lock
next when it was not possible here. So a guest has its old root whole, or its new root whole, whatever is killed. That
it ran is noted before it is stopped; the next call starts it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import faults, files, info, layers, power, running, store
from .errors import Conflict, InvalidInput, VserverError
from .facets import root
from .kernel.rename import exchange
from .limits import space
from .model import Guest, Root
from .outcome import Outcome, in_the_way
from .site import Site
from .template import versions


def parse_data(paths: Sequence[str]) -> tuple[str, ...]:
    """Directories as absolute paths → the same relative to a root, sorted, none below another (pure).

    Raises :class:`InvalidInput`.
    """
    found: list[str] = []
    for text in sorted({path.rstrip("/") + "/" for path in paths}):
        parts = text.split("/")
        if parts[0] or len(parts) < 3 or any(part in ("", ".", "..") for part in parts[1:-1]) or "\0" in text:
            raise InvalidInput(
                f"keep the directory {text[:-1] or '/'}", remedy="Give an absolute path below /, without . and .. ."
            )
        if not found or not text.startswith(found[-1]):
            found.append(text)
    return tuple(text.strip("/") for text in found)


def rebuild(
    site: Site, name: str, options: Mapping[str, Any], *, check: bool = False, restart: bool = False
) -> Outcome:
    """Give guest ``name`` a new root, unless it has a clone of that version already.

    * options: ``template``, None for the one it has; ``version``, None for the newest; ``data``, the directories that
      are kept
    * restart: a running guest may be stopped for it, and is started again; one that an earlier call, killed, has left
      stopped is so in any case

    Raises :class:`VserverError`; the guest then has its old root, and runs if it did.
    """
    data = parse_data(options["data"])
    with contextlib.ExitStack() as stack:
        lock = -1 if check else stack.enter_context(store.lock_guest(site, name))
        guest = store.require(site, name)
        present = root.observe(site, guest, None)
        if present is None or present.template is None:
            raise InvalidInput(f"rebuild guest {name}", why="it has no root", remedy="Clone it from a template first.")
        wanted = _wanted(site, present, options.get("template") or present.template, options.get("version"))
        now = info.state(site, name)
        was = running.owed(site, name) or now
        if wanted == present:
            if not check:
                _as_before(site, name, was, lock)
            return Outcome(False) if was == now else Outcome(True, {"state": now}, {"state": was})
        warnings: tuple[str, ...] = ()
        if now != "stopped" and not restart:
            remedy = "Stop it first, or allow its restart."
            warnings = in_the_way(Conflict(f"rebuild guest {name}", why="the guest runs", remedy=remedy), check=check)
        _require_data(site, guest.with_section("root", present), data)
        if not check:
            _replace(site, guest, present, wanted, data, lock, was)
        before, after = {"root": info.section(present)}, {"root": info.section(wanted)}
        return Outcome(True, before, after, warnings=warnings)


def _wanted(site: Site, present: Root, template: str, version: str | None) -> Root:
    """What the new root is a clone of."""
    version = version or versions.latest(site, template)
    versions.resolve(site, template, version)
    return Root(template, version, present.method)


def _layers(site: Site, guest: Guest, clone: Path) -> tuple[Path, Path | None]:
    """The guest's own layer in ``clone``, and what lies below it."""
    if guest.root.method == "overlay":
        return clone / "upper", root.template_root(site, guest.root)
    return clone / "rootfs", None


def _require_data(site: Site, guest: Guest, data: Sequence[str]) -> None:
    own, below = _layers(site, guest, root.directory(site, guest.name))
    for path in data:
        try:
            with layers.opened(own, below, path):
                pass
        except InvalidInput as error:
            raise InvalidInput(
                f"rebuild guest {guest.name}",
                why=f"/{path} is to be kept, and {error.why}",
                remedy="Name the directories that are there; everything else goes with the old root.",
            ) from error


def _replace(site: Site, guest: Guest, present: Root, wanted: Root, data: Sequence[str], lock: int, was: str) -> None:
    old, new = guest.with_section("root", present), guest.with_section("root", wanted)
    building = files.pending_directory(site.guest(guest.name))
    try:
        root.fill(site, new, building)
        faults.reached("rebuild:filled")
        if was != "stopped":
            running.owe(site, guest.name, was)
            faults.reached("rebuild:owed")
            power.stop(site, guest.name, lock)
        faults.reached("rebuild:stopped")
        _carry(site, old, new, building, data)
        store.prepare_record(building, new)
        files.flush(building)
        faults.reached("rebuild:built")
        with store.lock(site, "registry"):
            root.template_root(site, wanted)  # is still there
            exchange(building, root.directory(site, guest.name))
            files.fsync_directory(site.guest(guest.name))
            faults.reached("rebuild:exchanged")
            store.complete(site, guest.name)
        faults.reached("rebuild:recorded")
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        raise VserverError(f"rebuild guest {guest.name}", why=where + (error.strerror or str(error))) from error
    except RecursionError as error:
        raise VserverError(f"rebuild guest {guest.name}", why="its data are nested too deep") from error
    finally:
        with contextlib.ExitStack() as rest:  # the last is done first, and each whatever becomes of the others
            rest.callback(files.remove_tree, building)  # the old root, or what has become of the new one
            rest.callback(_as_before, site, guest.name, was, lock)
            if space.asked(guest.limits):
                rest.callback(files.remove_tree, building)  # for it counts towards the guest's quota


def _as_before(site: Site, name: str, was: str, lock: int) -> None:
    """Start a guest again that has been stopped."""
    now = info.state(site, name)
    if now != was:
        power.become(site, name, "frozen" if was == "frozen" else "started", now, lock, False)
    running.settle(site, name)


def _carry(site: Site, old: Guest, new: Guest, building: Path, data: Sequence[str]) -> None:
    own, below = _layers(site, old, root.directory(site, old.name))
    target, model = _layers(site, new, building)
    for path in data:
        with layers.opened(own, below, path) as source:
            layers.carry(source, target, path, model)
