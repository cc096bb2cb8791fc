# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as one file: what is in it, when it counts as changed, and that it runs."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import (
    engine_file,
    files,
    source,
    systemd,
    unit_files,
)
from ansible_collections.linux.vserver.plugins.module_utils._engine.cli import manual
from ansible_collections.linux.vserver.plugins.module_utils._engine.errors import Conflict, Unsupported
from ansible_collections.linux.vserver.plugins.module_utils._engine.site import Site
from ansible_collections.linux.vserver.plugins.module_utils._engine.unit_files import Wishes


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "state", tmp_path / "run", program=tmp_path / "sbin" / "vserver")


#: Imports each group of commands, and tells what each then has imported of the engine; what waits until it is needed
#: comes first.
ASK = """
import json, sys
from vserver.cli import _group, completion, parser
from vserver.kernel import channel
groups = {}
for name in sorted(parser.GROUPS):
    _group(name)
    groups[name] = [name for name in sys.modules if name[:7] == 'vserver']
print(json.dumps(groups))
"""


def test_the_file_holds_the_engine_and_its_commands_import_nothing_else(site: Site) -> None:
    engine_file.ensure(site)
    environment = {"PYTHONPATH": str(site.program), "PATH": os.environ["PATH"]}
    said = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    imported = {name.replace(".", "/") for names in json.loads(said.stdout).values() for name in names}
    engine = Path(engine_file.__file__).parent
    whole = {f"vserver/{path.relative_to(engine)}" for path in engine.rglob("*.py")}
    with zipfile.ZipFile(site.program) as packed:
        held = {name.removesuffix(".py").removesuffix("/__init__") for name in packed.namelist() if name[-1] != "c"}
    assert held - {"__main__"} == {path.removesuffix(".py").removesuffix("/__init__") for path in whole}
    assert imported <= held


