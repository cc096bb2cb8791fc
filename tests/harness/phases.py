# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases, and the checks each of them consists of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

from . import confine
from .environment import UNSHARE, Workspace, confined
from .report import Outcome, failed, failures_of_junit, left_out, outcome_of_junit, passed

PACKAGE = "ansible_collections.linux.vserver"
# What pytest answers where it found no test, or none that was asked for.
PYTEST_FOUND_NOTHING = 5


@dataclass(frozen=True)
class Check:
    """One thing to find out. Where an expression is given, only those that choose by it, or are named so."""

    name: str
    run: Callable[[Workspace, Path], Outcome]
    selective: bool = False

    def wanted(self, expression: str | None) -> bool:
        return expression is None or self.selective or expression == self.name.rpartition(" ")[2]


@dataclass(frozen=True)
class Phase:
    name: str
    checks: tuple[Check, ...]


def command(name: str, *options: str) -> Check:
    """A check that is a command, and counts as one test."""
    return Check(name, partial(_run_command, [*name.split(), *options]))


def _run_command(words: Sequence[str], space: Workspace, log: Path, cwd: Path | None = None) -> Outcome:
    status = space.call(words, log, cwd=cwd)
    return passed() if status == 0 else failed(f"{log.stem}: exit status {status}")


def _mypy(space: Workspace, log: Path) -> Outcome:
    words = ["mypy", "--config-file", str(space.tree / "mypy.ini")]
    # What pytest brings along is not written for the oldest Python.
    words += ["--exclude", r"tests/lab/(conftest|template|test_\w+)\.py$"]
    for package in ("plugins", "tests.harness", "tests.lab"):
        words += ["--package", f"{PACKAGE}.{package}"]
    return _run_command(words, space, log, cwd=space.collections)


def _shellcheck(space: Workspace, log: Path) -> Outcome:
    """Shell programs without a suffix, which ansible-test does not look at."""
    if not shutil.which("shellcheck"):
        return left_out("shellcheck: package shellcheck is missing")
    scripts = [file for file in space.tree.rglob("*") if not file.suffix and file.is_file() and _is_shell(file)]
    return _run_command(["shellcheck", *map(str, sorted(scripts))], space, log)


def _is_shell(file: Path) -> bool:
    with file.open("rb") as handle:
        return bool(re.match(rb"#!.*\b(sh|bash)\b", handle.readline()))


def _pytest_words(space: Workspace, directory: str, log: Path) -> list[str]:
    words = [str(space.python), "-m", "pytest", directory, "-p", "no:cacheprovider"]
    words += ["--junitxml", str(log.with_suffix(".xml")), "--durations", "10"]
    return words + (["-k", space.expression] if space.expression else [])


def _pytest_outcome(space: Workspace, directory: str, status: int, log: Path) -> Outcome:
    junit = log.with_suffix(".xml")
    outcome = outcome_of_junit(junit) if junit.exists() else Outcome()
    if status == PYTEST_FOUND_NOTHING:
        return outcome if space.expression else left_out(f"{directory}: no test there")
    if status and not outcome.failed:
        outcome += failed(f"{directory}: pytest ended with exit status {status}")
    return outcome


def _unit_tests(space: Workspace, log: Path) -> Outcome:
    status = space.call(_pytest_words(space, "tests/unit", log), log)
    return _pytest_outcome(space, "tests/unit", status, log)


def _integration_tests(space: Workspace, log: Path) -> Outcome:
    """Real guests, in namespaces where they meet none of the machine's own."""
    if os.geteuid() != 0:
        return left_out("tests/integration: must run as root")
    if space.call([*UNSHARE, "true"], log):
        return left_out("tests/integration: no namespaces to be had here: see " + str(log))
    compiled = space.run / "compiled"
    compiled.mkdir()
    more = {"VSERVER_TEST_COMPILED": str(compiled), "PYTHONPATH": str(space.tree / "tests" / "harness" / "compiled")}
    with confined(space) as (wrapper, outside):
        words = _pytest_words(space, "tests/integration", log)
        status = space.call([*wrapper, *words], log, extra={**outside, **more})
    if status == confine.LEFT_RUNNING:
        return _pytest_outcome(space, "tests/integration", 0, log) + failed("tests/integration: left processes running")
    return _pytest_outcome(space, "tests/integration", status, log)


