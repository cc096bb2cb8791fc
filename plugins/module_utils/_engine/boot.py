# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a guest up, from its cgroup to its running init, and clearing away what its run leaves on the host."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable

from . import faults, files, host_addresses, launch, oci, proc_view, running, runtime, seccomp, store
from .errors import InvalidInput, VserverError
from .facets import binding, capabilities, limits, root
from .host import lxcfs
from .kernel import cgroup, cgroup_processes, cgroup_v1, mountinfo, process, sealed
from .model import Guest
from .running import Running
from .site import Site

_KILL_TIMEOUT = 10.0
_EXECUTE_TIMEOUT = 30.0


def require_bootable(site: Site, name: str) -> tuple[Guest, str]:
    """The record of a guest that can be started, and the path of the runtime for it. Raises :class:`VserverError`."""
    guest = store.require(site, name)
    if root.observe(site, guest, None) is None:
        raise InvalidInput(f"start guest {name}", why="it has no root", remedy="Clone it from a template first.")
    binding.require_tight(guest)
    return guest, runtime.choose(site, guest.context.user_namespace)


def prepare(site: Site) -> None:
    """Find out what starts have to know of this host, and make what they share, for processes forked from this one."""
    cgroup.layout()
    binding.prepare()
    with contextlib.suppress(VserverError):  # which each start will say by itself
        sealed.program(runtime.choose(site))


def require_running(site: Site, name: str) -> Running:
    """The run state of a guest that has just been booted. Raises :class:`VserverError`."""
    now = running.read(site, name)
    if now is None:
        raise VserverError(
            f"start guest {name}",
            why="its init ended at once",
            remedy="Look at what its init needs, or give another one (init).",
        )
    return now


def boot(
    site: Site,
    guest: Guest,
    path: str,
    *,
    in_unit: bool = False,
    create: Callable[[Site, Guest, str, bool], int] | None = None,
) -> Running:
    """Bring the guest up, from its cgroup to its running init, with the runtime at ``path``.

    The caller holds the guest's lock. It becomes the parent of process 1 if it is a subreaper.

    * in_unit: in the cgroup of its systemd unit, which is there
    * create: has another process do what :func:`create_process` does, and so become the parent of process 1
    """
    release(site, guest.name)
    layout = cgroup.layout()
    try:
        if in_unit:
            cgroup.create(layout, "bound/guest", inside=site.unit_cgroup(guest.name))
        else:
            cgroup.create(layout, f"{site.guest_cgroup(guest.name)}/guest")
        cgroup_v1.create(layout, running.outer_group(site, layout, guest.name))
    except OSError as error:
        raise VserverError(f"make the cgroup of guest {guest.name}", why=error.strerror) from error
    faults.reached("start:cgroup-made")
    binding.attach(site, guest)
    faults.reached("start:bound")
    host_addresses.up(site, guest)
    binding.permit(guest)
    faults.reached("start:addresses-up")
    _write_bundle(site, guest)
    faults.reached("start:bundle-written")
    spectator = guest.context.spectator
    shows = None if spectator else lxcfs.answering(site)
    own_time = shows is None and not spectator  # lxcfs, and what a spectator sees, tell times since the host's boot
    pid = (create or create_process)(site, guest, path, own_time)
    faults.reached("start:created")
    if guest.context.user_namespace and not spectator:
        cgroup.delegate(running.group(site, guest.name), guest.base_id)
    binding.verify(guest, pid)
    if not spectator:
        _verify_groups_seen(site, guest, pid)
    limits.enforce(site, guest, pid)
    if shows is not None:
        with contextlib.suppress(OSError):  # it is a view only; guest_info tells
            proc_view.renew(site, pid, shows)
    start = process.start_ticks(pid)
    if start is None:
        raise VserverError(f"start guest {guest.name}", why="its first process ended before init ran")
    creator = process.executable(pid)
    runtime.start(site, path, guest.name, pid)
    # The runtime answers before its process in the guest has executed init, and until then takes signals meant for it.
    if not process.wait_executed(pid, creator, _EXECUTE_TIMEOUT):
        raise VserverError(f"start guest {guest.name}", why=f"its init has not run after {_EXECUTE_TIMEOUT:.0f} s")
    faults.reached("start:started")
    started_at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    now = Running(pid, start, path, started_at, guest)
    running.write(site, now)
    faults.reached("start:noted")
    return now