def test_it_is_a_program(site: Site) -> None:
    version = engine_file.ensure(site).subject["version"]
    said = subprocess.run([site.program, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"vserver {version}\n"
    said = subprocess.run([site.program, "start"], capture_output=True, text=True, check=False)
    assert said.returncode == 2 and "NAME" in said.stderr


def test_ansible_sends_all_of_it_along() -> None:
    """What the module makes of what Ansible sends to a host is what a checkout makes."""
    program = Path(sys.executable).with_name("ansible")
    words = [program, "localhost", "--module-name", "linux.vserver.engine", "--check"]
    words += ["--extra-vars", f"ansible_python_interpreter={sys.executable}"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f'"version": "{source.version(source.whole())}"' in said


def test_its_modules_come_compiled_and_another_python_takes_the_sources(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded_from() -> str:
        ask = "import vserver.cli as cli; print(cli.__file__)"
        environment = {"PYTHONPATH": str(site.program), "PATH": os.environ["PATH"]}
        words = [sys.executable, "-c", ask]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    with monkeypatch.context() as of_another:
        of_another.setattr(importlib.util, "MAGIC_NUMBER", b"\0\0\r\n")
        engine_file.ensure(site)
    assert loaded_from().endswith("cli/__init__.py")
    assert engine_file.ensure(site).changed and loaded_from().endswith("cli/__init__.pyc")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets as far")
def test_it_fails_in_words(site: Site) -> None:
    engine_file.ensure(site)
    said = subprocess.run([site.program, "start", "no/guest"], capture_output=True, text=True, check=False)
    assert said.returncode == 1 and said.stderr.startswith("vserver: guest name 'no/guest' is not valid")


def test_equal_sources_make_equal_bytes_and_only_sources_make_the_version() -> None:
    of = {"cli/__init__.py": b"a", "kernel/bpf.py": b"b"}
    assert engine_file.build(of, "/p") == engine_file.build(dict(reversed(of.items())), "/p")
    assert source.version(of) != source.version({**of, "kernel/bpf.py": b"c"})
    assert source.version({"a": b"bc"}) != source.version({"ab": b"c"})
    with zipfile.ZipFile(io.BytesIO(engine_file.build(of, "/another"))) as packed:
        assert packed.comment.decode().endswith(source.version(of))
        assert packed.testzip() is None


def page(program: Path) -> Path:
    return Site(program=program).manual


def completion(program: Path) -> Path:
    return Site(program=program).completion


def tampered(program: Path) -> None:
    program.write_bytes(program.read_bytes().replace(b"def main(", b"def niam(", 1))


@pytest.mark.parametrize(
    ("spoil", "before", "after"),
    [
        (Path.unlink, {"version": None, "python": None, "mode": None}, None),
        (lambda program: program.chmod(0o700), {"mode": "0700"}, {"mode": "0755"}),
        (tampered, {"version": "VERSION, altered"}, {"version": "VERSION"}),
        (
            lambda program: program.write_bytes(engine_file.build({"cli/__init__.py": b""}, engine_file.interpreter())),
            {"version": source.version({"cli/__init__.py": b""})},
            {"version": "VERSION"},
        ),
        (
            lambda program: program.write_bytes(engine_file.build(source.whole(), "/old/python")),
            {"python": "/old/python"},
            {"python": engine_file.interpreter()},
        ),
        (lambda program: page(program).unlink(), {"manual": None}, None),
        (lambda program: page(program).write_text(f"{manual.MARK} old"), {"manual": "PAGE, altered"}, None),
        (lambda program: completion(program).unlink(), {"completion": None}, None),
        (
            lambda program: completion(program).write_text(f"source <({program} completion bash)"),
            {"completion": "COMPLETION, altered"},
            None,
        ),
        (
            lambda program: Path(program.parents[1], "state/guests").rmdir(),
            {"directories": ["STATE", "TEMPLATES"]},
            None,
        ),
        (
            lambda program: Path(program.parents[1], "state").chmod(0o755),
            {"directories": ["GUESTS", "TEMPLATES"]},
            None,
        ),
    ],
    ids=[
        *("missing", "mode", "altered", "older", "python", "no page", "page", "no completion", "completion"),
        *("no directory", "directory"),
    ],
)
def test_what_differs_is_told_and_put_right(
    site: Site, spoil: Callable[[Path], object], before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    site.completion.parent.mkdir(parents=True)
    whole = engine_file.ensure(site).subject
    content = site.program.read_bytes()

    def named(values: Any) -> Any:
        known = {"VERSION": whole["version"], "PAGE": whole["manual"], "COMPLETION": whole["completion"]}
        known.update(zip(("STATE", "GUESTS", "TEMPLATES"), whole["directories"]))
        if isinstance(values, dict):
            return {key: named(value) for key, value in values.items()}
        if isinstance(values, list):
            return [named(value) for value in values]
        return values and re.sub("[A-Z]{4,}", lambda word: known[word[0]], values)

    spoil(site.program)
    told = engine_file.ensure(site, check=True)
    assert not site.program.exists() or site.program.read_bytes() != content or "version" not in before
    made = engine_file.ensure(site)
    for outcome in (told, made):
        assert outcome.changed and outcome.before == named(before)
        assert outcome.after == (named(after) if after else {key: whole[key] for key in before})
    with zipfile.ZipFile(site.program) as packed, zipfile.ZipFile(io.BytesIO(content)) as old:
        assert packed.testzip() is None and packed.namelist() == old.namelist()
    assert site.program.stat().st_mode & 0o7777 == 0o755
    assert site.manual.read_text() == manual.page(whole["version"]) and site.manual.stat().st_mode & 0o7777 == 0o644
    assert site.completion.read_text() == f'eval "$({site.program} completion bash)"\n'
    assert {path.stat().st_mode & 0o7777 for path in (site.state, site.guests, site.templates)} == {0o700}
    assert not engine_file.ensure(site).changed and not engine_file.ensure(site, check=True).changed


def test_check_mode_makes_nothing(site: Site, tmp_path: Path) -> None:
    assert engine_file.ensure(site, check=True).changed and not list(tmp_path.iterdir())


def test_nothing_is_completed_where_bash_does_not(site: Site) -> None:
    assert "completion" not in engine_file.ensure(site).subject and not site.completion.exists()
    site.completion.parent.mkdir(parents=True)
    assert engine_file.ensure(site).after == {"completion": str(site.completion)}
    words = ["bash", "-c", '. "$1"; complete -p vserver', "bash", site.completion]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said == "complete -o default -F _vserver vserver\n"


def test_it_goes_with_its_page_and_stays_away(site: Site) -> None:
    site.completion.parent.mkdir(parents=True)
    engine_file.ensure(site)
    assert engine_file.absent(site).changed and not site.completion.exists() and site.guests.is_dir()
    site.completion.parent.rmdir()
    engine_file.ensure(site)
    assert engine_file.absent(site, check=True).changed and site.program.exists() and site.manual.exists()
    site.program.unlink()
    outcome = engine_file.absent(site)
    assert outcome.before == {"manual": str(site.manual)} and outcome.after == {"manual": None}
    engine_file.ensure(site)
    assert engine_file.absent(site).changed and not site.program.exists() and not site.manual.exists()
    assert not engine_file.absent(site).changed


def test_it_stays_while_units_of_ours_run_it(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "UNITS", tmp_path)
    engine_file.ensure(site)

    def write(texts: dict[str, str | None]) -> None:
        for name, text in texts.items():
            (tmp_path / name).write_text(text or "")

    write(unit_files.texts(site, Wishes(events=True), "0123456789ab"))
    with pytest.raises(Conflict, match=r"vserver@\.service, vserver-events\.service, vserver-guests\.service run it"):
        engine_file.absent(site)
    told = engine_file.absent(site, check=True)
    assert told.changed and "run it" in told.warnings[0], "check mode cannot know who removes them before"
    write(unit_files.texts(dataclasses.replace(site, program=Path("/of/another")), Wishes(), "0123456789ab"))
    (tmp_path / "vserver-events.service").write_text(f"[Service]\nExecStart={site.program} events\n")
    assert engine_file.absent(site).changed and not site.program.exists()


def test_who_runs_another_version_is_told(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "UNITS", tmp_path)
    version = engine_file.ensure(site).subject["version"]

    def told(of: str, *, events: bool = True) -> list[tuple[str, ...]]:
        text = unit_files.texts(site, Wishes(events=True), of)["vserver-events.service"] if events else None
        (tmp_path / "vserver-events.service").write_text(text or "")
        return [engine_file.ensure(site, check=check).restart_required for check in (True, False)]

    assert told(version) == told("another", events=False) == [(), ()]
    (reason,) = set(told("0123456789ab"))
    assert "vserver-events.service runs another version" in reason[0]


@pytest.mark.parametrize("what", ["manual", "completion"])
def test_a_page_of_another_program_is_never_touched(site: Site, what: str) -> None:
    path: Path = getattr(site, what)
    files.make_directory(path.parent)
    path.write_text(".TH VSERVER 8 util-vserver\n")
    for call in (engine_file.ensure, engine_file.absent):
        with pytest.raises(Conflict, match=f"the {what} of .*something else is there"):
            call(site)
    assert path.read_text() == ".TH VSERVER 8 util-vserver\n" and not site.program.exists()


def test_the_page_is_where_the_program_belongs() -> None:
    assert Site().manual == Path("/usr/share/man/man8/vserver.8")
    assert Site(program=Path("/usr/local/sbin/vserver")).manual == Path("/usr/local/share/man/man8/vserver.8")


@pytest.mark.parametrize("content", [b"#!/bin/sh\necho util-vserver\n", b"", "zip"], ids=["script", "empty", "zip"])
def test_another_program_of_that_name_is_never_touched(site: Site, content: bytes | str) -> None:
    files.make_directory(site.program.parent)
    if content == "zip":
        with zipfile.ZipFile(site.program, "w") as packed:
            packed.writestr("__main__.py", "")
    else:
        assert isinstance(content, bytes)
        site.program.write_bytes(content)
    before = site.program.read_bytes()
    for call in (engine_file.ensure, engine_file.absent):
        for check in (True, False):
            with pytest.raises(Conflict, match="something else is there"):
                call(site, check=check)
    assert site.program.read_bytes() == before


def test_what_a_crash_left_is_swept_and_nothing_else(site: Site) -> None:
    files.make_directory(site.program.parent)
    left, others = (site.program.parent / f"{files.PENDING}{name}-0123abcd" for name in ("vserver", "other"))
    left.touch()
    others.touch()
    engine_file.ensure(site)
    assert not left.exists() and others.exists()


@pytest.mark.parametrize("path", ["", "/has a blank/python3", "/" + "x" * 260])
def test_a_python_that_cannot_stand_in_a_first_line_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", path)
    with pytest.raises(Unsupported):
        engine_file.interpreter()
