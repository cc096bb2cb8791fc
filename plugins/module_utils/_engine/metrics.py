# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests use, for Prometheus: its text format, as the textfile collector of node_exporter reads it.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from . import running, store, usage
from .accounting import Account
from .errors import VserverError
from .limits import processes
from .site import Site

#: A number that goes up and down; everything else only grows while a guest runs.
_GAUGES = (
    "memory_bytes",
    "memory_peak_bytes",
    "memory_swap_bytes",
    "memory_anonymous_bytes",
    "memory_cache_bytes",
    "processes",
)
#: Limit in force → its metric.
_LIMITS = {"memory": "memory_limit_bytes", "cpus": "cpus_limit", "processes": "processes_limit"}

Samples = Mapping[str, list[tuple[Mapping[str, str], Any]]]


def text(site: Site) -> str:
    """The metrics of every guest of this host."""
    values: dict[str, list[tuple[Mapping[str, str], Any]]] = {}

    def add(metric: str, labels: Mapping[str, str], value: Any) -> None:
        if value is not None:
            values.setdefault(metric, []).append((labels, value))

    for name in store.names(site):
        readable = _readable(site, name)
        add("readable", {"guest": name}, int(readable))
        add("running", {"guest": name}, int(running.may_run(site, name)) if readable else None)
    for sample in usage.samples(site):
        labels = {"guest": sample.guest}
        add("start_time_seconds", labels, usage.epoch(sample.started_at))
        for field in dataclasses.fields(Account):
            metric = field.name if field.name in _GAUGES else f"{field.name}_total"
            add(metric, labels, getattr(sample.account, field.name))
        now = running.found(site, sample.guest)
        limits = None if now is None else processes.kept(now.guest.limits)
        for option, metric in _LIMITS.items():
            add(metric, labels, limits and getattr(limits, option))
    return exposition(values)


def _readable(site: Site, name: str) -> bool:
    """Whether the guest's record, and what is noted of its run, can be read."""
    try:
        store.load(site, name)
        running.read(site, name)
    except VserverError:
        return False
    return True


def exposition(values: Samples) -> str:
    """``values`` in the text format (pure)."""
    return "".join(line for metric in sorted(values) for line in _lines(f"vserver_guest_{metric}", values[metric]))


def _lines(metric: str, samples: Iterable[tuple[Mapping[str, str], Any]]) -> Iterable[str]:
    yield f"# TYPE {metric} {'counter' if metric.endswith('_total') else 'gauge'}\n"
    for labels, value in samples:
        words = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{metric}{{{words}}} {value!r}\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
