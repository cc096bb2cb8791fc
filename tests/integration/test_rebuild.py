# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new root with the old data: these are kept exactly, whatever is killed, and no guest's links lead elsewhere."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import (
    info,
    layers,
    lifecycle,
    rebuild,
    running,
    store,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, InvalidInput, VserverError
from ansible_collections.linux.vserver.plugins.module_utils._engine.host import filesystem
from ansible_collections.linux.vserver.plugins.module_utils._engine.outcome import Outcome
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.template import catalog, spec, versions

from . import templates
from .guests import SLEEP, Guests
from .test_crash import crash_everywhere

NAME, TEMPLATE = "rebuilt", "rebuilding"
PROGRAMS = ["sh", "sleep", "rm", "mkdir", "ln", "chmod", "chown", "mv", "cat", "find", "sort"]
DATA = ["/srv", "/var/lib/app/"]
#: Everything of a tree but its names' order: kind, mode, owner, size, time, and where a link leads.
LIST = "find /srv /var/lib/app -printf '%p %y %m %U %G %s %T@ %l\\n' | sort"
CHANGES = """
cd /srv
rm removed; echo changed >changed; echo new >new; ln new again; ln -s /etc/release link; ln -s ../new sub/up
rm -r whole; mkdir whole; echo only >whole/only
mkdir -p own/deep; chown 33:33 own; chmod 2750 own; echo x >own/deep/file
chmod 700 /var/lib/app; echo y >/var/lib/app/state
echo lost >/lost
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str, str]]:
    """A site with two versions of a template that differ where the data are."""
    site, place = Site(), tmp_path_factory.mktemp("rebuild")
    store.prepare(site)
    tree = templates.tiny_tree(place / "tree", PROGRAMS)
    for name in ("removed", "changed", "untouched", "sub/inner", "whole/gone"):
        (tree / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "srv" / name).write_text(name)
    (tree / "var/lib/app").mkdir(parents=True)
    asked = spec.parse({"name": TEMPLATE, "method": "directory", "source": str(tree)})
    (tree / "etc/release").write_text("1")
    catalog.ensure(site, asked)
    (tree / "etc/release").write_text("2")
    (tree / "srv/of-the-new-one").write_text("unwanted")
    (tree / "srv/sub/of-the-new-one").write_text("unwanted")
    shutil.rmtree(tree / "var/lib")
    catalog.ensure(site, asked, refresh=True)
    old, new = versions.versions(site, TEMPLATE)
    yield site, old, new
    catalog.absent(site, TEMPLATE)


@pytest.fixture
def guests(both: tuple[Site, str, str]) -> Iterator[Guests]:
    made = Guests(both[0], TEMPLATE)
    yield made
    made.remove_all()


def to(
    site: Site, version: str, *, check: bool = False, restart: bool = True, data: list[str] | None = None
) -> Outcome:
    options = {"version": version, "data": DATA if data is None else data}
    return rebuild.rebuild(site, NAME, options, check=check, restart=restart)


def release(guests: Guests) -> str:
    return guests.run(NAME, "cat", "/etc/release")


@pytest.mark.parametrize("method", ["overlay", "copy"])
def test_data_are_kept_and_nothing_else(guests: Guests, both: tuple[Site, str, str], method: str) -> None:
    site, old, new = both
    guests.define(NAME, method=method, init=SLEEP, timeout=0)
    to(site, old, data=[])
    lifecycle.set_state(site, NAME, "started", {})
    guests.run(NAME, "sh", "-c", CHANGES)
    before = guests.run(NAME, "sh", "-c", LIST)
    xid = info.guest(site, NAME)["xid"]
    with pytest.raises(Conflict, match="runs"):
        to(site, new, restart=False)
    foretold = to(site, new, check=True)
    assert foretold.changed and guests.run(NAME, "cat", "/lost") == "lost"
    made = to(site, new)
    assert (made.before, made.after) == (foretold.before, foretold.after)
    guest = info.guest(site, NAME)
    assert (guest["state"], guest["xid"], guest["root"]["version"]) == ("running", xid, new)
    assert guests.run(NAME, "sh", "-c", LIST) == before
    assert guests.exec(NAME, "cat", "/lost").returncode != 0
    assert guests.run(NAME, "cat", "/srv/changed", "/srv/again", "/srv/untouched") == "changed\nnew\nuntouched"
    assert not to(site, new).changed
    assert to(site, old).changed and guests.run(NAME, "sh", "-c", LIST) == before
    assert os.listdir(site.guest(NAME)) and not [n for n in os.listdir(site.guest(NAME)) if n.startswith(".pending")]


def test_killed_anywhere(guests: Guests, both: tuple[Site, str, str], tmp_path: Path) -> None:
    site, old, new = both
    guests.define(NAME, init=SLEEP, timeout=0)
    to(site, old, data=[])
    lifecycle.set_state(site, NAME, "started", {})
    guests.run(NAME, "sh", "-c", CHANGES)
    before = guests.run(NAME, "sh", "-c", LIST)

    def consistent() -> None:
        """Whatever is there now, it starts, and has the data."""
        lifecycle.set_state(site, NAME, "started", {})
        assert guests.run(NAME, "sh", "-c", LIST) == before
        assert release(guests) == ("1" if info.guest(site, NAME)["root"]["version"] == old else "2")

    def forth() -> None:
        consistent()
        to(site, new)
        consistent()
        assert release(guests) == "2"

    def back() -> None:
        to(site, old)
        consistent()
        assert release(guests) == "1"

    points = crash_everywhere(forth, back, tmp_path / "points")
    wanted = ["filled", "owed", "stopped", "built", "exchanged", "recorded"]
    assert [point for point in points if point.startswith("rebuild:")] == [f"rebuild:{name}" for name in wanted]
    assert {name for name in os.listdir(site.guest(NAME)) if name != "root"} == {"guest.json"}


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_killed_anywhere_the_next_call_has_it_run_again(
    guests: Guests, both: tuple[Site, str, str], tmp_path: Path, state: str
) -> None:
    site, old, new = both
    guests.define(NAME, init=SLEEP, timeout=0)
    to(site, old, data=[])
    lifecycle.set_state(site, NAME, "started", {})
    guests.run(NAME, "sh", "-c", CHANGES)
    if state == "frozen":
        lifecycle.set_state(site, NAME, "frozen", {})

    def again(version: str) -> None:
        to(site, version)
        assert info.guest(site, NAME)["root"]["version"] == version and info.state(site, NAME) == state
        assert not to(site, version).changed and running.owed(site, NAME) is None

    points = crash_everywhere(lambda: again(new), lambda: again(old), tmp_path / "points")
    assert {"rebuild:owed", "rebuild:stopped", "rebuild:exchanged", "start:noted"} <= set(points)


def test_one_that_is_stopped_on_purpose_after_a_kill_stays_so(guests: Guests, both: tuple[Site, str, str]) -> None:
    site, old, new = both
    guests.define(NAME, init=SLEEP, timeout=0)
    to(site, old, data=[])
    for state in ("started", "stopped"):
        lifecycle.set_state(site, NAME, state, {})
    running.owe(site, NAME, "running")  # as a rebuild does that is killed
    assert to(site, old, data=[], check=True).after == {"state": "running"}
    assert info.state(site, NAME) == "stopped"
    lifecycle.set_state(site, NAME, "stopped", {})
    assert to(site, new, data=[]).after.keys() == {"root"} and info.state(site, NAME) == "stopped"


@pytest.mark.parametrize(
    ("script", "data", "words"),
    [
        ("true", ["/srv", "/nosuch"], "/nosuch is missing"),
        ("mv /srv /gone; ln -s /etc /srv", ["/srv"], "/srv is missing, a link"),
        ("mv /var /gone; ln -s /etc /var", ["/var/lib/app"], "/var is missing, a link"),
        ("echo x >/file", ["/file"], "no directory"),
        ("rm -r /srv", ["/srv"], "missing"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    guests: Guests, both: tuple[Site, str, str], script: str, data: list[str], words: str
) -> None:
    site, old, new = both
    guests.define(NAME, init=SLEEP, timeout=0)
    to(site, old, data=[])
    lifecycle.set_state(site, NAME, "started", {})
    guests.run(NAME, "sh", "-c", script)
    pid = info.guest(site, NAME)["pid"]
    for check in (True, False):
        with pytest.raises(InvalidInput, match=words):
            to(site, new, data=data, check=check)
    assert info.guest(site, NAME)["pid"] == pid and release(guests) == "1"


def test_one_that_fails_goes_on_as_it_was(
    guests: Guests, both: tuple[Site, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, old, new = both
    guests.define(NAME, init=SLEEP, timeout=0)
    to(site, old, data=[])
    lifecycle.set_state(site, NAME, "started", {})

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layers, "carry", full)
    with pytest.raises(VserverError, match="No space left"):
        to(site, new, data=["/srv"])
    assert info.state(site, NAME) == "running" and release(guests) == "1"
    assert {name for name in os.listdir(site.guest(NAME)) if name != "root"} == {"guest.json"}


# ---- layers, against the kernel's own


def manifest(top: Path) -> list[tuple[str, int, int, int, str]]:
    found = []
    for place, directories, files in os.walk(top):
        for name in [*directories, *files, "."]:
            path = Path(place, name)
            facts = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
            size = 0 if stat.S_ISDIR(facts.st_mode) else facts.st_size
            found.append((str(path.relative_to(top)), facts.st_mode, facts.st_uid, size, content))
    return sorted(set(found))


def wreak(top: Path, dice: random.Random, steps: int) -> None:
    """Do random things to a tree."""
    for step in range(steps):
        places = [Path(place) for place, _directories, _files in os.walk(top)]
        there = [path for place in places for path in place.iterdir() if path.name != "kept"]
        path = dice.choice(places) / dice.choice("abcd")
        acts = ["write", "mkdir", "link", "hard", "remove", "replace", "chmod", "move"]
        (act,) = dice.choices(acts, weights=[4, 5, 1, 1, 2, 1, 1, 1])
        try:
            if act == "write":
                path.write_text(f"{step}")
            elif act == "mkdir":
                path.mkdir()
            elif act == "link":
                path.symlink_to(dice.choice(["/etc", "a", "../b"]))
            elif act == "hard":
                os.link(dice.choice(there), path, follow_symlinks=False)
            elif act in ("remove", "replace"):
                victim = dice.choice(there)
                shutil.rmtree(victim) if victim.is_dir() and not victim.is_symlink() else victim.unlink()
                if act == "replace":
                    victim.mkdir()
            elif act == "chmod":
                dice.choice(places).chmod(dice.choice([0o700, 0o755, 0o1777]))
            else:
                dice.choice(there).rename(path)
        except (OSError, IndexError):
            continue


def overlay(place: Path, lower: Path) -> Path:
    for name in ("upper", "work", "merged"):
        (place / name).mkdir(parents=True, exist_ok=True)
    options = [f"{key}={value}" for key, value in filesystem.OVERLAY.items()]
    options += [f"lowerdir={lower}", f"upperdir={place}/upper", f"workdir={place}/work"]
    subprocess.run(["mount", "-t", "overlay", "-o", ",".join(options), "overlay", str(place / "merged")], check=True)
    return place / "merged"


@pytest.mark.parametrize("seed", range(25))
def test_layers_are_put_together_as_the_kernel_does_it(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for name in ("lower", "other"):
        (tmp_path / name / "kept").mkdir(parents=True)
        wreak(tmp_path / name, dice, 120)
    seen = overlay(tmp_path / "old", tmp_path / "lower")
    try:
        wreak(seen, dice, 60)
        before = manifest(seen / "kept")
        assert len(before) > 3, "little to compare"
    finally:
        subprocess.run(["umount", str(seen)], check=True)
    for name in ("upper", "work"):
        (tmp_path / "new" / name).mkdir(parents=True)
    with layers.opened(tmp_path / "old/upper", tmp_path / "lower", "kept") as source:
        layers.carry(source, tmp_path / "new/upper", "kept", tmp_path / "other")
    seen = overlay(tmp_path / "new", tmp_path / "other")
    try:
        assert manifest(seen / "kept") == before
    finally:
        subprocess.run(["umount", str(seen)], check=True)
