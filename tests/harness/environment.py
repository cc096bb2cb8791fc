# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests need on a machine, and how it gets there: packages, Python environment, a copy of the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from . import confine

# What the tests call, and the Debian package that brings it.
PACKAGES = {
    "crun": "crun",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "dig": "bind9-dnsutils",
    "doas": "opendoas",
    "git": "git",
    "go": "golang-go",
    "groff": "groff-base",
    "ip": "iproute2",
    "lxcfs": "lxcfs",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "psql": "postgresql-client",
    "runc": "runc",
    "shellcheck": "shellcheck",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "sudo": "sudo",
    "systemctl": "systemd",
    "unshare": "util-linux",
}
# What the lab's tests call beside that.
LAB_PACKAGES = {
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "zstd": "zstd",
}
_NO_MORE: Mapping[str, str] = MappingProxyType({})
# ansible-core of requirements.txt runs on these.
CONTROLLER_PYTHONS = ("3.11", "3.12", "3.13")
KEPT_RUNS = 10


class SetupError(Exception):
    """The machine lacks something without which nothing can be tested; the message says what to do."""


@dataclass
class Workspace:
    """The places of one run: the tree under test, the tools, and where logs go."""

    source: Path
    cache: Path
    run: Path
    expression: str | None = None
    python: Path = Path(sys.executable)
    ready: bool = False
    stopped: bool = False
    _children: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def collections(self) -> Path:
        """The directory that holds ``ansible_collections``."""
        return self.run / "tree"

    @property
    def tree(self) -> Path:
        """The collection as it was when the run began, where ansible-test accepts it."""
        return self.collections / "ansible_collections" / "linux" / "vserver"

    @property
    def home(self) -> Path:
        """The home directory of the tools, so that they neither read nor write the user's."""
        return self.cache / "home"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name.replace(' ', '-')}.log"

    def environ(self) -> dict[str, str]:
        """Environment variables for every tool: the user's settings of Python and Ansible do not reach it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
        }
        path = [str(self.python.parent), kept.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "HOME": str(self.home),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.cache / "hypothesis"),
            "LC_ALL": "C.UTF-8",
            "MYPY_CACHE_DIR": str(self.cache / "mypy"),
            "NO_COLOR": "1",
            "PATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RUFF_CACHE_DIR": str(self.cache / "ruff"),
            "VSERVER_LAB_CACHE": str(self.cache / "lab"),
            "VSERVER_TEST_CACHE": str(self.cache / "templates"),
        }

    def call(
        self, command: Sequence[str], log: Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> int:
        """Runs a command without standard input, its output to a log; the answer is its exit status."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            child = subprocess.Popen(
                command,
                cwd=cwd or self.tree,
                env={**self.environ(), **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._lock:
            self._children.add(child)
        try:
            if self.stopped:
                self._interrupt(child)
            return child.wait()
        finally:
            with self._lock:
                self._children.discard(child)

    def stop(self) -> None:
        """Interrupts what still runs, together with its children, and begins nothing more."""
        self.stopped = True
        with self._lock:
            for child in self._children:
                self._interrupt(child)

    @staticmethod
    def _interrupt(child: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGINT)


def open_workspace(source: Path, expression: str | None) -> Workspace:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = base.absolute() / "linux.vserver"
    runs = cache / "runs"
    for directory in (runs, cache / "home" / ".config", cache / "templates"):
        directory.mkdir(parents=True, exist_ok=True)
    _forget_old(runs)
    run = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
    _claimed(run, fcntl.LOCK_SH)
    return Workspace(source=source, cache=cache, run=run, expression=expression)


def _forget_old(runs: Path) -> None:
    # Another run may be doing the same, and one that is still going on keeps its directory.
    with suppress(FileNotFoundError):
        for old in sorted(runs.iterdir(), key=lambda entry: entry.stat().st_mtime)[:-KEPT_RUNS]:
            with suppress(BlockingIOError):
                os.close(_claimed(old, fcntl.LOCK_EX | fcntl.LOCK_NB))
                shutil.rmtree(old, ignore_errors=True)


def _claimed(directory: Path, how: int) -> int:
    """Locks a run's directory, which says to other runs that it is in use; the lock ends with the descriptor."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def missing_packages(more: Mapping[str, str] = _NO_MORE) -> list[str]:
    """Debian packages whose programs are not here. Debian's own Python comes without the means to make environments."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    missing = [package for program, package in {**PACKAGES, **more}.items() if not shutil.which(program, path=path)]
    if subprocess.run([sys.executable, "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False).returncode:
        missing.append("python3-venv")
    return missing


def install_packages(space: Workspace, more: Mapping[str, str] = _NO_MORE) -> list[str]:
    """Installs what is missing where that can be done. Answers with what is missing still, each with the way out.

    ``more`` are programs and their packages that not everybody needs.
    """
    missing = missing_packages(more)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        log = space.log("setup packages")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        if not space.call(["apt-get", "update"], log, cwd=space.run, extra=quiet):
            install = ["apt-get", "install", "-oDPkg::Lock::Timeout=300", "--yes", "--no-install-recommends", *missing]
            space.call(install, log, cwd=space.run, extra=quiet)
        missing = missing_packages(more)
    return [f"package {name} is missing: install it, or run as root on Debian" for name in missing]


def controller_python() -> str:
    """A Python that ansible-core runs on: this one, else the oldest one on the machine."""
    for candidate in (sys.executable, *(f"python{version}" for version in CONTROLLER_PYTHONS)):
        found = shutil.which(candidate)
        if not found:
            continue
        ask = [found, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
        if answer.stdout.strip() in CONTROLLER_PYTHONS:
            return found
    raise SetupError(
        f"no Python {' or '.join(CONTROLLER_PYTHONS)} with venv here: on Debian 12 or newer, "
        "install python3-venv or run as root"
    )


def make_environment(space: Workspace) -> None:
    """A Python environment of exactly the pinned packages, made once for each set of them."""
    base = controller_python()
    files = [space.source / "requirements.txt", *sorted((space.source / "tests").glob("*.txt"))]
    recipe = hashlib.sha256(b"\0".join([base.encode(), *(file.read_bytes() for file in files)])).hexdigest()
    place = space.cache / f"venv-{recipe[:16]}"
    complete = place / ".complete"
    log = space.log("setup python")
    with locked(space.cache / "setup.lock"):
        if not complete.exists():
            shutil.rmtree(place, ignore_errors=True)
            install = [str(place / "bin" / "pip"), "install", "--disable-pip-version-check"]
            for name in ("requirements.txt", "tests/requirements.txt"):
                install += ["-r", str(space.source / name)]
            for command in ([base, "-m", "venv", str(place)], install):
                if space.call(command, log, cwd=space.run):
                    raise SetupError(f"the Python environment could not be made: see {log}")
            complete.touch()
        space.python = place / "bin" / "python"
        _prepare_home(space, place)


def _prepare_home(space: Workspace, environment: Path) -> None:
    """Gives ansible-test's pip the user's settings, and a bootstrap that needs no download.

    ansible-test fetches a script that installs pip, unless its cache has it; the pip that Python brings along does.
    """
    settings = Path.home() / ".config" / "pip"
    link = space.home / ".config" / "pip"
    if settings.is_dir() and not link.is_symlink():
        link.symlink_to(settings)
    (source,) = environment.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py")
    for version in re.findall(r"pip='([0-9.]+)'", source.read_text()):
        script = space.home / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("import ensurepip\n\nensurepip.bootstrap()\n")


def copy_tree(space: Workspace) -> None:
    """Copies the files that belong to the collection: what git tracks or would track, or all where there is no git."""
    if (space.source / ".git").exists():
        ask = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(ask, cwd=space.source, stdout=subprocess.PIPE, check=True).stdout
        for name in sorted({os.fsdecode(name) for name in listing.split(b"\0") if name}):
            origin = space.source / name
            if origin.is_symlink() or origin.is_file():
                (space.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, space.tree / name, follow_symlinks=False)
    else:
        shutil.copytree(
            space.source, space.tree, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*_cache")
        )
    space.ready = True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one run at a time pass."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


#: A command behind these words is in mount and network namespaces of its own.
UNSHARE = ("unshare", "--mount", "--net", "--propagation", "private", "--")


@contextmanager
def confined(space: Workspace) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Words to put before a command that makes guests, and variables for it: it meets none of the machine's own.

    One such command at a time: control groups are not part of the namespaces, so two would meet in them.
    """
    with locked(space.cache / "integration.lock"):
        made = [Path(place) for place in (confine.KEPT, confine.VOLATILE) if not Path(place).exists()]
        for place in made:
            place.mkdir(mode=0o700, parents=True)
        # The machine's own network, for what has to fetch something.
        outside = {"VSERVER_TEST_HOST_NETWORK": f"/proc/{os.getpid()}/ns/net"}
        try:
            yield [*UNSHARE, sys.executable, confine.__file__, str(space.run / "state")], outside
        finally:
            for place in made:
                with suppress(OSError):
                    place.rmdir()
            shutil.rmtree(space.run / "state", ignore_errors=True)
