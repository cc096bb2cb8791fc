# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which OCI runtime can run a container here: each is made to run one, built the way guests are.

The container holds one file, a program of a dozen bytes of machine code that exits, so nothing of the host's
distribution is needed. Everything lies in a tmpfs in a mount namespace of its own and is gone when the trial ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import oci, seccomp
from ..kernel import cgroup, cgroup_v1, mount, namespace
from ..model import ID_COUNT, XID_MAX, Context, Guest
from ..site import Site
from .facts import Runtime, errors_in_log, first_version
from .trial import begin, in_child, scratch

#: In the order of preference: crun starts a container in a fourth of runc's time.
NAMES = ("crun", "runc")
#: Ansible's modules often find only /usr/bin and /bin in PATH.
SEARCH = os.pathsep.join(
    filter(None, (os.environ.get("PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
)
_PATIENCE = 20.0

#: exit(0): machine → (e_machine of ELF, machine code).
_EXIT = {
    "x86_64": (62, bytes.fromhex("31ff b83c000000 0f05")),
    "aarch64": (183, struct.pack("<III", 0xD2800000, 0xD2800BA8, 0xD4000001)),
}


def runtime_paths() -> list[str]:
    """The installed runtimes' paths, the preferred first."""
    return [path for path in map(path_of, NAMES) if path is not None]


def path_of(name: str) -> str | None:
    """Where a runtime is installed; None: nowhere."""
    return shutil.which(name, path=SEARCH)


def runtimes(site: Site, user_namespace: bool = True) -> tuple[Runtime, ...]:
    """The installed runtimes, each tried out by a container with a user namespace or without, the preferred first."""
    return begin_runtimes(site, user_namespace)()


def begin_runtimes(site: Site, user_namespace: bool = True) -> Callable[[], tuple[Runtime, ...]]:
    """Start trying all installed runtimes at once; the returned function waits for them and must be called."""
    trials = [(path, begin(functools.partial(_examine, site, path, user_namespace))) for path in runtime_paths()]
    return lambda: tuple(_verdict(path, finish) for path, finish in trials)


def _verdict(path: str, finish: Callable[[], str]) -> Runtime:
    try:
        version, refusal = json.loads(finish())
    except OSError as error:
        version, refusal = "", error.strerror or str(error)
    return Runtime(os.path.basename(path), path, version, not refusal, refusal)


def preferred(found: Sequence[Runtime]) -> Runtime | None:
    """The runtime to use: crun where it works, else runc where that works, else None (pure)."""
    working = {runtime.name: runtime for runtime in found if runtime.works}
    return next((working[name] for name in NAMES if name in working), None)


def executable(machine: str) -> bytes:
    """An ELF program for ``machine`` that does nothing but exit with status 0 (pure). Raises KeyError."""
    number, code = _EXIT[machine]
    address, headers = 0x400000, 64 + 56
    size = headers + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64 bits, little endian, version 1
        *(2, number, 1, address + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, size, size, 0x1000)
    return header + segment + code


def _examine(site: Site, path: str, user_namespace: bool) -> str:
    """Return the runtime's version and why it cannot run a container, as JSON; an empty reason when it can."""
    answer = subprocess.run(
        [path, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    return json.dumps([first_version(answer.stdout), _try(site, path, user_namespace)])


def _try(site: Site, path: str, user_namespace: bool) -> str:
    """Run a container; return why it did not, in the runtime's words, empty when it did."""
    layout = cgroup.layout()
    # Beside site.run and not in it: a guest's root has to get there, and the mode of site.run may not be set yet.
    with scratch(site.run.parent) as place:
        # Without the dot: crun names a keyring after the container, and the kernel reserves that beginning.
        name = place.name.lstrip(".")
        try:
            return in_child(lambda: _run(place, name, path, layout, user_namespace))
        finally:
            # The runtime has done it, unless it was killed.
            with contextlib.suppress(OSError):
                cgroup.remove(layout, name)


def _run(place: Path, name: str, path: str, layout: cgroup.Layout, user_namespace: bool) -> str:
    namespace.unshare(namespace.CLONE_NEWNS)
    mount.make_private()
    mount.mount("tmpfs", place, "tmpfs", options="mode=0711")
    root, sys, log = place / "root", place / "sys", place / "log"
    for directory in (root, sys):
        directory.mkdir()
    mount.bind(Path("/sys"), sys)
    try:
        program = executable(platform.machine())
    except KeyError:
        return f"linux.vserver does not know {platform.machine()}"
    (root / "exit").write_bytes(program)
    (root / "exit").chmod(0o755)
    guest = Guest("probe", context=Context(xid=XID_MAX, init=("/exit",), user_namespace=user_namespace))
    os.chown(root, guest.base_id, guest.base_id)
    user = place / "user"
    user.touch()
    mount.bind(Path(f"/proc/self/fd/{namespace.user_namespace(guest.base_id, ID_COUNT)}"), user)
    config = oci.config(
        guest,
        root,
        sys,
        cgroup=name,
        kept=("CAP_KILL",),
        seccomp=seccomp.profile(platform.machine()),
        user=user,
    )
    (place / "config.json").write_text(json.dumps(config))
    cgroup_v1.hide(layout)
    logging = ("--log", str(log), "--log-format", "json")
    result = subprocess.run(
        [path, "--root", str(place / "state"), *logging, "run", "--bundle", str(place), name],
        input="",  # not /dev/null: crun gives standard input away to the container's root
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    if result.returncode == 0:
        return ""
    logged = errors_in_log(log.read_text(errors="replace")) if log.exists() else ""
    return logged or result.stderr.strip() or f"it ended with status {result.returncode}"
