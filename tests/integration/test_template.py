# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates built for real: every method, commands in their cell, crashes, rivals, full disks, hostile sources."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import faults, store
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import (
    Conflict,
    InvalidInput,
    ToolFailed,
    VserverError,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.model import Context, Guest, Root
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog as template
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import cell as template_cell
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import run as template_run
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import versions as template_versions
from ansible_collections.linux.vserver.plugins.module_utils._engine.template.spec import parse as parse_spec

from .templates import provided, tiny_tree

PROGRAMS = ("sh", "cat", "chmod", "env", "hostname", "id", "ls", "mknod", "mount", "readlink", "sleep")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(state=tmp_path / "state", run=tmp_path / "run")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a shell and a few programs. Not to be changed."""
    return tiny_tree(tmp_path_factory.mktemp("tiny") / "root", PROGRAMS)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A tree of next to nothing."""
    root = tmp_path / "bare"
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/hostname").write_text("builder\n")
    (root / "usr/bin/hello").write_text("hello\n")
    return root


def ensure(site: Site, refresh: bool = False, check: bool = False, **options: Any) -> Outcome:
    options.setdefault("name", "t")
    if "source" in options:
        options["source"] = str(options["source"])
    spec = parse_spec(options, template.recorded(site, options["name"]))
    return template.ensure(site, spec, refresh=refresh, check=check)


def rootfs(site: Site, name: str = "t") -> Path:
    return template_versions.resolve(site, name)


def leftovers(site: Site, name: str = "t") -> list[str]:
    """What lies beside the versions, the log apart."""
    entries = {path.name for path in (site.templates / name).iterdir()}
    return sorted(entries - {".build.log"} - set(template_versions.versions(site, name)))


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


# ---------------------------------------------------------------------------------------------------------- directory


def test_directory_in_four_calls(site: Site, bare: Path) -> None:
    options: dict[str, Any] = {"method": "directory", "source": bare}
    calls = [ensure(site, check=check, **options) for check in (True, False, False, True)]
    assert [outcome.changed for outcome in calls] == [True, True, False, False]
    assert calls[0].subject == {}
    assert calls[1].subject == calls[2].subject == calls[3].subject == template.info(site, "t")
    assert calls[1].before == {"version": None}
    assert calls[1].after == {
        "method": "directory",
        "source": str(bare),
        "version": template_versions.latest(site, "t"),
    }
    json.dumps(calls[1].subject)
    assert leftovers(site) == []


def test_what_a_version_looks_like(site: Site, bare: Path) -> None:
    (bare / "usr/bin/tool").write_text("x")
    os.chown(bare / "usr/bin/tool", 12, 34)
    (bare / "usr/bin/tool").chmod(0o4755)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(bare / "usr/bin/hello", "security.capability", capability)
    os.mknod(bare / "usr/bin/disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    os.link(bare / "usr/bin/hello", bare / "usr/bin/hello2")
    previous = os.umask(0o077)
    try:
        ensure(site, method="directory", source=bare)
    finally:
        os.umask(previous)
    root = rootfs(site)
    for path in (site.state, site.templates, root.parent.parent, root.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    tool = (root / "usr/bin/tool").stat()
    assert (tool.st_uid, tool.st_gid, stat.S_IMODE(tool.st_mode)) == (12, 34, 0o4755)
    assert os.getxattr(root / "usr/bin/hello", "security.capability") == capability
    assert (root / "usr/bin/hello").stat().st_nlink == 2
    assert not (root / "usr/bin/disk").exists()
    assert not (root / "etc/hostname").exists()
    assert (root / "etc/machine-id").read_bytes() == b""
    assert stat.S_IMODE((root.parent / "template.json").stat().st_mode) == 0o600
    about = template.info(site, "t")
    assert 0 < about["size_bytes"] < 1 << 20
    assert about["versions"][0]["size_bytes"] == about["size_bytes"]
    # The source is as it was.
    assert (bare / "etc/hostname").exists()


def test_refresh_and_change_build_further_versions(site: Site, bare: Path) -> None:
    ensure(site, method="directory", source=bare)
    first = template_versions.latest(site, "t")
    (bare / "usr/bin/new").write_text("x")
    assert not ensure(site).changed
    refreshed = ensure(site, refresh=True)
    assert (refreshed.before, refreshed.after) == ({"version": first}, {"version": template_versions.latest(site, "t")})
    assert ensure(site, refresh=True, check=True).changed
    other = bare.parent / "other"
    bare.rename(other)
    changed = ensure(site, source=other)
    assert changed.before["source"] == str(bare)
    assert changed.after["source"] == str(other)
    assert len(template_versions.versions(site, "t")) == 3
    assert not (template_versions.resolve(site, "t", first) / "usr/bin/new").exists()
    assert (rootfs(site) / "usr/bin/new").exists()


# ------------------------------------------------------------------------------------------------------------ archive


def pack(source: Path, target: Path, *options: str) -> str:
    """Pack a tree with tar; returns the checksum."""
    subprocess.run(["tar", "--create", "--file", str(target), "-C", str(source), *options, "."], check=True)
    return "sha256:" + hashlib.sha256(target.read_bytes()).hexdigest()


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_archive_of_any_compression(site: Site, bare: Path, tmp_path: Path, compression: str) -> None:
    archive = tmp_path / "archive"  # its name tells nothing
    if compression != "none" and shutil.which(compression) is None:
        pytest.fail(f"{compression} is missing")
    checksum = pack(bare, archive, *([] if compression == "none" else [f"--use-compress-program={compression}"]))
    os.setxattr(bare / "usr/bin/hello", "user.note", b"x")
    assert ensure(site, method="archive", source=archive, checksum=checksum).changed
    assert (rootfs(site) / "usr/bin/hello").read_text() == "hello\n"
    assert not (rootfs(site) / "etc/hostname").exists()
    assert sorted(path.name for path in rootfs(site).parent.iterdir()) == ["rootfs", "template.json"]


def test_archive_keeps_owners_modes_and_attributes(site: Site, bare: Path, tmp_path: Path) -> None:
    hello = bare / "usr/bin/hello"
    os.chown(hello, 2345, 6789)
    hello.chmod(0o6711)
    os.setxattr(hello, "user.note", b"x")
    os.setxattr(hello, "trusted.overlay.opaque", b"y")
    bare.chmod(0o700)
    pack(bare, tmp_path / "a.tar", "--xattrs", "--xattrs-include=*")
    ensure(site, method="archive", source=tmp_path / "a.tar")
    unpacked = rootfs(site) / "usr/bin/hello"
    facts = unpacked.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (2345, 6789, 0o6711)
    assert os.listxattr(unpacked) == ["user.note"]
    assert stat.S_IMODE(rootfs(site).stat().st_mode) == 0o755


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on loopback: its address, and the directory it serves."""
    root = tmp_path / "web"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(root))

        def do_GET(self) -> None:
            if self.path == "/cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"short")
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()


def test_archive_from_a_url(site: Site, bare: Path, web: tuple[str, Path]) -> None:
    address, served = web
    checksum = pack(bare, served / "a.tar.gz", "--gzip")
    ensure(site, method="archive", source=f"{address}/a.tar.gz", checksum=checksum)
    assert (rootfs(site) / "usr/bin/hello").exists()
    ensure(site, source=f"file://{served}/a.tar.gz")
    assert len(template_versions.versions(site, "t")) == 2

    for path, message in (("missing", "404"), ("cut", "")):
        with pytest.raises(VserverError) as caught:
            ensure(site, source=f"{address}/{path}")
        assert message in str(caught.value)
        assert f"fetch {address}/{path}" in str(caught.value) or "is not the one meant" in str(caught.value)
    with pytest.raises(InvalidInput, match="checksum is sha256:"):
        ensure(site, source=f"{address}/a.tar.gz", checksum="sha256:" + "0" * 64)
    with pytest.raises(ToolFailed, match="refused"):
        ensure(site, source="http://127.0.0.1:1/x")
    assert len(template_versions.versions(site, "t")) == 2
    assert leftovers(site) == []


def test_a_wrong_archive_leaves_nothing(site: Site, bare: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    pack(bare, good, "--gzip")
    (tmp_path / "cut").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "garbage").write_bytes(os.urandom(4096))
    nested = tmp_path / "nested"
    nested.mkdir()
    shutil.copytree(bare, nested / "image-1.0")
    pack(nested, tmp_path / "deep")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/usr").mkdir()
    (tmp_path / "linked/proc").symlink_to("/proc")
    pack(tmp_path / "linked", tmp_path / "link")
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("good", {"checksum": "sha256:" + "0" * 64}, "is not the one meant"),
        ("cut", {}, "ended with exit code 2"),
        ("garbage", {}, "ended with exit code 2"),
        ("deep", {}, "it holds only 'image-1.0'"),
        ("link", {}, "/proc is not a directory"),
    ]
    for name, options, message in cases:
        with pytest.raises(VserverError) as caught:
            ensure(site, method="archive", source=tmp_path / name, **options)
        assert message in str(caught.value), name
        assert "build template t" in str(caught.value)
        assert template_versions.names(site) == []
        assert not site.templates.exists() or leftovers(site) == []
    assert (site.templates / "t/.build.log").exists()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o4777
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_a_hostile_archive_touches_nothing_outside(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "file").write_text("kept")
    (outside / "file").chmod(0o600)
    up = "../" * 30
    link, hard = tarfile.SYMTYPE, tarfile.LNKTYPE
    attacks: dict[str, list[tarfile.TarInfo]] = {
        "through an absolute link": [member("x", link, str(outside)), member("x/file")],
        "through a relative link": [member("x", link, up + str(outside)[1:]), member("x/file")],
        "through a link to a file": [member("x", link, str(outside / "file")), member("x")],
        "up": [member(f"{up}{str(outside)[1:]}/file")],
        "absolute": [member(f"{outside}/file"), member(f"{outside}/new")],
        "hard link": [member("x", hard, str(outside / "file")), member("x")],
        "hard link up": [member("x", hard, up + str(outside / "file")[1:]), member("x")],
        "hard link through a link": [member("y", link, str(outside)), member("x", hard, "y/file"), member("x")],
        "two links": [member("a", link, "b"), member("b", link, str(outside)), member("a/file"), member("a/new")],
        "directory over a link": [member("x", link, str(outside)), member("x", tarfile.DIRTYPE), member("x/file")],
        "logs": [member("var", link, str(outside)), member("etc", tarfile.DIRTYPE)],
        "settings": [member("etc", link, str(outside))],
        "deeper settings": [member("etc", tarfile.DIRTYPE), member("etc/ssh", link, str(outside))],
        "disk": [member("usr/disk", tarfile.BLKTYPE, devmajor=7, devminor=0)],
        "the tree itself": [member(".", link, str(outside)), member("./file")],
    }
    for what, members in attacks.items():
        archive = tmp_path / "hostile.tar"
        with tarfile.open(archive, "w") as tar:
            tar.addfile(member("usr", tarfile.DIRTYPE))
            for info in members:
                content = b"evil" if info.isreg() else b""
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        name = what.replace(" ", "-")
        try:
            ensure(site, name=name, method="archive", source=archive)
        except VserverError:
            assert leftovers(site, name) == [], what
        else:
            found = [path for path in rootfs(site, name).rglob("*") if not path.is_symlink()]
            assert not [path for path in found if path.is_block_device()], what
            assert not [path for path in found if path.is_file() and path.samefile(outside / "file")], what
        assert sorted(str(path.relative_to(outside)) for path in outside.rglob("*")) == ["file", "sub"], what
        assert (outside / "file").read_text() == "kept", what
        assert stat.S_IMODE((outside / "file").stat().st_mode) == 0o600, what


# ----------------------------------------------------------------------------------------------------------- commands


def said(site: Site, name: str = "t") -> str:
    return (site.templates / name / ".build.log").read_text()


def test_commands_run_in_a_cell(site: Site, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_HOST", "a secret of the host")
    null = os.stat("/dev/null")
    before = mounts()
    script = """
        echo pid=$$ host=$(hostname) id=$(id -u)
        echo processes: $(ls -d /proc/[0-9]*)
        echo devices: $(ls /dev) sys: $(ls /sys) top: $(ls -a / /tmp)
        env
        cat /proc/1/environ
        (echo x > /proc/sys/kernel/domainname) && echo WRITTEN
        chmod 000 /dev/null && echo WRITTEN
        echo x > /dev/null || echo BROKEN
        mknod /disk b 7 0 && echo WRITTEN
        mount -t tmpfs none /tmp && echo WRITTEN
        mount -o remount,rw /proc && echo WRITTEN
        readlink /proc/1/root && echo WRITTEN
        cat /usr/sbin/policy-rc.d
        echo made > /made; echo gone > /tmp/gone; echo gone > /run/gone
        sleep 1000 &
    """
    outcome = ensure(site, method="directory", source=tiny, commands=[["sh", "-c", script], "cat /tmp/gone /made"])
    log = said(site).partition("\npid=")[2]
    assert "host=t id=0" in log
    processes = log.partition("processes: ")[2].partition("\n")[0].split()
    assert len(processes) <= 4, processes
    devices = log.partition("devices: ")[2].partition(" sys: ")[0].split()
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm"} <= set(devices)
    assert len(devices) <= 13, devices
    assert "sys: top:" in log
    assert "a secret of the host" not in log
    assert "WRITTEN" not in log
    assert "BROKEN" not in log
    assert "exit 101" in log
    assert log.endswith("gone\nmade\n")
    root = rootfs(site)
    assert (root / "made").read_text() == "made\n"
    assert list((root / "tmp").iterdir()) == list((root / "run").iterdir()) == list((root / "dev").iterdir()) == []
    assert not (root / "usr/sbin/policy-rc.d").exists()
    now = os.stat("/dev/null")
    assert (now.st_mode, now.st_uid) == (null.st_mode, null.st_uid)
    assert mounts() == before
    assert b"sleep\x001000" not in b"".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert outcome.subject["spec"]["commands"][1] == ["cat", "/tmp/gone", "/made"]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sh", "-c", "echo my last words; exit 7"], "exit code 7"),
        (["sh", "-c", "kill -9 $$"], "killed by signal 9"),
        (["no-such-program"], "exit code 127"),
        (["/etc/hostname"], "exit code 127"),
    ],
)
def test_a_failing_command_ends_the_build(site: Site, tiny: Path, command: list[str], message: str) -> None:
    with pytest.raises(ToolFailed) as caught:
        ensure(site, method="directory", source=tiny, commands=[["sh", "-c", "true"], command, ["sh", "-c", "echo on"]])
    text = str(caught.value)
    assert message in text
    assert command[0] in text
    assert "my last words" in text or command[0] != "sh" or "kill" in command[-1]
    assert str(site.templates / "t/.build.log") in text
    assert "echo on" not in said(site)
    assert template_versions.names(site) == []
    assert leftovers(site) == []


@pytest.mark.parametrize("name", ["dev", "proc", "run", "tmp"])
@pytest.mark.parametrize("kind", ["link", "relative link", "dangling link", "file", "fifo"])
def test_nothing_is_mounted_on_what_is_planted(tmp_path: Path, tiny: Path, name: str, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    subprocess.run(["cp", "-al", "--", str(tiny), str(root)], check=True)
    place = root / name
    place.rmdir()
    if kind == "file":
        place.write_text("")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        targets = {"link": str(outside), "relative link": "../outside", "dangling link": "/nowhere"}
        place.symlink_to(targets[kind])
    before = mounts()
    with template_run.BuildLog(tmp_path / "log") as log, pytest.raises(InvalidInput) as caught:
        template_cell.run_inside(root, [["sh", "-c", "echo ran"]], log, print, hostname="t")
    assert f"/{name} is {'a symbolic link' if 'link' in kind else 'not a directory'}" in str(caught.value)
    assert list(outside.iterdir()) == []
    assert mounts() == before
    assert "ran" not in (tmp_path / "log").read_text()


def test_a_hostile_tree_runs_nothing_of_the_host(tmp_path: Path, tiny: Path, site: Site) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    program = outside / "program"
    program.write_text(f"#!/bin/sh\necho evil > {outside}/ran\n")
    program.chmod(0o755)
    root = tmp_path / "root"
    shutil.copytree(tiny, root, symlinks=True)
    (root / "bin/tool").symlink_to(program)
    (root / "usr/sbin").rmdir()
    (root / "usr/sbin").symlink_to(outside)
    (root / "etc/resolv.conf").symlink_to(outside / "resolv.conf")
    (root / "etc/machine-id").symlink_to(outside / "machine-id")
    for name in ("var/log", "var/cache"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).symlink_to(outside)
    with pytest.raises(VserverError):
        ensure(site, method="directory", source=root, commands=["tool"])
    (root / "usr/sbin").unlink()
    with pytest.raises(ToolFailed, match="exit code 127"):
        ensure(site, method="directory", source=root, commands=["tool"])
    ensure(site, method="directory", source=root, commands=["sh -c 'echo x > /etc/new; ls /var/log; true'"])
    assert list(outside.iterdir()) == [program]
    assert (rootfs(site) / "etc/machine-id").is_symlink() is False


@pytest.mark.parametrize("target", ["", "../run/systemd/resolve/stub-resolv.conf", "/run/a/b", "/nowhere/x"])
def test_names_are_resolved_as_on_the_host(site: Site, tiny: Path, tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny, root, symlinks=True)
    if target:
        (root / "etc/resolv.conf").symlink_to(target)
    ensure(site, method="directory", source=root, commands=["sh -c 'cat /etc/resolv.conf; true'"])
    host = Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else ""
    assert (host in said(site)) is (target != "/nowhere/x" or not host)
    assert (rootfs(site) / "etc/resolv.conf").is_symlink() is bool(target)


# ------------------------------------------------------------------------------------------------------------ crashes


def in_child(act: Callable[[], None]) -> int:
    """Run ``act`` in a forked process; returns its exit code, negative when a signal killed it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(point: str) -> None:
    def reached(here: str) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(faults, "reached", reached)  # noqa: B010


BUILDING = template.POINTS[:8]
REMOVING = template.POINTS[8:]


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("point", BUILDING)
def test_killed_while_building(site: Site, bare: Path, tiny: Path, tmp_path: Path, point: str, earlier: bool) -> None:
    archive = tmp_path / "a.tar"
    pack(tiny, archive)
    options: dict[str, Any] = {"method": "archive", "source": archive, "commands": [["sh", "-c", "true"]]}
    if earlier:
        ensure(site, method="directory", source=bare)

    def build() -> None:
        die_at(point)
        ensure(site, **options)

    assert in_child(build) == -signal.SIGKILL
    done = point == "template:built"
    assert len(template_versions.versions(site, "t")) == earlier + done, "a version is there whole, or not at all"
    assert ensure(site, **options).changed is not done
    assert len(template_versions.versions(site, "t")) == earlier + 1
    assert leftovers(site) == []
    assert (rootfs(site) / "bin/sh").exists()
    assert not ensure(site).changed


@pytest.mark.parametrize("point", REMOVING)
def test_killed_while_removing(site: Site, bare: Path, point: str) -> None:
    ensure(site, method="directory", source=bare)
    ensure(site, refresh=True)

    def remove() -> None:
        die_at(point)
        template.absent(site, "t")

    assert in_child(remove) == -signal.SIGKILL
    template.absent(site, "t")
    assert list(site.templates.iterdir()) == []
    assert not template.absent(site, "t").changed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_a_command_runs(site: Site, tiny: Path, number: signal.Signals) -> None:
    before = mounts()
    child = os.fork()
    if child == 0:
        try:
            ensure(site, method="directory", source=tiny, commands=["sh -c 'echo begun; sleep 4321 & sleep 4321'"])
        finally:
            os._exit(99)
    deadline = time.monotonic() + 30
    while not (site.templates / "t/.build.log").exists() or "\nbegun" not in said(site):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, number)
    os.waitpid(child, 0)
    assert ensure(site, method="directory", source=tiny).changed
    assert leftovers(site) == []
    commands = b"\n".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert b"sleep\x004321" not in commands
    assert mounts() == before


# ------------------------------------------------------------------------------------------------------------- rivals


def at_once(acts: Sequence[Callable[[], None]]) -> list[int]:
    """Run all ``acts`` in processes of their own at the same time; returns their exit codes."""
    children = []
    for act in acts:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                act()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_two_builds_at_once_make_one_version(site: Site, tiny: Path, tmp_path: Path) -> None:
    def build(number: int) -> None:
        outcome = ensure(site, method="directory", source=tiny)
        (tmp_path / f"changed-{number}").write_text(str(outcome.changed))

    assert at_once([lambda number=number: build(number) for number in range(4)]) == [0] * 4  # type: ignore[misc]
    assert sorted((tmp_path / f"changed-{number}").read_text() for number in range(4)) == ["False"] * 3 + ["True"]
    assert len(template_versions.versions(site, "t")) == 1
    assert leftovers(site) == []


def test_refreshes_and_different_templates_at_once(site: Site, tiny: Path) -> None:
    acts: list[Callable[[], None]] = [lambda: void(ensure(site, refresh=True, method="directory", source=tiny))] * 3
    acts += [lambda: void(ensure(site, name="other", method="directory", source=tiny))]
    assert at_once(acts) == [0] * 4
    assert len(template_versions.versions(site, "t")) == 3
    assert len(template_versions.versions(site, "other")) == 1


def void(_value: object) -> None:
    pass


# ------------------------------------------------------------------------------------------------------------- absent


def test_absent_is_refused_while_a_guest_uses_it(site: Site, bare: Path) -> None:
    ensure(site, method="directory", source=bare)
    first = template_versions.latest(site, "t")
    for number, name in enumerate(("web1", "web2")):
        root, context = Root("t", first, "overlay"), Context(xid=28672 + number)
        store.save(site, Guest(name=name, root=root, context=context))
    ensure(site, refresh=True)
    assert template.in_use(site, "t") == ["web1", "web2"]
    about = template.info(site, "t")
    assert [entry["used_by"] for entry in about["versions"]] == [["web1", "web2"], []]
    with pytest.raises(Conflict, match="guests web1, web2"):
        template.absent(site, "t")
    told = template.absent(site, "t", check=True)  # an earlier task may be what removes them
    assert told.changed and "guests web1, web2" in told.warnings[0]
    assert len(template_versions.versions(site, "t")) == 2
    store.forget(site, "web1")
    store.forget(site, "web2")
    calls = [template.absent(site, "t", check=check) for check in (True, False, False, True)]
    assert [outcome.changed for outcome in calls] == [True, True, False, False]
    both = [entry["version"] for entry in about["versions"]]
    assert calls[0].before == calls[1].before == {"state": "present", "versions": both}
    assert not (site.templates / "t").exists()


def test_absent_waits_for_a_clone_in_the_making(site: Site, bare: Path) -> None:
    ensure(site, method="directory", source=bare)

    def remove() -> None:
        with pytest.raises(Conflict, match="guest web1"):
            template.absent(site, "t")

    begin, beginning = os.pipe()
    # Forked before the lock is taken: a child shares its parent's locks.
    child = os.fork()
    if child == 0:
        os.read(begin, 1)
        os._exit(in_child(remove))
    with store.lock(site, "registry"):
        os.write(beginning, b"+")
        version = template_versions.latest(site, "t")
        time.sleep(0.3)
        store.save(site, Guest(name="web1", root=Root("t", version, "overlay"), context=Context(xid=28672)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert template_versions.versions(site, "t") == [version]
    os.close(begin)
    os.close(beginning)


# ---------------------------------------------------------------------------------------------------------- bad places


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; the tests have a mount namespace of their own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("method", ["directory", "archive", "url"])
def test_a_full_disk(small_disk: Path, bare: Path, tmp_path: Path, method: str) -> None:
    site = Site(state=small_disk / "state", run=tmp_path / "run")
    ensure(site, method="directory", source=bare)
    (bare / "usr/big").write_bytes(os.urandom(6 << 20))
    options: dict[str, Any] = {"method": method, "source": bare}
    if method != "directory":
        options = {"method": "archive", "source": tmp_path / "a.tar", "checksum": pack(bare, tmp_path / "a.tar")}
    if method == "url":
        options["source"] = f"file://{tmp_path}/a.tar"
    with pytest.raises(VserverError) as caught:
        ensure(site, refresh=True, **options)
    assert f"build template t: no space left on the disk of {site.state}" in str(caught.value)
    assert leftovers(site) == []
    assert len(template_versions.versions(site, "t")) == 1
    assert shutil.disk_usage(small_disk).free > 3 << 20
    (bare / "usr/big").unlink()
    assert ensure(site, refresh=True, method="directory", source=bare).changed


def test_a_command_fills_the_disk(small_disk: Path, tmp_path: Path) -> None:
    site = Site(state=small_disk / "state", run=tmp_path / "run")
    tree = tiny_tree(tmp_path / "tree", ["sh", "cat"])
    with pytest.raises(VserverError, match="no space left"):
        ensure(site, method="directory", source=tree, commands=["sh -c 'cat /dev/zero > /fill'"])
    assert leftovers(site) == []


def test_a_read_only_disk(small_disk: Path, bare: Path, tmp_path: Path) -> None:
    site = Site(state=small_disk / "state", run=tmp_path / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(VserverError, match="Read-only file system"):
        ensure(site, method="directory", source=bare)
    assert list(small_disk.iterdir()) == []


def test_a_tree_too_deep_to_read(site: Site, bare: Path) -> None:
    fd = os.open(bare, os.O_RDONLY)
    for _level in range(1100):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with pytest.raises(VserverError):
        ensure(site, method="directory", source=bare)
    assert leftovers(site) == []
    subprocess.run(["rm", "-rf", str(bare)], check=True)


# -------------------------------------------------------------------------------------------------- real distributions


def check_distribution(root: Path) -> None:
    for name in ("etc/hostname", "usr/sbin/policy-rc.d", "var/lib/dbus/machine-id", "etc/apt/apt.conf.d/99mmdebstrap"):
        assert not (root / name).exists(), name
    assert (root / "etc/machine-id").read_bytes() == b""
    for name in ("var/lib/apt/lists", "var/cache/apt/archives", "var/log"):
        assert not [path for path in (root / name).rglob("*") if path.is_file()], name
    assert not [path for path in (root / "dev").iterdir() if not path.is_dir() and not path.is_symlink()]
    sources = (root / "etc/apt/sources.list").read_text().splitlines()
    assert sources
    assert all(line.startswith("deb ") for line in sources)
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_mmdebstrap(site: Site, debian_template: Path) -> None:
    with provided(site, debian_template) as name:
        root = template_versions.resolve(site, name)
        check_distribution(root)
        for program in ("sbin/init", "usr/bin/python3", "usr/bin/dbus-daemon", "usr/sbin/nginx", "bin/ip", "bin/ps"):
            assert os.path.lexists(root / program), program
        about = template.info(site, name)
        assert 100 << 20 < about["size_bytes"] < 500 << 20
        assert "/" not in about["latest"]
        with pytest.raises(OSError):
            (root / "x").write_text("x")
    assert template_versions.names(site) == []


def test_debootstrap(site: Site, debootstrap_template: Path) -> None:
    with provided(site, debootstrap_template) as name:
        root = template_versions.resolve(site, name)
        check_distribution(root)
        assert not (root / "debootstrap").exists()
        assert (root / "usr/bin/dpkg").exists()
        assert not (root / "usr/lib/systemd/systemd").exists()


def test_installing_a_package_inside_starts_nothing(
    site: Site,
    debian_template: Path,
) -> None:
    with provided(site, debian_template) as name:
        source = template_versions.resolve(site, name)
        ensure(
            site,
            method="directory",
            source=source,
            commands=["sh -c 'invoke-rc.d nginx start; echo answer $?'", "dpkg --configure -a"],
        )
    assert "answer 0" in said(site)
    assert b"nginx: master" not in b"".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
