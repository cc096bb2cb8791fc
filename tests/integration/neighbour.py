# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What neighbours feel: a small program that answers, computes and stores, in a guest and on the host, and its bounds.

A figure of a busy machine says little, so each is compared with the same moments before, in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from .guests import SLEEP, Guests

NAME = "neighbour"
#: How long one look takes, in seconds.
WINDOW = 0.5
#: How often it is looked again when something else may have been in the way.
LOOKS = 6

#: Answers a line of JSON to a number of seconds: milliseconds, by what was done. A child of it is asked on loopback, by
#: a connection each; work is counting, and memory that is taken and given back; a block is written and synced.
PROGRAM = """
import ctypes, json, mmap, os, socket, statistics, sys, time

place = os.path.join(sys.argv[1], "neighbour")
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    while True:
        asked, _who = listener.accept()
        asked.sendall(asked.recv(64))
        asked.close()

def answer():
    with socket.create_connection(listener.getsockname(), timeout=60) as asked:
        asked.sendall(b"?")
        assert asked.recv(64) == b"?"

def work():
    with mmap.mmap(-1, 1 << 19) as memory:
        for page in range(0, 1 << 19, 4096):
            memory[page] = 1
    for _time in range(20_000):
        pass

file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
os.unlink(place)

def store():
    os.pwrite(file, b"x" * 4096, 0)
    os.fdatasync(file)

def timed(what):
    began = time.monotonic()
    what()
    return (time.monotonic() - began) * 1000

for line in sys.stdin:
    took = {"answer": [], "work": [], "store": []}
    end, turn = time.monotonic() + float(line), 0
    while time.monotonic() < end or turn < 9:
        took["answer"].append(timed(answer))
        took["work"].append(timed(work))
        if turn % 8 == 0:
            took["store"].append(timed(store))
        turn += 1
        time.sleep(0.004)
    slow = statistics.quantiles(took["answer"], n=20)[-1]
    figures = {"answer": statistics.median(took["answer"]), "slow": slow}
    figures.update(work=statistics.fmean(took["work"]), store=statistics.median(took["store"]))
    print(json.dumps(figures), flush=True)
"""


@dataclass(frozen=True)
class Bound:
    """What becomes of a figure at most: so many times what it was, and milliseconds more, for what is too short."""

    times: float
    more: float

    def holds(self, quiet: float, loaded: float) -> bool:
        return loaded <= self.times * quiet + self.more


#: Figure → its bound. ``answer`` is the median of answers, ``slow`` what 95 % of them keep to, ``work`` the mean of a
#: piece of work, which is throughput, ``store`` the median of writing 4 KiB to the disk.
BOUNDS: Mapping[str, Bound] = {
    "answer": Bound(3, 4),
    "slow": Bound(4, 30),
    "work": Bound(2, 1),
    "store": Bound(4, 20),
}
Figures = Mapping[str, Mapping[str, float]]


def beyond(quiet: Figures, loaded: Figures) -> list[str]:
    """Which figures are out of bounds, each with whose it is (pure)."""
    return [
        f"{who}'s {what}: {quiet[who][what]:.2f} ms quiet, {loaded[who][what]:.2f} ms under load"
        for who in quiet
        for what, bound in BOUNDS.items()
        if not bound.holds(quiet[who][what], loaded[who][what])
    ]


def ratios(quiet: Figures, loaded: Figures) -> str:
    """How many times as long each took under load, whose it is first (pure)."""
    return "; ".join(
        f"{who}: " + ", ".join(f"{what} {loaded[who][what] / quiet[who][what]:.2f}" for what in BOUNDS) for who in quiet
    )


@dataclass(frozen=True)
class Neighbours:
    """The probes: one in a guest beside the one under load, one on the host."""

    probes: Mapping[str, subprocess.Popen[str]]

    def look(self, seconds: float = WINDOW) -> Figures:
        """What all of them feel, at the same time."""
        for probe in self.probes.values():
            _open(probe.stdin).write(f"{seconds}\n")
            _open(probe.stdin).flush()
        return {who: json.loads(_open(probe.stdout).readline()) for who, probe in self.probes.items()}


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextmanager
def living(guests: Guests) -> Iterator[Neighbours]:
    """The guest next door, and the host, both at work."""
    guests.start(NAME, init=SLEEP)
    words: Mapping[str, Sequence[str]] = {
        "guest": guests.command(NAME, "python3", "-c", PROGRAM, "/root"),
        "host": [sys.executable, "-c", PROGRAM, str(guests.site.state)],
    }
    with ExitStack() as stack:
        probes = {
            who: stack.enter_context(
                subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            )
            for who, argv in words.items()
        }
        for probe in probes.values():
            stack.callback(_end, probe)
        neighbours = Neighbours(probes)
        neighbours.look(0.1)  # what is read, made and learnt the first time only
        yield neighbours


def _end(probe: subprocess.Popen[str]) -> None:
    _open(probe.stdin).close()
    probe.wait(30)
