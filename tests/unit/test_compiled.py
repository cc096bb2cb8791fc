# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module takes the engine that is on the host, compiled, if and only if it is the one that came with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._ansible import compiled
from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file

_PACKAGE = "ansible_collections/linux/vserver/plugins/module_utils/_engine"
_ASK = f"""
import sys, importlib
sys.path[:0] = [sys.argv[1], sys.argv[3]]
from pathlib import Path
from prefer import is_other, prefer
engine = importlib.import_module("{_PACKAGE.replace("/", ".")}")
print(prefer(engine, Path(sys.argv[2])), is_other(engine, Path(sys.argv[2])))
print(importlib.import_module(engine.__name__ + ".lifecycle").__file__)
importlib.import_module(engine.__name__ + ".only_sent")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the program has to be root's")
@pytest.mark.parametrize(
    ("what", "taken", "other"),
    [
        ("same", True, False),
        ("other source", False, True),
        ("more sent", False, False),
        ("writable", False, False),
        ("another's", False, False),
        ("no zip", False, False),
        ("", False, False),
    ],
)
def test_the_same_engine_is_taken_and_no_other(tmp_path: Path, what: str, taken: bool, other: bool) -> None:
    sources = engine_file.sources()
    sent, program = tmp_path / "sent.zip", tmp_path / "vserver"
    (tmp_path / "prefer.py").write_bytes(Path(compiled.__file__).read_bytes())
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED) as packed:
        for depth in range(1, _PACKAGE.count("/") + 1):
            packed.writestr("/".join([*_PACKAGE.split("/")[:depth], "__init__.py"]), "")
        for path, source in sources.items():
            packed.writestr(f"{_PACKAGE}/{path}", source)
        packed.writestr(f"{_PACKAGE}/only_sent.py", "")
        if what == "more sent":
            packed.writestr(f"{_PACKAGE}/host/only_sent.py", "")
    if what == "other source":
        sources = {**sources, "site.py": sources["site.py"] + b"\n"}
    if what:
        program.write_bytes(b"no zip" if what == "no zip" else engine_file.build(sources, sys.executable))
        program.chmod(0o775 if what == "writable" else 0o755)
        os.chown(program, 65534 if what == "another's" else 0, 0)
    command = [sys.executable, "-I", "-c", _ASK, str(sent), str(program), str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    place = f"{program}/vserver/lifecycle.pyc" if taken else f"{sent}/{_PACKAGE}/lifecycle.py"
    assert answer == [str(taken), str(other), place]


def test_a_checkout_is_left_alone(tmp_path: Path) -> None:
    from ansible_collections.linux.vserver.plugins.module_utils import _engine

    before = list(_engine.__path__)
    assert compiled.prefer(_engine, tmp_path / "vserver") is False and list(_engine.__path__) == before
