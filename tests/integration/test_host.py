# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probes on this machine, against facts found another way; and that they leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine.host import probe as host
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import runtimes as host_runtimes
from ansible_collections.linux.vserver.plugins.module_utils._engine.host.probe import Feature, Host
from ansible_collections.linux.vserver.plugins.module_utils._engine.kernel import cgroup
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """This host, with our directories on its usual file systems."""
    return host.probe(Site())


@pytest.fixture
def feature(probed: Host) -> Callable[[str], Feature]:
    by_name = {feature.name: feature for feature in probed.features}
    return lambda name: by_name[name]


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def traces(site: Site) -> dict[str, object]:
    """Everything a careless probe could leave: mounts, files, groups, processes, descriptors."""
    parents = {path for place in (site.state, site.run) for path in place.parents if path.is_dir()}
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "files": sorted(str(entry) for parent in parents for entry in parent.iterdir() if "vserver" in entry.name),
        "groups": sorted(str(path) for top in cgroup.layout().tops for path in top.glob("*vserver-probe*")),
        "processes": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "user", "pid", "cgroup", "time")},
        "capabilities": [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")],
    }


def test_nothing_is_left_behind() -> None:
    site = Site()
    before = traces(site)
    host.probe(site)
    assert traces(site) == before


def test_directories_of_ours_are_not_made(tmp_path: Path) -> None:
    site = Site(state=tmp_path / "state" / "deep", run=tmp_path / "run")
    tmp_path.chmod(0o700)
    assert host.probe(site).storage.path == str(tmp_path / "state" / "deep")
    assert list(tmp_path.iterdir()) == []


def test_the_runtimes_verdict_does_not_hang_on_the_mode_of_our_directory(tmp_path: Path) -> None:
    place = Path("/run") / f"test-{tmp_path.name}"
    place.mkdir(mode=0o700)
    try:
        assert host.preferred(host.runtimes(Site(run=place))) is not None
        assert list(place.iterdir()) == []
    finally:
        place.rmdir()


def test_it_is_quick() -> None:
    def once() -> float:
        start = time.monotonic()
        host.probe(Site())
        return time.monotonic() - start

    assert min(once() for _ignored in range(5)) < 2.0


def test_nothing_this_suite_needs_is_missing(probed: Host) -> None:
    assert probed.missing() == []


def test_the_plain_facts(probed: Host) -> None:
    assert probed.kernel == output("uname", "-r")
    assert probed.architecture == output("uname", "-m")
    assert probed.distribution["id"] == output("sh", "-c", '. /etc/os-release; echo "$ID"')
    assert (probed.init == "systemd") == os.path.isdir("/run/systemd/system")
    json.dumps(probed.to_dict())


def test_storage(probed: Host) -> None:
    here = str(next(path for path in (Path(probed.storage.path), *Path(probed.storage.path).parents) if path.exists()))
    source, kind, target = output("findmnt", "-n", "-r", "-o", "SOURCE,FSTYPE,TARGET", "-T", here).split()
    assert (probed.storage.type, probed.storage.mount_point) == (kind, target)
    assert probed.storage.source == source.partition("[")[0]
    size = int(output("stat", "-f", "-c", "%b", here)) * int(output("stat", "-f", "-c", "%S", here))
    assert probed.storage.size == size and 0 < probed.storage.free <= size


def test_reflink_as_cp_sees_it(feature: Callable[[str], Feature], probed: Host) -> None:
    parent = next(path for path in Path(probed.storage.path).parents if path.is_dir())
    source, clone = parent / ".vserver-test-source", parent / ".vserver-test-clone"
    try:
        source.write_bytes(b"x" * 4096)
        assert feature("reflink").available == succeeds("cp", "--reflink=always", str(source), str(clone))
    finally:
        source.unlink(missing_ok=True)
        clone.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("user_namespaces", ("unshare", "--user", "true")),
        ("namespaces", ("unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "true")),
        ("time_namespaces", ("unshare", "--time", "true")),
    ],
)
def test_namespaces_as_unshare_sees_them(feature: Callable[[str], Feature], name: str, argv: tuple[str, ...]) -> None:
    assert feature(name).available == succeeds(*argv)


