# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates: named, versioned root file systems that guests are cloned from.

``templates/NAME/VERSION/{template.json,rootfs}``; versions sort by the time of their building. A version never changes
once it is there, because changing the lower layer of a mounted overlay is undefined: another specification, or a
refresh, makes another version beside it, and the guests that use the old one keep it.

A version is built in a pending directory beside its place, flushed to disk and renamed in, all under the lock
``template-NAME``. Whoever takes that lock next removes what a crash left. A clone is resolved and recorded under the
lock ``registry``, which :func:`absent` holds while it looks for clones and takes the versions away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import faults, files, store
from ..errors import Conflict, VserverError
from ..model import Root, check_name
from ..outcome import Outcome, in_the_way
from ..site import Site
from . import build as template_build
from . import clean as template_clean
from .run import BuildLog
from .spec import Spec
from .tree import Tree
from .versions import RECORD, directory_of, latest, next_version, versions

RECORD_FORMAT = 1
#: Every place a crash may hit, in order; ``template:fetched`` exists for archives only.
POINTS = (
    "template:pending",
    "template:fetched",
    "template:filled",
    "template:commands",
    "template:cleaned",
    "template:recorded",
    "template:synced",
    "template:built",
    "template:removing",
    "template:removed",
)

_LOG = ".build.log"


def _quiet(_line: str) -> None:
    """Show nothing."""


def recorded(site: Site, name: str) -> Spec | None:
    """What the newest version was built from, or None when there is no such template."""
    found = versions(site, check_name("template", name))
    return Spec.from_record(_record(site, name, found[-1])["spec"]) if found else None


def in_use(site: Site, name: str) -> list[str]:
    """The guests whose clone is of ``name``, sorted."""
    return sorted(guest.name for guest in store.load_all(site).known if guest.root.template == name)


def info(site: Site, name: str) -> dict[str, Any]:
    """One template in full: ``name``, ``latest``, ``created``, ``size_bytes`` and ``spec`` of the newest version,
    ``used_by`` (guests), and ``versions``, newest last, each with ``version``, ``created``, ``size_bytes`` and
    ``used_by``.

    Times are ISO 8601 in UTC. Raises :class:`InvalidInput` when there is no such template.
    """
    latest(site, name)
    guests = [guest for guest in store.load_all(site).known if guest.root.template == name]
    records = [_record(site, name, version) for version in versions(site, name)]
    newest = records[-1]
    return {
        "name": name,
        "latest": newest["version"],
        "created": newest["created"],
        "size_bytes": newest["size_bytes"],
        "spec": newest["spec"],
        "used_by": [guest.name for guest in guests],
        "versions": [
            {
                "version": record["version"],
                "created": record["created"],
                "size_bytes": record["size_bytes"],
                "used_by": [guest.name for guest in guests if guest.root.version == record["version"]],
            }
            for record in records
        ],
    }


def ensure(
    site: Site,
    spec: Spec,
    *,
    refresh: bool = False,
    check: bool = False,
    progress: Callable[[str], None] = _quiet,
) -> Outcome:
    """Have a version of ``spec``: build one when the newest is of another specification, when there is none, or when
    ``refresh`` asks for it.

    * check: say what would happen; nothing is changed or fetched
    * progress: called with a line of text at each step

    Raises :class:`VserverError`; nothing but the log ``templates/NAME/.build.log`` is then left behind.
    """
    if not refresh and recorded(site, spec.name) == spec:
        return Outcome(False, subject=info(site, spec.name))
    plan = template_build.plan(site, spec)
    if check:
        progress(f"would build template {spec.name}: {plan.describe()}")
        return _outcome(site, spec, recorded(site, spec.name), versions(site, spec.name), None)
    template_build.require_tools(spec)
    with _locked(site, spec.name) as lock:
        before, existing = recorded(site, spec.name), versions(site, spec.name)
        # Another run may have built it while we waited.
        if not refresh and before == spec:
            return Outcome(False, subject=info(site, spec.name))
        version = _build(site, plan, existing, lock, progress)
        return _outcome(site, spec, before, existing, version)


def absent(site: Site, name: str, *, check: bool = False) -> Outcome:
    """Remove the template with all its versions.

    Raises :class:`Conflict` while a guest's clone is of it; in check mode it warns.
    """
    directory = directory_of(site, name)
    if check or not directory.is_dir():
        return _removal(site, name, check=True)
    with _locked(site, name):
        # A clone is resolved and recorded under "registry": either we see it, or it finds no template any more.
        with store.lock(site, "registry"):
            outcome = _removal(site, name, check=False)
            for version in versions(site, name):
                (directory / version).rename(directory / f"{files.PENDING}{version}")
                faults.reached("template:removing")
        try:
            files.sweep(directory)
            with contextlib.suppress(FileNotFoundError):
                (directory / _LOG).unlink()
            directory.rmdir()
            files.fsync_directory(site.templates)
        except OSError as error:
            raise VserverError(f"remove template {name}", why=error.strerror) from error
        faults.reached("template:removed")
    return dataclasses.replace(outcome, subject={})