def _verify_groups_seen(site: Site, guest: Guest, pid: int) -> None:
    """Raise :class:`VserverError` when process ``pid`` sees other control groups than the guest's own.

    Where a mount of the v2 tree is refused in a guest, a runtime may bind what it sees itself: that of the host.
    """
    own = f"/{running.inner_cgroup(site, guest.name)}"
    try:
        others = [seen.root for seen in mountinfo.read_type("cgroup2", pid) if seen.root != own]
    except FileNotFoundError:
        return  # it has ended, which the caller tells
    if others:
        raise VserverError(
            f"start guest {guest.name}",
            why=f"the runtime has given it a view of the control groups {', '.join(others)}, not only of its own",
            remedy="See in the kernel's log why a guest cannot mount cgroup2, or install another OCI runtime.",
        )


def create_process(
    site: Site, guest: Guest, path: str, own_time: bool, program: int | None = None, *, tried: bool = False
) -> int:
    """Create process 1 of a guest whose cgroup is bound and whose bundle is written; answers its pid.

    * own_time, program: see :func:`.launch.create`
    * tried: that programs take effect has been seen with another guest just now: they do for all or, from some moment
      on, for none, not even for guests that run

    All of that is forks, after each of which the caller copies what it writes to. Raises :class:`VserverError`.
    """
    if not tried:
        binding.require_effect(site, guest)
    return launch.create(site, guest, path, own_time, program)


def _write_bundle(site: Site, guest: Guest) -> None:
    bundle = site.bundle(guest.name)
    config = oci.config(
        guest,
        root=bundle / "root",
        sys=bundle / "sys",
        cgroup=running.inner_cgroup(site, guest.name),
        kept=capabilities.of(guest),
        seccomp=seccomp.profile(os.uname().machine),
        hidden=[place for place in oci.HIDDEN if os.path.isdir(place)],
        seen=bundle,
        user=bundle / launch.USER_NAMESPACE,
    )
    for point in launch.MOUNT_POINTS:
        files.make_directory(bundle / point)
    (bundle / launch.USER_NAMESPACE).touch(0o600)
    files.write_json(bundle / "config.json", config)


def release(site: Site, name: str) -> None:
    """Clear everything a guest's run leaves or left on the host, whatever state it is in; its processes are killed.

    The caller holds the guest's lock and is not itself in the guest's cgroup.
    """
    layout = cgroup.layout()
    for outer in running.outer_groups(site, name):
        inner = layout.tree / outer / "guest"
        if not cgroup_processes.kill(inner, _KILL_TIMEOUT):
            raise VserverError(
                f"kill guest {name}",
                why=f"processes {cgroup_processes.ids(inner)} do not die",
                remedy="They hang in the kernel (often on a dead disk or network file system); "
                "see their /proc/PID/stack.",
            )
    faults.reached("stop:killed")
    files.make_directory(site.bundle(name), 0o711)
    runtime.delete(site, name)
    faults.reached("stop:deleted")
    last = running.last(site, name)
    if last is not None:
        binding.release(site, last)
    host_addresses.down(site, name)
    faults.reached("stop:addresses-down")
    running.clear(site, name)
    try:
        for outer in running.outer_groups(site, name):
            _remove_cgroup(layout, outer)
        cgroup.remove_if_empty(layout.v1, site.unit_cgroup(name))  # the v2 tree's is systemd's
        limits.release(site)
    except OSError as error:
        raise VserverError(f"remove the cgroup of guest {name}", why=error.strerror) from error
    faults.reached("stop:released")


def _remove_cgroup(layout: cgroup.Layout, outer: str) -> None:
    """Remove a guest's groups from every hierarchy, and with them the binding's programs.

    A supervisor of an earlier version of the engine, which had a group in it, is ended.
    """
    cgroup_processes.kill(layout.tree / outer, _KILL_TIMEOUT)
    cgroup.remove(layout, outer)


def forget(site: Site, name: str) -> None:
    """Remove what a stopped guest has on the host until the next reboot, and our cgroup when it was the last guest."""
    limits.forget(site, name)
    files.remove_tree(site.bundle(name))
    layout = cgroup.layout()
    cgroup.remove_if_empty(layout.tops, site.cgroup)
    cgroup.remove_if_empty(layout.v1, site.slice)
