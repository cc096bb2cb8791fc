# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher: a private mount namespace with the guest's root in it, and the runtime executed there.

Every mount made here lives in this namespace and the guest's own only; the host's mount table does not grow, and the
kernel cleans up when the guest is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

from . import running, runtime
from .errors import ToolFailed, VserverError
from .facets import root
from .host import filesystem
from .kernel import cgroup, cgroup_place, cgroup_v1, landlock, mount, namespace, openat2, process
from .model import ID_COUNT, Guest
from .site import Site

#: Those of a spectator: the host's processes and control groups, read-only.
SPECTATORS = ("proc", "cgroup")

#: Where the bundle's mounts go; directories that are empty on the host, but for a null device.
MOUNT_POINTS = ("lower", "writable", "root", "sys", "null", *SPECTATORS)
#: Where its user namespace goes, for the runtime to join; an empty file.
USER_NAMESPACE = "user"

#: Lower, upper and work directory of an overlay, relative to the bundle: the guest's mountinfo tells of no other place.
_LAYERS = (Path("lower"), Path("writable/upper"), Path("writable/work"))

#: Directories of the guest's root that something is mounted on.
_MOUNTED_ON = ("dev", "proc", "run", "sys")


def create(site: Site, guest: Guest, path: str, own_time: bool, program: int | None) -> int:
    """Create the guest's container from its bundle, and return the host's pid of its process 1, not yet executing init.

    * own_time: time since boot begins now for it, where the kernel can
    * program: a sealed copy of the runtime; None: it makes one of itself

    Process 1 becomes a child of the next subreaper above the runtime, or of the host's process 1.
    Raises :class:`VserverError`.
    """
    bundle = site.bundle(guest.name)
    log, pid_file = bundle / "runtime.log", bundle / "pid"
    for leftover in (log, pid_file):
        leftover.unlink(missing_ok=True)
    group = running.group(site, guest.name) if runtime.leaves_groups(path, guest.context.user_namespace) else None
    options = runtime.LEAVE_GROUPS if group else ()
    create = ("create", "--bundle", str(bundle), "--pid-file", str(pid_file), guest.name)
    argv = runtime.command(site, path, log, *options, *create)
    # Found and made in this process and not in the child, which would have to copy all that it writes to.
    lower = root.template_root(site, guest.root) if guest.root.method == "overlay" else Path("/")
    with _user_namespace(guest) as mapping:
        receive, send = os.pipe()
        child = process.fork_briefly() if group is None else process.fork_into(group)
        if child == 0:
            try:
                os.close(receive)
                _prepare(site, guest, lower, mapping)
                _leave_behind(bundle / "null")
                if own_time:
                    # A kernel without shows the host's uptime, which guest_info tells.
                    with contextlib.suppress(OSError):
                        namespace.begin_time()
                layout = cgroup.layout()
                cgroup_place.enter_v1(cgroup_v1.groups(layout, running.outer_group(site, layout, guest.name)))
                cgroup_v1.hide(layout)
                # Last: whoever is in a Landlock domain may be kept from mounting.
                landlock.scope(signals=guest.context.spectator)
                if program is not None:
                    with contextlib.suppress(OSError):
                        os.execve(program, argv, os.environ)
                os.execv(argv[0], argv)
            except BaseException as error:
                os.write(send, _reason(error).encode()[:4000])
            finally:
                os._exit(1)
    os.close(send)
    with open(receive, "rb") as pipe:
        refusal = pipe.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if refusal:
        raise VserverError(_attempt(guest), why=refusal)
    if status:
        raise ToolFailed(
            f"create guest {guest.name}", why=runtime.log_errors(log) or f"{path} ended with status {status}"
        )
    return int(pid_file.read_text())


def _attempt(guest: Guest) -> str:
    return f"prepare the root of guest {guest.name}"


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextlib.contextmanager
def _user_namespace(guest: Guest) -> Iterator[int | None]:
    """A descriptor of the guest's user namespace for a ``with`` block, None where it has none."""
    if not guest.context.user_namespace:
        yield None
        return
    try:
        made = namespace.user_namespace(guest.base_id, ID_COUNT)
    except OSError as error:
        raise VserverError(_attempt(guest), why=_reason(error)) from error
    try:
        yield made
    finally:
        os.close(made)


def _leave_behind(place: Path) -> None:
    """Give the runtime, and so the guest's init, nothing of this process: no descriptors, no ignored signals.

    A runtime may give standard input and output away to the guest's root (crun does), so they are a null device of the
    guest's own, new for each run, in the directory ``place``; never the host's /dev/null.
    """
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    mount.bind(place, place)
    mount.mount("none", place, "", mount.MS_REMOUNT | mount.MS_BIND | mount.MS_NOSUID | mount.MS_NOEXEC)
    null = mount.null_device(place / "null")
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _prepare(site: Site, guest: Guest, lower: Path, mapping: int | None) -> None:
    """Leave the host's mount namespace and build the guest's root below its bundle.

    * lower: the lowest layer of an overlay
    * mapping: the guest's user namespace, None: it has none
    """
    bundle, clone = site.bundle(guest.name), root.directory(site, guest.name)
    namespace.unshare(namespace.CLONE_NEWNS)
    mount.make_private()
    os.chdir(bundle)
    target = bundle / "root"
    if mapping is not None:
        mount.bind(Path(f"/proc/self/fd/{mapping}"), bundle / USER_NAMESPACE)

    def layer(source: Path, point: Path, readonly: bool = False) -> None:
        if mapping is None:
            mount.bind(source, point)
        else:
            mount.idmapped_bind(source, point, mapping, readonly)

    if guest.root.method == "host":
        # Not shifted: what the host's users own is nobody's in the guest, so its root may read what everybody may.
        mount.bind(lower, bundle / "lower")
        mount.bind(clone, bundle / "writable")
        mount.overlay(target, *_LAYERS, filesystem.OVERLAY, 0)
    elif guest.root.method == "overlay":
        layer(lower, bundle / "lower", readonly=True)
        layer(clone, bundle / "writable")
        mount.overlay(target, *_LAYERS, filesystem.OVERLAY, 0 if mapping is None else guest.base_id)
    else:
        layer(clone / "rootfs", target)
    os.chdir("/")
    mount.bind(Path("/sys"), bundle / "sys")
    if guest.context.spectator:
        # Mounted afresh, so that no hidepid of the host's own is in force.
        readonly = mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
        mount.mount("proc", bundle / "proc", "proc", readonly)
        mount.readonly_bind(cgroup.layout().tree, bundle / "cgroup")
    _refuse_planted(guest, target)


def _refuse_planted(guest: Guest, target: Path) -> None:
    """Refuse a root in which something other than a directory lies where the runtime will mount.

    A guest owns every byte of its root and could have put a link to a host path there (CVE-2026-41579 and kin).
    """
    top = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in _MOUNTED_ON:
        try:
            fd = openat2.open_in_root(top, name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # the runtime makes a plain directory
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(f"/{name} in the root of guest {guest.name} is not a directory; remove it from the clone")
        os.close(fd)
    os.close(top)