@pytest.mark.parametrize(
    ("name", "file"), [("cgroup_kill", "cgroup.kill"), ("cgroup_freeze", "cgroup.freeze"), ("cgroup2", "cgroup.procs")]
)
def test_cgroup_files(feature: Callable[[str], Feature], name: str, file: str) -> None:
    top = output("findmnt", "-n", "-t", "cgroup2", "-o", "TARGET").splitlines()[0]
    group = Path(top) / "test-host-probe"
    group.mkdir()
    try:
        assert feature(name).available == (group / file).exists()
    finally:
        group.rmdir()


def test_controllers_are_where_they_are_said_to_be(probed: Host) -> None:
    assert probed.cgroups.controllers
    for name, top in probed.cgroups.controllers.items():
        if top == probed.cgroups.unified:
            assert name in (top / "cgroup.controllers").read_text().split()
        else:
            assert name in output("findmnt", "-n", "-o", "FS-OPTIONS", str(top)).split(",")


def test_tools_and_libraries(feature: Callable[[str], Feature]) -> None:
    for tool in ("tar", "mmdebstrap", "debootstrap"):
        found = shutil.which(tool, path=host_runtimes.SEARCH)
        assert feature(tool).available == (found is not None)
        assert found is None or feature(tool).detail == found
    for library in ("psutil", "pyroute2"):
        assert feature(library).detail == output(
            sys.executable, "-c", f"import {library}; print({library}.__version__)"
        )


def test_every_unavailable_feature_says_why_and_what_brings_it(probed: Host) -> None:
    for feature in probed.features:
        if not feature.available:
            assert feature.detail and feature.needs, feature


def test_runtimes(probed: Host) -> None:
    for runtime in probed.runtimes:
        assert runtime.version in output(runtime.path, "--version")
        # Also where control groups are mixed, which crun by itself refuses.
        assert runtime.works and not runtime.detail


def pretend(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(script)
    (directory / name).chmod(0o755)


def test_a_runtime_that_cannot_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        tmp_path, "crun", '#!/bin/sh\n[ "$1" = --version ] && echo crun version 9.9 || { echo no way >&2; exit 1; }\n'
    )
    pretend(tmp_path, "runc", "neither a script nor a program")
    monkeypatch.setattr(host_runtimes, "SEARCH", str(tmp_path))
    crun, runc = host.runtimes(Site())
    assert (crun.version, crun.works, crun.detail) == ("9.9", False, "no way")
    assert not runc.works and "format" in runc.detail
    found = host.probe(Site())
    assert [feature.name for feature in found.missing()] == ["oci_runtime"]
    assert "crun: no way" in found.missing()[0].detail


def test_no_runtime_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_runtimes, "SEARCH", str(tmp_path))
    assert host.runtimes(Site()) == () and host.runtime_paths() == []
    assert host.preferred(()) is None


def test_a_read_only_file_system_is_told_and_not_tripped_over(tmp_path: Path) -> None:
    code = (
        "import json, pathlib, sys\n"
        "from ansible_collections.linux.vserver.plugins.module_utils._engine.host import probe\n"
        "from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "print(json.dumps(probe.probe(Site(state=place / 'state', run=place / 'run')).to_dict()))\n"
    )
    script = 'mount -t tmpfs -o ro none "$1" && exec "$2" -c "$3" "$1"'
    found = json.loads(output("unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code))
    assert found["storage"]["restrictions"] == ["ro"] and found["storage"]["type"] == "tmpfs"
    assert not found["features"]["overlay_idmapped"]["available"]
    assert "Read-only" in found["features"]["overlay_idmapped"]["detail"]
    assert all("Read-only" in runtime["detail"] for runtime in found["runtimes"])


def test_without_user_namespaces_it_says_so() -> None:
    """user.max_user_namespaces belongs to the user namespace, so an inner one can be had that allows none below it."""
    code = (
        "from ansible_collections.linux.vserver.plugins.module_utils._engine.host import probes\n"
        "from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site\n"
        "known = {probe.name: probe for probe in probes.PROBES}\n"
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "found = probes.run(Site(), known['user_namespaces'])\n"
        "assert not found.available and found.required, found\n"
        "print(found.detail, found.needs)\n"
    )
    answer = output("unshare", "--user", "--map-root-user", sys.executable, "-c", code)
    assert "max_user_namespaces" in answer
