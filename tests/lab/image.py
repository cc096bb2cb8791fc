# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk images of lab hosts: built once for each recipe, then kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import kept
from .failure import LabError
from .recipe import Recipe, recipe

_REPOSITORY = Path(__file__).resolve().parents[2]
# How this machine's apt reaches its mirrors, as the engine's template builder finds it.
_APT = """
import json, sys
from plugins.module_utils._engine.template import apt_sources
sources = [str(source) for source in apt_sources.sources_for(sys.argv[1], None, ("main",))]
print(json.dumps([sources, apt_sources.host_settings()]))
"""
#: Room beside what is installed; a host's own disk is larger, and its file system grows at boot.
_SPARE = 64 << 20


@dataclass(frozen=True)
class Image:
    """A kernel, its initial RAM file system, and a root file system that is never written to."""

    directory: Path

    @property
    def kernel(self) -> Path:
        return self.directory / "kernel"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    @property
    def root(self) -> Path:
        return self.directory / "root.img"

    @property
    def name(self) -> str:
        return self.directory.name


def provide(images: Path, suite: str, say: Callable[[str], None]) -> Image:
    """The image of a Debian release, from the cache or built now."""
    ask = [sys.executable, "-B", "-c", _APT, suite]
    answer = subprocess.run(ask, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise LabError(f"no source of Debian {suite}: {answer.stderr.strip().splitlines()[-1]}")
    sources, settings = json.loads(answer.stdout)
    wanted = recipe(suite, sources)
    images.mkdir(parents=True, exist_ok=True)
    image = Image(images / f"{suite}-{wanted.digest}")
    with (images / f".{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.directory.exists():
            say(f"image of {suite}: built now, and kept")
            kept.forget_old(images)
            _build(wanted, settings, image)
        kept.used(image.directory)
    return image


def _build(wanted: Recipe, settings: list[str], image: Image) -> None:
    """Makes the image beside its place, and moves it there when it is complete."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=image.directory.parent) as name:
        work = Path(name)
        work.chmod(0o755)
        for path, content in wanted.files:
            file = work / "files" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(0o755 if "bin" in file.parent.name else 0o644)
        inside = work / "inside"
        inside.write_text(wanted.finish)
        inside.chmod(0o755)
        hook = f'"{inside}" "{work}" "$1" "{" ".join(wanted.enabled)}" "{" ".join(wanted.masked)}"'
        files = f'cp -rT --preserve=mode "{work}/files" "$1"'
        argv = ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase"]
        argv += [f"--aptopt={setting}" for setting in settings]
        argv += [f"--include={','.join(wanted.packages)}", f"--essential-hook={files}", f"--customize-hook={hook}"]
        argv += ["--", wanted.suite, str(work / "root"), "-"]
        log = image.directory.parent / f"{image.name}.log"
        _run(argv, log, "".join(f"{line}\n" for line in wanted.sources))
        used = int(subprocess.check_output(["du", "-s", "-B1", str(work / "root")]).split()[0])
        size = (used * 110 // 100 + _SPARE) >> 20
        options = ["-q", "-t", wanted.filesystem, "-L", "root", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"]
        _run(["mke2fs", *options, "-d", str(work / "root"), str(work / "root.img"), f"{size}M"], log)
        done = work / "done"
        done.mkdir()
        for part in ("kernel", "initrd", "root.img"):
            os.rename(work / part, done / part)
        shutil.rmtree(work / "root")
        os.rename(done, image.directory)


def _run(argv: list[str], log: Path, text: str = "") -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DPKG_FORCE": "unsafe-io", "TMPDIR": str(log.parent)}
    with log.open("a") as output:
        status = subprocess.run(
            argv, input=text, text=True, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if status:
        raise LabError(f"{argv[0]} failed: see {log}")
