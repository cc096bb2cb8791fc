# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard for Grafana asks for what ``vserver metrics`` tells, in words that Prometheus understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from ansible_collections.linux.vserver.plugins.module_utils._engine import metrics

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "grafana-dashboard.json").read_text())
#: What Grafana fills in.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".+", "$guest": "web1|db1"}
#: Beside the label that Prometheus adds to what it has scraped.
LABELS = {
    "network": {"instance", "guest", "family", "via"},
    "pressure": {"instance", "guest", "resource", "kind", "window"},
    "processes_in_state": {"instance", "guest", "state"},
}


def queries() -> Iterator[tuple[str, str]]:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert selector and selector[2] == variable["name"]
            yield variable["name"], selector[1]


QUERIES = dict(queries())


def selectors(expression: object) -> Iterator[promql_parser.VectorSelector]:
    """The selectors in a parsed query."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for part in ("expr", "lhs", "rhs", "vector_selector", "selector"):
        inner = getattr(expression, part, None)
        if inner is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", ()):
        yield from selectors(argument)


def parsed(query: str) -> Any:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, "a variable that nobody defines"
    return promql_parser.parse(query)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_one_and_asks_for_what_is_told(name: str) -> None:
    asked = list(selectors(parsed(QUERIES[name])))
    assert [one.name for one in asked] == re.findall(r"vserver_\w+", QUERIES[name])
    for one in asked:
        metric = one.name.removeprefix(metrics.PREFIX)
        assert metric in metrics.METRICS, one.name
        known = next((labels for start, labels in LABELS.items() if metric.startswith(start)), {"instance", "guest"})
        assert {matcher.name for matcher in one.matchers.matchers} <= known


@pytest.mark.parametrize("name", QUERIES)
def test_a_counter_is_asked_how_it_grows_and_a_gauge_what_it_is(name: str) -> None:
    for metric in re.findall(rf"{metrics.PREFIX}\w+", QUERIES[name]):
        grows = re.search(rf"(rate|increase)\({metric}\{{[^}}]*\}}\[\$__rate_interval\]\)", QUERIES[name])
        assert bool(grows) is metric.endswith("_total")


def test_what_an_operator_looks_for_is_on_it() -> None:
    text = json.dumps(BOARD)
    for metric in ("cpu_seconds", "throttled_seconds", "memory_bytes", "oom_kills", "pressure_seconds", "sockets"):
        assert metrics.PREFIX + metric in text
    for metric in ("network_sent_bytes", "network_received_bytes", "written_bytes", "processes_refused", "disk_bytes"):
        assert metrics.PREFIX + metric in text


def test_panels_have_numbers_of_their_own_and_do_not_lie_upon_each_other() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    cells = [
        (panel["gridPos"]["x"] + right, panel["gridPos"]["y"] + down)
        for panel in BOARD["panels"]
        for right in range(panel["gridPos"]["w"])
        for down in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _y in cells) < 24


def test_everything_asks_the_chosen_source_of_data() -> None:
    text = json.dumps([BOARD["panels"], BOARD["templating"]["list"][1:]])
    assert text.count('"type": "prometheus"') == text.count('"uid": "${datasource}"') > 0
    assert BOARD["templating"]["list"][0]["name"] == "datasource"
