# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Integration tests run on a host of the lab, by its own Python and pytest, in namespaces as everywhere."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from .failure import LabError
from .remote import Remote

REPOSITORY = Path(__file__).resolve().parents[2]
_PLACE = "/root/collections/ansible_collections/linux/vserver"
_PARTS = ("galaxy.yml", "meta", "plugins", "pytest.ini", "tests/conftest.py", "tests/harness", "tests/integration")
_ARCHIVE = "/root/debian.tar.zst"
_REPORT = "/root/report.xml"
#: Below the home directory of root, for whoever is on a host of the lab.
_RUN = "run-tests"
_SCRIPT = f"""#!/bin/sh
# {_RUN} EXPRESSION FILE...: those integration tests of the files that match, in namespaces of their own.
set -eu
cd {_PLACE}
rm -rf /root/state {_REPORT}
export VSERVER_TEST_HOST_NETWORK=/proc/$$/ns/net VSERVER_TEST_CACHE=/root/cache PYTHONDONTWRITEBYTECODE=1
export VSERVER_TEMPLATE_ARCHIVE={_ARCHIVE} VSERVER_TEST_EXAMPLES=100
expression=$1
shift
exec unshare --mount --net --propagation private -- python3 tests/harness/confine.py /root/state \\
    python3 -m pytest -p no:cacheprovider -q --tb=short --junitxml {_REPORT} -k "$expression" "$@"
"""


@dataclass(frozen=True)
class Report:
    """What a run found: file → how many tests ran; what failed in short, why some were skipped, what was measured."""

    ran: Mapping[str, int]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    measured: tuple[str, ...]


def send(remote: Remote, host: str, archive: Path) -> None:
    """Copy the tests and what they test to a host, and the archive of their guests' template."""
    pack = [
        "tar",
        "--create",
        "--gzip",
        "--owner=0",
        "--group=0",
        "--exclude=__pycache__",
        "-C",
        str(REPOSITORY),
        *_PARTS,
    ]
    # The hosts' pytest is older than what our own checks ask for, and does for the tests.
    unpack = f"""
        rm -rf {_PLACE}; mkdir -p {_PLACE} /var/lib/vserver /run/vserver && tar -xzmf - -C {_PLACE} &&
        sed -i /^minversion/d {_PLACE}/pytest.ini
    """
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        subprocess.run(remote.words(host, unpack), stdin=packing.stdout, check=True)
    if packing.returncode:
        raise LabError(f"tar ended with exit status {packing.returncode}")
    copies = {_RUN: _SCRIPT.encode(), _ARCHIVE: archive.read_bytes()}
    for name, content in copies.items():
        subprocess.run(remote.words(host, f"cat >{name} && chmod 700 {name}"), input=content, check=True)


def _chosen(files: Mapping[str, str]) -> str:
    """The expression for pytest that chooses the tests which each file's own one chooses, of all these files (pure)."""
    return " or ".join(f"({file} and ({expression}))" for file, expression in files.items())


def _paths(files: Mapping[str, str]) -> list[str]:
    return [f"tests/integration/{file}" for file in files]


def expected(files: Mapping[str, str]) -> dict[str, int]:
    """File → how many of its tests there are to run, as this machine's pytest finds them."""
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-k", _chosen(files)]
    environment = {**os.environ, "VSERVER_TEST_HOST_NETWORK": "", "VSERVER_TEST_CACHE": ""}
    found = subprocess.run(
        [*words, *_paths(files)], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    return dict(Counter(Path(line.partition("::")[0]).name for line in found.stdout.splitlines() if "::" in line))


def run(remote: Remote, host: str, files: Mapping[str, str], patience: float) -> Report:
    """Run tests of these files, of each those that match its pytest expression."""
    words = ["timeout", f"{patience:.0f}", f"./{_RUN}", shlex.quote(_chosen(files)), *_paths(files)]
    result = subprocess.run(
        remote.words(host, *words), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode not in (0, 1):
        raise LabError(f"{host}: exit status {result.returncode} of tests: {(result.stdout + result.stderr)[-3000:]}")
    measured = tuple(line.strip(" .") for line in result.stdout.splitlines() if line.startswith("  test_"))
    return read(remote.run(host, f"cat {_REPORT}"), measured)


def read(junit: str, measured: tuple[str, ...]) -> Report:
    """The report that is in a JUnit file, with what was measured beside it (pure)."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))

    def words(kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for case in cases:
            for part in case:
                if part.tag in kinds:
                    yield case.attrib["name"], part.attrib.get("message", "")

    ran = Counter(f"{case.attrib['classname'].split('.')[2]}.py" for case in cases)
    failed = tuple(f"{name}: {message[:300]}" for name, message in words(("failure", "error")))
    skipped = tuple(message for _name, message in words(("skipped",)))
    return Report(dict(ran), failed, skipped, measured)
