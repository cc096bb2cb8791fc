# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/run: all tests that this machine allows, and the reasons for those it does not."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .environment import (
    LAB_PACKAGES,
    Workspace,
    copy_tree,
    install_packages,
    make_environment,
    missing_packages,
    open_workspace,
)
from .phases import LANES, PHASES, Check
from .report import Outcome, PhaseResult, Terminal, failed, left_out, strictly


@dataclass(frozen=True)
class Run:
    """One call of tests/run: what to check, how strictly, and where to tell it."""

    space: Workspace
    terminal: Terminal
    strict: bool

    def step(self, result: PhaseResult, name: str, work: Callable[[], Outcome]) -> None:
        """Does one piece of a phase and tells how it went. An error of the harness fails the piece, not the run."""
        label = f"{result.name}: {name}"
        log = self.space.log(name)
        self.terminal.say(f"{self.terminal.paint('begin', 7)}  {label}")
        began = time.monotonic()
        try:
            outcome = work()
        except Exception as error:  # whatever it is, the other checks still have something to say
            outcome = failed(f"{name}: {type(error).__name__}: {error}")
        ended = time.monotonic()
        if self.strict:
            outcome = strictly(outcome)
        result.outcome += outcome
        result.seconds += ended - began
        self.terminal.say(f"{self.terminal.paint(outcome.word, 7)}  {label}  {ended - began:.1f} s")
        if outcome.failed:
            self.terminal.tail(log)

    def set_up(self, names: Sequence[str]) -> PhaseResult:
        result = PhaseResult("setup")
        more = LAB_PACKAGES if {"lab", "molecule"} & set(names) else {}
        if missing_packages(more):
            self.step(result, "setup packages", lambda: self._install(more))
        self.step(result, "setup python", self._prepare)
        return result

    def _install(self, more: Mapping[str, str]) -> Outcome:
        return sum(map(left_out, install_packages(self.space, more)), Outcome())

    def _prepare(self) -> Outcome:
        make_environment(self.space)
        copy_tree(self.space)
        return Outcome()

    def lane(self, names: Sequence[str], niceness: int) -> list[PhaseResult]:
        """Some phases, one after the other. On Linux niceness is a thread's, and what it starts inherits it."""
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
        results = []
        for name in names:
            checks = [check for check in PHASES[name].checks if check.wanted(self.space.expression)]
            result = PhaseResult(name)
            for check in checks:
                if not self.space.stopped:
                    self.step(result, check.name, self._work(check))
            results += [result] if checks else []
        return results

    def _work(self, check: Check) -> Callable[[], Outcome]:
        return lambda: check.run(self.space, self.space.log(check.name))

    def phases(self, names: Sequence[str]) -> list[PhaseResult]:
        """All lanes, side by side."""
        with ThreadPoolExecutor(max_workers=len(LANES)) as pool:
            lanes = [
                pool.submit(self.lane, [name for name in lane if name in names], 10 * number)
                for number, lane in enumerate(LANES)
            ]
            try:
                results = {result.name: result for lane in lanes for result in lane.result()}
            except KeyboardInterrupt:
                self.space.stop()
                raise
        return [results[name] for name in PHASES if name in results]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests/run", description="Runs the tests: these phases, or all of them.", allow_abbrev=False
    )
    parser.add_argument("phase", nargs="*", help=f"what to run: {', '.join(PHASES)}")
    parser.add_argument("--strict", action="store_true", help="what is left out counts as failed")
    parser.add_argument("-k", metavar="EXPR", dest="expression", help="only the tests whose names match, as in pytest")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.phase) - set(PHASES))
    if unknown:
        parser.error(f"no such phase: {', '.join(unknown)} (there are {', '.join(PHASES)})")

    # Set even for the first, as a shell starts what it puts into the background with interrupts ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    space = open_workspace(Path(__file__).resolve().parents[2], arguments.expression)
    run = Run(space, Terminal(), arguments.strict)
    run.terminal.say(f"logs: {space.logs}")
    try:
        names = arguments.phase or tuple(PHASES)
        results = [run.set_up(names)]
        if space.ready:
            results += run.phases(names)
    except KeyboardInterrupt:
        run.terminal.say("interrupted")
        return 130
    total = run.terminal.close(results)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