@contextmanager
def _lab(space: Workspace, log: Path) -> Iterator[dict[str, str]]:
    """What the scenarios and the lab's tests need to know: which lab, and the template of its guests.

    A lab that was asked for by name stays as they leave it. Another ends, and its consoles are kept with the logs.
    """
    name = os.environ.get("VSERVER_LAB", f"{log.stem}-{os.getpid()}")
    variables = {**space.environ(), "PYTHONPATH": str(space.collections), "VSERVER_LAB": name}
    words = [str(space.python), "-m", f"{PACKAGE}.tests.lab.template"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        answer = subprocess.run(words, cwd=space.tree, env=variables, stdout=subprocess.PIPE, stderr=errors, check=True)
    try:
        yield {"VSERVER_LAB": name, "VSERVER_TEMPLATE_ARCHIVE": os.fsdecode(answer.stdout).strip()}
    finally:
        if "VSERVER_LAB" not in os.environ:
            subprocess.run([str(space.tree / "tests" / "lab" / "lab"), "down"], env=variables, check=True)
            left = space.cache / "lab" / "labs" / name
            for console in left.glob("*.console"):
                shutil.move(console, space.logs / f"{log.stem}-{console.name}")
            shutil.rmtree(left, ignore_errors=True)


def _molecule(scenario: str, space: Workspace, log: Path) -> Outcome:
    """One scenario, through all of its steps."""
    if os.geteuid() != 0:
        return left_out(f"molecule {scenario}: must run as root")
    words = ["molecule", "test", "--scenario-name", scenario]
    with _lab(space, log) as variables:
        # Or it would take up what it remembers of an earlier run, whose hosts are gone.
        variables["MOLECULE_EPHEMERAL_DIRECTORY"] = str(space.run / "molecule" / scenario)
        if scenario == "default":
            with confined(space) as (wrapper, outside):
                status = space.call([*wrapper, *words], log, extra={**variables, **outside})
        else:
            words += ["--destroy=never"] if "VSERVER_LAB" in os.environ else []
            status = space.call(words, log, extra=variables)
    return passed() if status == 0 else failed(f"molecule {scenario}: exit status {status}")


def _lab_tests(space: Workspace, log: Path) -> Outcome:
    """Real hosts, each of its own kernel."""
    if os.geteuid() != 0:
        return left_out("tests/lab: must run as root")
    with _lab(space, log) as variables:
        status = space.call(_pytest_words(space, "tests/lab", log), log, extra=variables)
    return _pytest_outcome(space, "tests/lab", status, log)


def _ansible_test(space: Workspace, log: Path) -> Outcome:
    ask = [str(space.python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    words = ["ansible-test", "sanity", "--venv", "--python", version, "--junit", "--color", "no"]
    # It leaves things behind in the tree that are none of the other checks' business.
    tree = space.run / "ansible-test" / space.tree.relative_to(space.collections)
    shutil.copytree(space.tree, tree, symlinks=True)
    status = space.call(words, log, cwd=tree)
    results = sorted(tree.glob("tests/output/junit/*.xml"))
    outcome = outcome_of_junit(*results)
    with log.open("a") as handle:
        handle.write(failures_of_junit(*results))
    shutil.rmtree(space.run / "ansible-test")
    if not shutil.which("shellcheck"):
        outcome += left_out("ansible-test shellcheck: package shellcheck is missing")
    if status and not outcome.failed:
        outcome += failed(f"ansible-test sanity: exit status {status}")
    return outcome


def _galaxy_importer(space: Workspace, log: Path) -> Outcome:
    """What Galaxy does with an upload. Its findings are warnings and errors in what it says, not its exit status."""
    place = space.run / "artifact"
    if space.call(["ansible-galaxy", "collection", "build", "--output-path", str(place)], log):
        return failed("ansible-galaxy collection build")
    (artifact,) = place.glob("*.tar.gz")
    status = space.call([str(space.python), "-m", "galaxy_importer.main", str(artifact)], log, cwd=place)
    findings = re.findall(r"^(?:WARNING|ERROR): .*", log.read_text(errors="replace"), re.MULTILINE)
    if status or findings:
        return passed() + failed(f"galaxy-importer: exit status {status}, {len(findings)} findings")
    return passed() + passed()


UNIT = Phase(
    "unit",
    (
        command("ruff check"),
        command("ruff format", "--diff"),
        Check("mypy", _mypy),
        Check("shellcheck", _shellcheck),
        command("antsibull-changelog lint"),
        command("reuse lint"),
        Check("pytest unit", _unit_tests, selective=True),
    ),
)
SANITY = Phase(
    "sanity",
    (
        Check("ansible-test sanity", _ansible_test),
        command("ansible-lint", "--offline", "--strict"),
        command("antsibull-docs lint-collection-docs", "--plugin-docs", "."),
        Check("galaxy-importer", _galaxy_importer),
    ),
)
INTEGRATION = Phase("integration", (Check("pytest integration", _integration_tests, selective=True),))
LAB = Phase("lab", (Check("pytest lab", _lab_tests, selective=True),))
MOLECULE = Phase(
    "molecule",
    (
        Check("molecule fleet", partial(_molecule, "fleet")),
        # Last, because it waits for who does integration tests.
        Check("molecule default", partial(_molecule, "default")),
    ),
)

PHASES = {phase.name: phase for phase in (UNIT, SANITY, INTEGRATION, LAB, MOLECULE)}
# Phases of one lane run one after the other, lanes side by side, the first with the right of way: its tests look at the
# clock. They leave half of the time of two processors to others, which is when the lab's hosts are emulated.
LANES = (("unit", "integration"), ("sanity", "lab"), ("molecule",))
