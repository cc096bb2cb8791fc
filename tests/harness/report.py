# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came out of the checks, and how it is told."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

# ansible-test gives this reason where a test finds no file of its kind in the whole collection.
NOTHING_TO_CHECK = "No tests applicable."
# A summary longer than a screen is none; the logs have it all.
SHOWN_REASONS = 40


@dataclass(frozen=True)
class Outcome:
    """What one check found, counted in tests, with the reasons of what did not pass."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()
    omissions: tuple[str, ...] = ()
    inapplicable: tuple[str, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            failures=self.failures + other.failures,
            omissions=self.omissions + other.omissions,
            inapplicable=self.inapplicable + other.inapplicable,
        )

    @property
    def word(self) -> str:
        if self.failed:
            return "failed"
        if self.passed:
            return "passed"
        return "skipped" if self.skipped else "done"


def passed() -> Outcome:
    return Outcome(passed=1)


def failed(reason: str) -> Outcome:
    return Outcome(failed=1, failures=(reason,))


def left_out(reason: str) -> Outcome:
    return Outcome(skipped=1, omissions=(reason,))


def strictly(outcome: Outcome) -> Outcome:
    """The same outcome where leaving something out is a failure."""
    return replace(
        outcome,
        failed=outcome.failed + outcome.skipped,
        skipped=0,
        failures=outcome.failures + tuple(f"left out: {reason}" for reason in outcome.omissions),
        omissions=(),
    )


def outcome_of_junit(*files: Path) -> Outcome:
    """Counts the test cases of JUnit files, as pytest and ansible-test write them."""
    total = Outcome()
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            total += _outcome_of_case(case)
    return total


def _outcome_of_case(case: ElementTree.Element) -> Outcome:
    name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
    if case.find("failure") is not None or case.find("error") is not None:
        return failed(name)
    skip = case.find("skipped")
    if skip is None:
        return passed()
    reason = " ".join((skip.get("message") or skip.text or "no reason given").split())
    if reason == NOTHING_TO_CHECK:
        return Outcome(inapplicable=(f"{name}: the collection has no file of its kind",))
    return left_out(f"{name}: {reason}")


def failures_of_junit(*files: Path) -> str:
    """What the failed cases of JUnit files have to say."""
    texts = [failure.text or "" for file in files for failure in ElementTree.parse(file).iter("failure")]
    return "".join(f"{text.strip()}\n" for text in texts)


@dataclass
class PhaseResult:
    """The sum over one phase's checks."""

    name: str
    outcome: Outcome = field(default_factory=Outcome)
    seconds: float = 0.0


class Terminal:
    """Lines for a person: coloured where a person looks, whole where several threads write."""

    COLOURS = {"passed": "32", "failed": "31", "skipped": "33"}

    def __init__(self) -> None:
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def paint(self, word: str, width: int = 0) -> str:
        text = word.ljust(width)
        code = self.COLOURS.get(word)
        return f"\033[{code}m{text}\033[0m" if self._coloured and code else text

    def say(self, *lines: str) -> None:
        with self._lock:
            print("\n".join(lines), flush=True)

    def tail(self, log: Path, lines: int = 60) -> None:
        """The end of a log, set apart from what surrounds it."""
        text = log.read_text(errors="replace").splitlines() if log.exists() else []
        shown = text[-lines:]
        cut = [f"    … {len(text) - len(shown)} earlier lines are in {log}"] if len(text) > len(shown) else []
        self.say(*cut, *(f"    {line}" for line in shown))

    def close(self, phases: Sequence[PhaseResult]) -> Outcome:
        """Prints what was left out and why, the table of phases, and the one line that sums them up."""
        total = sum((phase.outcome for phase in phases), Outcome())
        for title, reasons in (
            ("Failed", total.failures),
            ("Left out", total.omissions),
            ("Does not apply", total.inapplicable),
        ):
            if reasons:
                more = [f"  … and {len(reasons) - SHOWN_REASONS} more"] if len(reasons) > SHOWN_REASONS else []
                self.say("", f"{title}:", *(f"  {reason}" for reason in reasons[:SHOWN_REASONS]), *more)
        width = max(len("phase"), *(len(phase.name) for phase in phases))
        self.say("", f"{'phase'.ljust(width)}  result   passed  failed  skipped  seconds")
        for phase in phases:
            counts = phase.outcome
            self.say(
                f"{phase.name.ljust(width)}  {self.paint(counts.word, 7)}  {counts.passed:6}  {counts.failed:6}  "
                f"{counts.skipped:7}  {phase.seconds:7.1f}"
            )
        self.say("", f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
        return total
