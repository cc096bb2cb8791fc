# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest as a unit of the host's systemd, ``vserver@NAME.service``.

Whoever wants a guest started or stopped asks systemd, which runs the unit's steps: ``start``, ``stop``, and ``clear``
after every end, whoever brought it about. Process 1 of the guest is the unit's main process, and its wait status says
whether the guest rebooted (SIGHUP) or powered off (SIGINT; kernel/pid_namespace.c, reboot_pid_ns): nothing of ours runs
between the steps. The unit's own group holds ``engine``, for the step that starts, and ``bound``, the outer group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from . import boot, ending, files, last_end, running, store, systemd
from .errors import Conflict, ToolFailed, VserverError
from .kernel import cgroup
from .model import Guest
from .running import Running
from .site import Site

#: The tree in which systemd makes the units' groups; on hybrid hosts it is elsewhere, and guests have supervisors.
_TREE = Path("/sys/fs/cgroup")
_FAILURE = "failure.json"
#: What a stop may take beyond the guest's own timeout: others' locks, the kernel, the runtime. In seconds.
_STOP_MARGIN = 60.0


def used(site: Site) -> bool:
    """Whether guests are started as units here: systemd runs the host, and the template unit and its program exist."""
    return (
        systemd.booted()
        and (systemd.UNITS / site.unit("")).is_file()
        and site.program.is_file()
        and cgroup.layout().unified == _TREE
    )


def start(site: Site, guest: Guest, lock: int) -> Running:
    """Have systemd start the guest; returns when its init runs. The caller holds its lock, ``lock``, with the orders.

    Raises :class:`VserverError` with the words of the step that failed.
    """
    unit, began = site.unit(guest.name), _now()
    try:
        with store.lent(guest.name, lock):
            systemd.start(unit)
    except ToolFailed as error:
        said = _failure(site, guest.name, began)
        why = (error.why or "").partition("\n")[0].rstrip(".")
        raise said or ToolFailed(
            f"start guest {guest.name}", why=why, remedy=f"See journalctl --unit={unit}."
        ) from error
    return boot.require_running(site, guest.name)


def stop(site: Site, name: str, lock: int) -> None:
    """Have systemd stop the guest's unit; it is fine when that does not run. The caller holds the guest's lock."""
    with store.lent(name, lock):
        systemd.stop(site.unit(name))


def run_step(site: Site, step: str, name: str) -> None:
    """One step of the unit (of :data:`STEPS`), in a process that systemd runs for it. Raises :class:`VserverError`."""
    if step == "start":
        # A runtime that finds it waits for the guest's init to say through it that it is ready.
        os.environ.pop("NOTIFY_SOCKET", None)
        # To die of these is success in systemd's eyes.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _fail)
    STEPS[step](site, name)


def _fail(_number: int, _frame: object) -> None:
    raise SystemExit(1)


def _start(site: Site, name: str) -> None:
    with store.lock_steps(site, name):
        try:
            if _elsewhere(site, name):
                raise Conflict(
                    f"start guest {name} as {site.unit(name)}",
                    why="it runs already, started before this unit was there",
                    remedy=f"Restart it by vserver stop {name} and vserver start {name}.",
                )
            guest, path = boot.require_bootable(site, name)
            _step_aside(site, name)
            boot.boot(site, guest, path, in_unit=True)
            boot.require_running(site, name)
        except VserverError as error:
            _note_failure(site, name, error)
            raise
        except Exception as error:
            _note_failure(site, name, VserverError(f"start guest {name}", why=str(error)))
            raise


def _stop(site: Site, name: str) -> None:
    now = running.found(site, name)
    if now is not None:
        systemd.extend_timeout(now.guest.context.timeout + _STOP_MARGIN)
    with store.lock_steps(site, name):
        now = running.found(site, name)
        if now is not None:
            ending.in_order(site, now)
            last_end.note(site, now, "stopped")
        _note_end(site, name)
        boot.release(site, name)


def _clear(site: Site, name: str) -> None:
    with store.lock_steps(site, name):
        if not _elsewhere(site, name):
            _note_end(site, name)
            boot.release(site, name)


def _note_end(site: Site, name: str) -> None:
    """Note how the run has ended that nobody has cleared up behind; the first step after an end is ExecStop as well."""
    ended = running.left(site, name)
    if ended is not None:
        last_end.note(site, ended, *last_end.of_unit(os.environ))


#: What ExecStart, ExecStop and ExecStopPost of the unit do.
STEPS = {"start": _start, "stop": _stop, "clear": _clear}


def _elsewhere(site: Site, name: str) -> bool:
    """Whether the guest runs, but not in its unit."""
    supervised = running.outer_groups(site, name)[0]
    return running.found(site, name) is not None and running.outer_group(site, cgroup.layout(), name) == supervised


def _step_aside(site: Site, name: str) -> None:
    """Leave the unit's own group: one that hands controllers on holds no processes (cgroup-v2.rst)."""
    group = cgroup.layout().tree / site.unit_cgroup(name)
    try:
        (group / "engine").mkdir(exist_ok=True)
        (group / "engine/cgroup.procs").write_text("0")
    except OSError as error:
        raise VserverError(
            f"start guest {name} in the cgroup of its unit", why=error.strerror, remedy=f"Use vserver start {name}."
        ) from error


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _note_failure(site: Site, name: str, error: VserverError) -> None:
    """Leave the words for whoever had systemd start the guest; they are in the journal as well."""
    with contextlib.suppress(VserverError, OSError):
        files.make_directory(site.bundle(name), 0o711)
        said = [error.what, error.why, error.remedy]
        files.write_json(site.bundle(name) / _FAILURE, {"at": _now(), "error": said})


def _failure(site: Site, name: str, since: float) -> VserverError | None:
    """What a start said that failed after ``since``."""
    with contextlib.suppress(FileNotFoundError, VserverError):
        noted = files.read_json(site.bundle(name) / _FAILURE)
        if noted["at"] >= since:
            return VserverError(*noted["error"])
    return None
