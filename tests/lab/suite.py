# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Integration tests run on a host of the lab, by its own Python and pytest, in namespaces as everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from .failure import LabError
from .remote import Remote

REPOSITORY = Path(__file__).resolve().parents[2]
_PLACE = "/root/tests/ansible_collections/linux/vserver"
_PARTS = ("galaxy.yml", "meta", "plugins", "pytest.ini", "tests/conftest.py", "tests/harness", "tests/integration")
_ARCHIVE = "/root/debian.tar.zst"
_PYTEST = "python3 -m pytest -p no:cacheprovider -q --tb=short"


@dataclass(frozen=True)
class Report:
    """What a run found: how many tests ran, what failed in short, why some were skipped, and what was measured."""

    ran: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    measured: tuple[str, ...] = ()


def send(remote: Remote, host: str, archive: Path | None) -> None:
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
    if archive is not None:
        with archive.open("rb") as stream:
            subprocess.run(remote.words(host, f"cat >{_ARCHIVE}"), stdin=stream, check=True)


def expected(file: str, expression: str) -> int:
    """How many tests of a file there are to run, as this machine's pytest finds them."""
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-k", expression]
    environment = {**os.environ, "VSERVER_TEST_HOST_NETWORK": "", "VSERVER_TEST_CACHE": ""}
    found = subprocess.run(
        [*words, f"tests/integration/{file}"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return sum("::" in line for line in found.stdout.splitlines())


def run(remote: Remote, host: str, file: str, expression: str, patience: float) -> Report:
    """Run the tests of a file that match a pytest expression."""
    report = f"/root/{file}.xml"
    command = f"""
        cd {_PLACE}; rm -rf /root/state {report}
        export VSERVER_TEST_HOST_NETWORK=/proc/$$/ns/net VSERVER_TEST_CACHE=/root/cache PYTHONDONTWRITEBYTECODE=1
        export VSERVER_TEMPLATE_ARCHIVE={_ARCHIVE} VSERVER_TEST_EXAMPLES=100
        timeout {patience:.0f} unshare --mount --net --propagation private -- \\
            python3 tests/harness/confine.py /root/state \\
            {_PYTEST} --junitxml {report} -k '{expression}' tests/integration/{file}
    """
    result = subprocess.run(
        remote.words(host, command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode not in (0, 1):
        raise LabError(f"{host}: exit status {result.returncode} of {file}: {(result.stdout + result.stderr)[-3000:]}")
    measured = tuple(line.strip(" .") for line in result.stdout.splitlines() if line.startswith("  test_"))
    return replace(read(remote.run(host, f"cat {report}")), measured=measured)


def read(junit: str) -> Report:
    """The report that is in a JUnit file (pure)."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))

    def words(kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for case in cases:
            for part in case:
                if part.tag in kinds:
                    yield case.attrib["name"], part.attrib.get("message", "")

    failed = tuple(f"{name}: {message[:300]}" for name, message in words(("failure", "error")))
    skipped = tuple(message for _name, message in words(("skipped",)))
    return Report(len(cases), failed, skipped)
