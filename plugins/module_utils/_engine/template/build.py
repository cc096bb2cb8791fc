# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The four ways to fill a new tree: mmdebstrap, debootstrap, an archive, a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .. import faults
from ..errors import InvalidInput
from ..site import Site
from . import apt_sources, archive, cell, clean
from . import run as template_run
from .apt_sources import Source
from .run import BuildLog
from .spec import Spec
from .tree import Tree

# What a root has at its top, one of them at least.
_SIGNS_OF_A_ROOT = ("bin", "sbin", "usr")
# What must not be a link or a file: a guest's own file systems are mounted there, and its settings written.
_DIRECTORIES_OF_A_ROOT = ("dev", "etc", "proc", "run", "sys")


@dataclass(frozen=True)
class Plan:
    """What a build needs to know of the host before it starts.

    * sources, settings: from where and how apt installs (bootstrap methods)
    """

    spec: Spec
    sources: tuple[Source, ...] = ()
    settings: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people."""
        spec = self.spec
        if spec.method in ("archive", "directory"):
            return f"{spec.method} {spec.source}"
        origins = ", ".join(f"{source.uri} {source.suite}" for source in self.sources)
        return f"{spec.method} {spec.suite} ({spec.variant}) from {origins}"


@dataclass(frozen=True)
class Build:
    """One build under way: where to (``directory`` is our own and pending), and whom to tell."""

    plan: Plan
    directory: Path
    lock: int
    log: BuildLog
    progress: Callable[[str], None]

    @property
    def root(self) -> Path:
        return self.directory / "rootfs"


def plan(site: Site, spec: Spec) -> Plan:
    """Look at the host, change nothing. Raises when the template cannot be built here."""
    if spec.method in ("mmdebstrap", "debootstrap"):
        sources = apt_sources.sources_for(spec.origin, spec.mirror, spec.components)
        return Plan(spec, sources, tuple(apt_sources.host_settings()))
    if spec.method == "directory":
        _check_directory(site, spec)
    elif not spec.is_url:
        archive.check(spec)
    return Plan(spec)


def require_tools(spec: Spec) -> None:
    """Raise :class:`Unsupported`, naming the package, when the method's program is missing."""
    if spec.method in ("mmdebstrap", "debootstrap"):
        template_run.require(spec.method, spec.method)
        template_run.require("unshare", "util-linux")
    elif spec.method == "archive":
        template_run.require("tar", "tar")
    template_run.require("setpriv", "util-linux")


def fill(build: Build) -> None:
    """Make ``build.root`` as the plan says. Raises :class:`VserverError` or OSError; the tree is then worthless."""
    build.root.mkdir(mode=0o755)
    build.root.chmod(0o755)
    {"mmdebstrap": _mmdebstrap, "debootstrap": _debootstrap, "archive": _archive, "directory": _directory}[
        build.plan.spec.method
    ](build)
    _check_is_root(build.root, build.plan.spec)


def run_commands(build: Build, commands: Sequence[Sequence[str]]) -> None:
    """Run ``commands`` inside the tree, with the host's ways to its mirror."""
    spec, settings = build.plan.spec, build.plan.settings
    if commands and not settings:
        settings = tuple(apt_sources.host_settings())
    cell.run_inside(
        build.root, commands, build.log, build.progress, hostname=spec.name.replace("_", "-"), apt_settings=settings
    )


def _packages(plan: Plan) -> list[str]:
    secure = any(source.uri.startswith("https:") for source in plan.sources)
    return sorted({*plan.spec.wanted_packages, *(["ca-certificates"] if secure else [])})


def _sources_list(plan: Plan) -> bytes:
    return "".join(f"{source}\n" for source in plan.sources).encode()


def _mmdebstrap(build: Build) -> None:
    spec = build.plan.spec
    variant = "minbase" if spec.variant == "custom" else spec.variant
    argv = ["mmdebstrap", "--mode=root", "--format=directory", f"--variant={variant}"]
    argv += [f"--aptopt={setting}" for setting in build.plan.settings]
    packages = _packages(build.plan)
    if packages:
        argv.append(f"--include={','.join(packages)}")
    argv += ["--", str(spec.suite), str(build.root), "-"]
    build.progress(build.plan.describe())
    # The tree is flushed to disk as a whole before it is used, so dpkg need not do it file by file.
    environment = {"DPKG_FORCE": "unsafe-io"}
    _run(build, argv, stdin=_sources_list(build.plan), environment=environment, isolated=True)
    with Tree(build.root) as tree:
        clean.give_resolver(tree)