def _removal(site: Site, name: str, *, check: bool) -> Outcome:
    """What removing the template changes. Raises :class:`Conflict` while it is in use; in check mode it warns."""
    existing = versions(site, name)
    if not existing:
        return Outcome(False)
    what = f"remove template {name}"
    warnings: list[str] = []
    users = in_use(site, name)
    if users:
        why = f"it is the root of {'guest' if len(users) == 1 else 'guests'} {', '.join(users)}"
        warnings += in_the_way(Conflict(what, why=why, remedy="Remove their clones first."), check=check)
    for each in store.load_all(site).unreadable:
        if each.known.root == Root():
            why = f"it may be the root of guest {each.known.name}, whose record cannot be read"
            conflict = Conflict(what, why=why, remedy="Restore or remove that guest first.")
            warnings += in_the_way(conflict, check=check)
    before, after = {"state": "present", "versions": existing}, {"state": "absent", "versions": []}
    return Outcome(True, before, after, info(site, name), warnings=tuple(warnings))


def _outcome(site: Site, spec: Spec, before: Spec | None, existing: list[str], version: str | None) -> Outcome:
    """What building ``version`` changed; None: would change."""
    old, new = before.to_record() if before else {}, spec.to_record()
    changed = [option for option in new if old.get(option) != new[option] and (old or new[option]) and option != "name"]
    return Outcome(
        True,
        {**{option: old.get(option) for option in changed if old}, "version": existing[-1] if existing else None},
        {**{option: new[option] for option in changed}, "version": version or "(new)"},
        info(site, spec.name) if version or existing else {},
    )


def _build(
    site: Site, plan: template_build.Plan, existing: list[str], lock: int, progress: Callable[[str], None]
) -> str:
    name, directory = plan.spec.name, directory_of(site, plan.spec.name)
    pending: Path | None = None
    try:
        with BuildLog(directory / _LOG) as log:
            pending = files.pending_directory(directory)
            faults.reached("template:pending")
            build = template_build.Build(plan, pending, lock, log, progress)
            template_build.fill(build)
            faults.reached("template:filled")
            template_build.run_commands(build, plan.spec.commands)
            faults.reached("template:commands")
            progress("clean up")
            with Tree(build.root) as tree:
                size = template_clean.clean(tree)
            faults.reached("template:cleaned")
            now = time.time()
            version = next_version(existing, now)
            files.write_json(pending / RECORD, _new_record(plan, version, now, size))
            faults.reached("template:recorded")
            files.flush(pending)
            faults.reached("template:synced")
            pending.rename(directory / version)
            pending = None
            files.fsync_directory(directory)
            files.fsync_directory(directory.parent)
            faults.reached("template:built")
    except (OSError, RecursionError, VserverError) as error:
        raise _told(site, name, directory / _LOG, error) from error
    finally:
        if pending is not None:
            # What fails here is swept by the next run; the first error is the one to tell.
            with contextlib.suppress(VserverError):
                files.remove_tree(pending)
    progress(f"built template {name} version {version}")
    return version


def _new_record(plan: template_build.Plan, version: str, now: float, size: int) -> dict[str, Any]:
    return {
        "format": RECORD_FORMAT,
        "name": plan.spec.name,
        "version": version,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "size_bytes": size,
        "sources": [str(source) for source in plan.sources],
        "spec": plan.spec.to_record(),
    }


def _told(site: Site, name: str, log: Path, error: Exception) -> VserverError:
    """The error as the operator is to see it: who, and in the case of a full disk in plain words."""
    what = f"build template {name}"
    text = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in text:
        return VserverError(
            what, why=f"no space left on the disk of {site.state}", remedy=f"Free some. The full output is in {log}."
        )
    if isinstance(error, VserverError):
        if f"template {name}" in error.what:
            return error
        return type(error)(f"{what}: {error.what}", error.why, error.remedy)
    if isinstance(error, RecursionError):
        return VserverError(what, why="its directories are nested too deeply")
    return VserverError(what, why=str(error))


@contextlib.contextmanager
def _locked(site: Site, name: str) -> Iterator[int]:
    """Hold the template's lock, with its directory there and free of what a crash left."""
    store.prepare(site)
    with store.lock(site, f"template-{name}") as lock:
        directory = directory_of(site, name)
        files.make_directory(directory)
        files.sweep(directory)
        yield lock


def _record(site: Site, name: str, version: str) -> dict[str, Any]:
    path = directory_of(site, name) / version / RECORD
    try:
        record = files.read_json(path)
        if record["format"] != RECORD_FORMAT:
            raise VserverError(
                f"read {path}",
                why=f"it has format {record['format']!r}, this version reads {RECORD_FORMAT}",
                remedy="Use the version of linux.vserver that wrote it, or a newer one.",
            )
        return {key: record[key] for key in ("version", "created", "size_bytes", "spec")}
    except FileNotFoundError:
        raise VserverError(f"read {path}", why="somebody removed it meanwhile", remedy="Try again.") from None
    except (KeyError, TypeError) as error:
        raise VserverError(f"read {path}", why=f"it is damaged ({type(error).__name__}: {error})") from error
