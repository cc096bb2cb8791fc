# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module takes the engine that is on the host if and only if it is the controller's, else the one it is brought."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.plugins.module_utils._ansible import engine
from ansible_collections.linux.vserver.plugins.module_utils._engine import engine_file, source

_UTILS = "ansible_collections/linux/vserver/plugins/module_utils"
#: What Ansible sends.
_SENT = ("__init__.py", "errors.py", "installed.py", "outcome.py", "site.py")
_ASK = f"""
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from {_UTILS.replace("/", ".")}._ansible import engine
program, version, directory = Path(sys.argv[2]), sys.argv[3] or None, sys.argv[4]
brought = open(sys.argv[5]).read() if sys.argv[5] else None
provided = engine.provide(program, version, brought, lambda: directory)
print(provided, engine.is_other(program, version))
if provided:
    print(engine.load("lifecycle").__file__)
    print(engine.load("source").version(engine.load("source").whole()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the program has to be root's")
@pytest.mark.parametrize("brought", [False, True])
@pytest.mark.parametrize(
    ("what", "taken", "other"),
    [
        ("same", True, False),
        ("other source", False, True),
        ("writable", False, False),
        ("another's", False, False),
        ("no zip", False, False),
        ("of somebody", False, False),
        ("", False, False),
    ],
)
def test_the_same_engine_is_taken_and_no_other(
    tmp_path: Path, what: str, taken: bool, other: bool, brought: bool
) -> None:
    whole = source.whole()
    version = source.version(whole)
    sent, program, parcel = tmp_path / "sent.zip", tmp_path / "vserver", tmp_path / "parcel"
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED) as packed:
        for depth in range(1, _UTILS.count("/") + 2):
            packed.writestr("/".join([*_UTILS.split("/")[:depth], "__init__.py"]), "")
        for path in Path(engine.__file__).parent.glob("*.py"):
            packed.write(path, f"{_UTILS}/_ansible/{path.name}")
        for name in _SENT:
            packed.writestr(f"{_UTILS}/_engine/{name}", whole[name])
    if what:
        of = {**whole, "site.py": whole["site.py"] + b"\n"} if what == "other source" else whole
        content = engine_file.build(of, sys.executable)
        if what == "of somebody":
            content = source.pack(whole, {}, b"util-vserver", zipfile.ZIP_STORED)
        program.write_bytes(b"no zip" if what == "no zip" else content)
        program.chmod(0o775 if what == "writable" else 0o755)
        os.chown(program, 65534 if what == "another's" else 0, 0)
    if brought:
        parcel.write_bytes(base64.b64encode(source.pack(whole, {}, b"", zipfile.ZIP_DEFLATED)))
    words = [sent, program, version, tmp_path, parcel if brought else ""]
    said = subprocess.run([sys.executable, "-I", "-c", _ASK, *words], capture_output=True, text=True, check=True)
    place = f"{tmp_path}/engine.zip/vserver/lifecycle.py" if brought else f"{program}/vserver/lifecycle.pyc"
    provided = taken or brought
    assert said.stdout.split() == [str(provided), str(other), *([place, version] if provided else [])]


def test_a_checkout_is_left_alone(tmp_path: Path) -> None:
    from ansible_collections.linux.vserver.plugins.module_utils import _engine

    before = list(_engine.__path__)
    assert engine.provide(tmp_path / "vserver", None, None, lambda: str(tmp_path)) and list(_engine.__path__) == before
    assert engine.load("source") is source
