# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages in guests, upgraded through the connection by real apt and dnf from a repository in the guest."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, lifecycle
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site

from . import templates
from .guests import SLEEP, Guests
from .test_modules import ansible

PACKAGE = "vserver-test"


def package(place: Path, version: str) -> Path:
    """A package with one file, built by dpkg."""
    tree = place / version
    for name in ("DEBIAN", "etc"):
        (tree / name).mkdir(parents=True)
    (tree / "etc" / PACKAGE).write_text(version)
    (tree / "DEBIAN" / "conffiles").write_text(f"/etc/{PACKAGE}\n")
    (tree / "DEBIAN" / "control").write_text(control(version))
    file = place / f"{PACKAGE}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, file], check=True, capture_output=True)
    return file


def control(version: str) -> str:
    fields = {"Package": PACKAGE, "Version": version, "Architecture": "all", "Maintainer": "x <x@example.com>"}
    return "".join(f"{name}: {value}\n" for name, value in {**fields, "Description": "for tests"}.items())


def repository(place: Path, file: Path, version: str) -> None:
    place.mkdir()
    content = file.read_bytes()
    (place / file.name).write_bytes(content)
    rest = {"Filename": f"./{file.name}", "Size": len(content), "SHA256": hashlib.sha256(content).hexdigest()}
    (place / "Packages").write_text(control(version) + "".join(f"{name}: {value}\n" for name, value in rest.items()))


@pytest.fixture
def guests(debian_template: Path, tmp_path: Path) -> Iterator[Guests]:
    """Two guests with an old package and a newer one in their repository; the second does not run."""
    site = Site()
    with templates.provided(site, debian_template) as name:
        made = Guests(site, name)
        engine_file.ensure(site)
        try:
            for guest in ("up1", "up2"):
                made.start(guest, init=SLEEP, timeout=0)
                inside = site.guest(guest) / "root/upper/srv"
                inside.mkdir(exist_ok=True)
                repository(inside / "repo", package(tmp_path / guest, "2.0"), "2.0")
                (inside / "old.deb").write_bytes(package(tmp_path / f"{guest}-old", "1.0").read_bytes())
                made.run(guest, "sh", "-c", "rm -rf /etc/apt/sources.list*; dpkg -i /srv/old.deb")
                made.run(guest, "sh", "-c", "echo deb [trusted=yes] file:/srv/repo ./ >/etc/apt/sources.list")
            lifecycle.set_state(site, "up2", "stopped", {})
            yield made
        finally:
            made.remove_all()
            engine_file.absent(site)


def playing(place: Path, guests: Mapping[str, object]) -> Callable[..., str]:
    """What runs the playbook with these guests of this host."""
    host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    reach = {"ansible_connection": "linux.vserver.guest", "vserver_host": "host1"}
    inventory = {
        "vserver_hosts": {"hosts": {"host1": host}},
        "vserver_guests": {"hosts": guests, "vars": reach},
    }
    (place / "inventory.json").write_text(json.dumps(inventory))

    def play(*words: str, fails: bool = False) -> str:
        return ansible("linux.vserver.upgrade", "-v", "-i", str(place / "inventory.json"), *words, fails=fails)

    return play


def test_upgrade(guests: Guests, tmp_path: Path) -> None:
    play = playing(tmp_path, {"up1": {}, "up2": {}, "never": {"vserver_state": "absent"}})

    def version() -> str:
        return guests.run("up1", "dpkg-query", "--show", "--showformat=${Version}", PACKAGE)

    guests.run("up1", "sh", "-c", f"echo mine >>/etc/{PACKAGE}; apt-get update")
    said = play("--check")
    assert f"Inst {PACKAGE} [1.0] (2.0" in said and "changed: [up1]" in said and version() == "1.0"
    assert "changed: [up1]" in play() and version() == "2.0"
    assert guests.run("up1", "cat", f"/etc/{PACKAGE}") == "1.0mine"
    said = play()
    assert "nothing to do" in said and "changed: [up1]" not in said
    assert "the limit names none" in play("--limit", "host1", fails=True)


#: A package with one file of configuration, which stays as it is when it was changed.
SPEC = f"""
Name: {PACKAGE}
Version: VERSION
Release: 1
Summary: for tests
License: none
BuildArch: noarch
%description
%install
mkdir -p %{{buildroot}}/etc
echo VERSION >%{{buildroot}}/etc/{PACKAGE}
%files
%config(noreplace) /etc/{PACKAGE}
"""
#: Builds two versions of it: installs the first, and has the second in a repository.
RPMS = f"""
set -e
cd /srv
for version in 1.0 2.0; do
    mkdir -p $version
    echo '{SPEC}' | sed "s/VERSION/$version/" >spec
    rpmbuild -bb --quiet --define "_topdir /srv/build" spec
    mv build/RPMS/noarch/*.rpm $version
done
rpm --install --nodeps 1.0/*.rpm
createrepo_c --quiet 2.0
mkdir -p /etc/yum.repos.d
printf '[tests]\nname=tests\nbaseurl=file:///srv/2.0\ngpgcheck=0\n' >/etc/yum.repos.d/tests.repo
"""


def test_upgrade_by_dnf(rpms_template: Path, tmp_path: Path) -> None:
    site = Site()
    with templates.provided(site, rpms_template) as name:
        guests = Guests(site, name)
        engine_file.ensure(site)
        try:
            guests.start("up3", init=SLEEP, timeout=0)
            guests.run("up3", "sh", "-c", RPMS)
            guests.run("up3", "sh", "-c", f"echo mine >>/etc/{PACKAGE}")
            play = playing(tmp_path, {"up3": {}})
            said = play("--check")
            assert "2.0-1" in said and "changed: [up3]" in said
            assert guests.run("up3", "rpm", "--query", PACKAGE) == f"{PACKAGE}-1.0-1.noarch"
            assert "changed: [up3]" in play()
            assert guests.run("up3", "rpm", "--query", PACKAGE) == f"{PACKAGE}-2.0-1.noarch"
            assert guests.run("up3", "cat", f"/etc/{PACKAGE}") == "1.0\nmine"
            said = play()
            assert "nothing to do" in said and "changed: [up3]" not in said
            guests.run("up3", "rm", "/usr/bin/dnf")
            assert "neither apt-get nor dnf" in play(fails=True)
            record = (site.guest("up3") / "guest.json").read_text()
            (site.guest("up3") / "guest.json").write_text("{")
            assert "read the record" in play(fails=True)
            (site.guest("up3") / "guest.json").write_text(record)
        finally:
            guests.remove_all()
            engine_file.absent(site)