def _debootstrap(build: Build) -> None:
    plan, spec = build.plan, build.plan.spec
    # debootstrap takes one mirror; updates and other sources come in afterwards, from inside.
    base = next((source for source in plan.sources if source.suite == spec.suite), plan.sources[0])
    argv = ["debootstrap", f"--components={','.join(base.components)}"]
    if spec.variant != "important":
        argv.append("--variant=minbase")
    packages = _packages(plan)
    if packages:
        argv.append(f"--include={','.join(packages)}")
    if base.signed_by:
        argv += ["--force-check-gpg", f"--keyring={base.signed_by}"]
    argv += [str(spec.suite), str(build.root), base.uri]
    build.progress(plan.describe())
    environment = {**apt_sources.parse_proxies(plan.settings), "DPKG_FORCE": "unsafe-io"}
    _run(build, argv, environment=environment, isolated=True)
    with Tree(build.root) as tree:
        tree.write("etc/apt/sources.list", _sources_list(plan))
        clean.give_resolver(tree)
    if len(plan.sources) > 1:
        apt = ("apt-get", "-q", "-y", "-o", "APT::Install-Recommends=false")
        run_commands(build, [(*apt, "update"), (*apt, "dist-upgrade")])


def _archive(build: Build) -> None:
    spec = build.plan.spec
    if spec.is_url:
        path = build.directory / "archive"
        build.progress(f"fetch {spec.source}")
        file: IO[bytes] = open(path, "w+b")  # noqa: SIM115
    else:
        path = None
        file = archive.opened(spec)
    with file:
        if spec.is_url:
            archive.download(spec, file)
        elif spec.checksum is not None:
            build.progress(f"check {spec.source}")
        if spec.checksum is not None:
            archive.verify(spec, file)
        faults.reached("template:fetched")
        build.progress(f"unpack {spec.source}")
        _run(build, archive.unpacking(spec, file, build.root), pass_fds=[file.fileno()])
    if path is not None:
        path.unlink()


def _check_directory(site: Site, spec: Spec) -> Path:
    try:
        source = Path(spec.origin).resolve(strict=True)
        ours = site.templates.resolve()
    except OSError as error:
        raise InvalidInput(f"open the directory {spec.source}", why=error.strerror) from error
    except RuntimeError as error:  # before Python 3.13, a loop of symbolic links
        raise InvalidInput(f"open the directory {spec.source}", why=str(error)) from error
    if not source.is_dir():
        raise InvalidInput(f"source {spec.source} is not a directory", remedy="For a file use method archive.")
    if source == ours or source in ours.parents:
        raise InvalidInput(f"source {spec.source} cannot be copied", why=f"the templates in {site.templates} are in it")
    _check_is_root(source, spec)
    return source


def _directory(build: Build) -> None:
    source = Path(build.plan.spec.origin).resolve(strict=True)
    build.progress(f"copy {source}")
    argv = ["cp", "--archive", "--one-file-system", "--reflink=auto", "--no-target-directory", "--"]
    _run(build, [*argv, str(source), str(build.root)])


def _check_is_root(root: Path, spec: Spec) -> None:
    """Refuse what cannot be a guest's root; a bare tree with a top-level directory is the usual mistake."""
    found = sorted(os.listdir(root))
    what = f"{spec.method} {spec.origin} is no root file system"
    for name in filter(found.__contains__, _DIRECTORIES_OF_A_ROOT):
        if not stat.S_ISDIR((root / name).lstat().st_mode):
            raise InvalidInput(what, why=f"/{name} is not a directory", remedy="No guest can start from such a tree.")
    if any(name in found for name in _SIGNS_OF_A_ROOT):
        return
    if not found:
        why = "it is empty"
    elif len(found) == 1:
        why = f"it holds only {found[0]!r}"
    else:
        why = f"it holds {', '.join(map(repr, found[:10]))}{' and more' if len(found) > 10 else ''}"
    raise InvalidInput(
        what,
        why=f"there is no bin, sbin or usr at its top; {why}",
        remedy="It must hold them at its top, not in a directory of their own.",
    )


def _run(
    build: Build,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    environment: dict[str, str] | None = None,
    isolated: bool = False,
    pass_fds: Sequence[int] = (),
) -> None:
    # The program holds the lock too: should we be killed, nobody sweeps its tree before it has gone.
    template_run.run(
        argv,
        build.log,
        f"build template {build.plan.spec.name}",
        isolated=isolated,
        stdin=stdin,
        environment=environment,
        pass_fds=[build.lock, *pass_fds],
    )
