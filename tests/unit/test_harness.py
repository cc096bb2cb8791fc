# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counting of the test harness, on which the verdict of every run rests."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.linux.vserver.tests.harness.phases import LANES, PHASES
from ansible_collections.linux.vserver.tests.harness.report import (
    Outcome,
    PhaseResult,
    Terminal,
    failed,
    left_out,
    outcome_of_junit,
    passed,
    strictly,
)

CASES = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_good"/>
<testcase classname="tests.unit.test_a" name="test_bad"><failure message="no">text</failure></testcase>
<testcase classname="tests.unit.test_a" name="test_broken"><error message="no">text</error></testcase>
<testcase classname="tests.unit.test_a" name="test_later"><skipped message="needs
a  second kernel">place</skipped></testcase>
<testcase classname="sanity" name="pslint"><skipped>No tests applicable.</skipped></testcase>
</testsuite></testsuites>"""


def test_junit_cases_are_counted_with_their_reasons(tmp_path: Path) -> None:
    file = tmp_path / "cases.xml"
    file.write_text(CASES)
    assert outcome_of_junit(file) == Outcome(
        passed=1,
        failed=2,
        skipped=1,
        failures=("tests.unit.test_a::test_bad", "tests.unit.test_a::test_broken"),
        omissions=("tests.unit.test_a::test_later: needs a second kernel",),
        inapplicable=("sanity::pslint: the collection has no file of its kind",),
    )


def test_strictly_counts_what_is_left_out_as_failed_but_not_what_does_not_apply() -> None:
    outcome = strictly(passed() + left_out("no root") + Outcome(inapplicable=("no PowerShell",)))
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, 1, 0)
    assert outcome.failures == ("left out: no root",)
    assert outcome.inapplicable == ("no PowerShell",)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [(passed() + failed("x"), "failed"), (passed() + left_out("x"), "passed"), (left_out("x"), "skipped")],
)
def test_a_phase_is_called_after_its_worst(outcome: Outcome, word: str) -> None:
    assert outcome.word == word


def test_the_last_line_sums_all_phases(capsys: pytest.CaptureFixture[str]) -> None:
    phases = [PhaseResult("unit", passed() + passed(), 1.5), PhaseResult("integration", left_out("not root"), 0.0)]
    total = Terminal().close(phases)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 0 failed, 1 skipped"
    assert "  not root" in lines
    assert len({len(line) for line in lines if line.startswith(("phase", "unit", "integration"))}) == 1
    assert total.passed == 2


def test_every_phase_has_a_lane() -> None:
    assert sorted(name for lane in LANES for name in lane) == sorted(PHASES)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        (None, ["pytest lab", "molecule fleet", "molecule default"]),
        ("power_cut", ["pytest lab"]),
        ("fleet", ["pytest lab", "molecule fleet"]),
    ],
)
def test_an_expression_chooses_tests_or_names_a_scenario(expression: str | None, names: list[str]) -> None:
    checks = [*PHASES["lab"].checks, *PHASES["molecule"].checks]
    assert [check.name for check in checks if check.wanted(expression)] == names
