# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic of the benchmarks, the lines they print and the table made of these."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ansible_collections.linux.vserver.tests.benchmark import catalogue, network, readme
from ansible_collections.linux.vserver.tests.benchmark.catalogue import CATALOGUE, NETWORK
from ansible_collections.linux.vserver.tests.benchmark.figures import MEASURES
from ansible_collections.linux.vserver.tests.benchmark.measure import Comparison, Figure, Stopwatch, alternate

RUN = Path(catalogue.__file__).with_name("run")
CLONE = Figure("clone", 12.3456, "ms", "cp -a", 2500.0)
ATTACH = Figure("attach", 5.0, "ms")
STREAM = Comparison("net-stream", "B/s", 3.93e9, 3.87e9, 2.701234e9, 0.98623)
DATAGRAM = Comparison("net-datagram", "/s", 144215.0, 138545.0, 113163.0, 0.96)
BEGIN, END = readme.marker("performance", "begin"), readme.marker("performance", "end")
NETWORK_BEGIN, NETWORK_END = readme.marker("network", "begin"), readme.marker("network", "end")


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []
    values = {"ours": iter([100.0, 3.0, 1.0, 2.0]), "peer": iter([100.0, 30.0, 70.0, 20.0])}

    def side(name: str) -> float:
        turns.append(name)
        return next(values[name])

    lines: list[str] = []
    assert alternate(lambda: side("ours"), lambda: side("peer"), 3, lines.append) == (2.0, 30.0)
    assert turns == ["ours", "peer"] * 4
    assert lines[:2] == ["warm-up: 100.0, beside 100.0", "1: 3.0, beside 30.0"]


def test_a_side_without_a_peer_is_measured_alone() -> None:
    values = iter([9.0, 4.0, 2.0])
    assert alternate(lambda: next(values), None, 2) == (3.0, None)


def test_a_single_round_counts() -> None:
    values = iter([7.0])
    assert alternate(lambda: next(values), None, 1) == (7.0, None)


def test_a_stopwatch_tells_milliseconds() -> None:
    watch = Stopwatch()
    with watch.running():
        sum(range(1000))
    assert 0 < watch.milliseconds < 1000


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (CLONE, ["clone", 12.35, "ms", "cp -a", 2500.0, 0.00494]),
        (ATTACH, ["attach", 5.0, "ms", None, None, None]),
        (Figure("mounts", 0.0, "mounts", "runc run", 0.0), ["mounts", 0.0, "mounts", "runc run", 0.0, None]),
    ],
)
def test_a_figure_is_one_line_with_six_keys(figure: Figure, expected: list[object]) -> None:
    line = figure.line()
    assert "\n" not in line
    record = json.loads(line)
    assert list(record) == ["name", "value", "unit", "peer", "peer_value", "ratio"]
    assert list(record.values()) == expected
    assert Figure.of_line(line).line() == line


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "mounts", "0"),
        (5.472, "ms", "5.47 ms"),
        (186.4, "ms", "186 ms"),
        (12600.0, "ms", "12.6 s"),
        (16.0, "KiB", "16 KiB"),
        (3.9277e9, "B/s", "3.93 GB/s"),
        (144215.0, "/s", "144,000/s"),
        (27418.0, "/s", "27,400/s"),
        (259688.0, "KiB", "254 MiB"),
    ],
)
def test_quantities_are_short(value: float, unit: str, text: str) -> None:
    assert readme.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(None, "–"), (0.00084, "< 0.001"), (0.0049, "0.0049"), (0.5364, "0.54"), (3.05, "3.0")]
)
def test_ratios_are_short(ratio: float | None, text: str) -> None:
    assert readme.proportion(ratio) == text


def test_the_table_follows_the_catalogue() -> None:
    lines = readme.table([ATTACH, CLONE], "This machine").splitlines()
    assert lines == [
        "| What | Ratio | Ours | Peer |",
        "|---|--:|--:|:--|",
        "| Clone a Debian template | 0.0049 | 12.3 ms | 2.5 s (`cp -a`) |",
        "| Attach one guest's address binding | – | 5 ms | – |",
        "",
        "Medians of alternating runs; the ratio is ours ÷ peer's, so less is better. This machine.",
    ]


def test_a_ratio_is_that_of_rounds() -> None:
    rounds = [[100.0, 98.0, 50.0], [50.0, 49.5, 25.0], [200.0, 195.0, 100.0]]
    assert Comparison.of_rounds("net-stream", "B/s", rounds) == Comparison("net-stream", "B/s", 100.0, 98.0, 50.0, 0.98)


def test_a_comparison_is_one_line() -> None:
    line = STREAM.line()
    assert json.loads(line) == {
        "name": "net-stream",
        "unit": "B/s",
        "host": 3.93e9,
        "guest": 3.87e9,
        "bridge": 2.701e9,
        "ratio": 0.9862,
    }
    assert "\n" not in line and Comparison.of_line(line).line() == line


def test_the_network_has_a_table_of_its_own() -> None:
    assert readme.network_table([DATAGRAM, STREAM], "This machine").splitlines()[2:4] == [
        "| TCP, one stream | 3.93 GB/s | 3.87 GB/s | 2.7 GB/s | 0.986 |",
        "| UDP packets taken and answered | 144,000/s | 139,000/s | 113,000/s | 0.960 |",
    ]


def test_a_table_without_new_results_stays(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"{BEGIN}\nold\n{END}\n{NETWORK_BEGIN}\nold too\n{NETWORK_END}\n")
    readme.rewrite(document, STREAM.line())
    assert document.read_text().startswith(f"{BEGIN}\nold\n{END}\n{NETWORK_BEGIN}\n| What |")
    readme.rewrite(document, ATTACH.line())
    assert "3.93 GB/s" in document.read_text() and "\nold\n" not in document.read_text()


def test_only_what_is_between_the_markers_changes(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nend\n")
    readme.rewrite(document, f"{ATTACH.line()}\n\n{CLONE.line()}\n{Figure('attach', 6.0, 'ms').line()}\n")
    text = document.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| What |") and text.endswith(f"\n{END}\n\nend\n")
    assert "old" not in text and "| 6 ms |" in text and "| 5 ms |" not in text
    assert readme.machine() in text


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_document_without_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    document = tmp_path / "README.md"
    document.write_text(text)
    with pytest.raises(readme.MarkersMissing):
        readme.rewrite(document, CLONE.line())
    assert document.read_text() == text


def test_every_figure_of_the_catalogue_can_be_measured() -> None:
    assert list(MEASURES) == list(CATALOGUE)
    assert list(network.MEASURES) == list(NETWORK)


def test_the_command_lists_its_figures() -> None:
    listed = subprocess.run([RUN, "--list"], capture_output=True, text=True, check=True).stdout
    assert listed.split() == [*CATALOGUE, *NETWORK]


def test_the_command_knows_no_other_figures() -> None:
    refused = subprocess.run([RUN, "speed"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "no such figure: speed" in refused.stderr
