# Copyright (c) 2026 linux.vserver contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests use, for Prometheus: in its text format, which node_exporter's textfile collector reads, or OpenMetrics.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import accounting, info, running, store, usage
from .accounting import Account
from .chbind.traffic_counter import Traffic
from .errors import VserverError
from .limits import processes
from .site import Site
from .usage import Sample

PREFIX = "vserver_guest_"
#: Metric → what it is. One that only grows while a guest runs ends in _total.
METRICS: Mapping[str, str] = {
    "readable": "1 for a guest whose record can be read, 0 for one whose cannot",
    "running": "1 for a guest that runs, 0 for one that does not",
    "start_time_seconds": "When its init started, in seconds since 1970",
    "cpu_seconds_total": "Processor time",
    "cpu_user_seconds_total": "Processor time in programs",
    "cpu_system_seconds_total": "Processor time in the kernel",
    "cpu_periods_total": "Periods of its limit of processor time",
    "throttled_periods_total": "Periods in which it had used up its limit of processor time",
    "throttled_seconds_total": "How long it had used up its limit of processor time",
    "cpus_limit": "Its limit of processor time, in processors",
    "memory_bytes": "Memory, page cache included",
    "memory_peak_bytes": "The most memory so far",
    "memory_swap_bytes": "Swap",
    "memory_anonymous_bytes": "Memory of its processes that is in no file",
    "memory_cache_bytes": "Page cache",
    "memory_limit_bytes": "Its limit of memory",
    "memory_low_events_total": "How often it had to give back memory that it was promised",
    "memory_high_events_total": "How often it was at memory_high",
    "memory_max_events_total": "How often it was at its limit of memory",
    "oom_events_total": "How often an allocation was about to fail for want of memory",
    "oom_kills_total": "Processes killed for want of memory",
    "read_bytes_total": "Read from disks",
    "written_bytes_total": "Written to disks",
    "read_operations_total": "Reads from disks",
    "written_operations_total": "Writes to disks",
    "processes": "Processes",
    "processes_in_state": "Processes by the letter that ps has for their state",
    "tasks": "What counts for its limit of processes: threads too, and those that have ended and are not waited for",
    "processes_limit": "Its limit of processes and threads",
    "processes_refused_total": "Processes and threads that were one too many",
    "sockets": "TCP and UDP sockets",
    "sockets_limit": "Its limit of sockets",
    "sockets_refused_total": "Sockets that were one too many",
    "network_received_bytes_total": "Received, from the IP header on; via lo is from this host",
    "network_received_packets_total": "Packets received; via lo is from this host",
    "network_sent_bytes_total": "Sent, from the IP header on; via lo is to this host",
    "network_sent_packets_total": "Packets sent; via lo is to this host",
    "pressure_seconds_total": "How long some, or all at once, of its processes waited for a resource",
    "pressure_ratio": "How much of the time some, or all at once, of its processes waited for a resource",
    "disk_bytes": "On disk, of its own",
    "disk_shared_bytes": "On disk, of the template below its clone",
    "disk_limit_bytes": "Its limit of bytes on disk of its own",
}
#: Limit in force → its metric.
_LIMITS = {
    "memory": "memory_limit_bytes",
    "cpus": "cpus_limit",
    "processes": "processes_limit",
    "sockets": "sockets_limit",
    "disk": "disk_limit_bytes",
}

Labels = Mapping[str, str]
#: Metric, labels, value.
Reading = tuple[str, Labels, Any]


def text(site: Site, *, disk: bool = False, openmetrics: bool = False) -> str:
    """The metrics of every guest of this host.

    * disk: with what is on disk, for which every file is looked at
    """
    names = store.names(site)
    readings: list[Reading] = []
    for sample in usage.samples(site):
        now = running.found(site, sample.guest)
        kept = None if now is None else processes.kept(now.guest.limits)
        limits = {} if kept is None else {metric: getattr(kept, key) for key, metric in _LIMITS.items()}
        readings += of_guest(sample, accounting.states(running.group(site, sample.guest)), limits)
    for name in names:
        readable = _readable(site, name)
        readings.append(("readable", {"guest": name}, int(readable)))
        readings.append(("running", {"guest": name}, int(running.may_run(site, name)) if readable else None))
    for name, sizes in (info.disk_use(site, names) if disk else {}).items():
        readings += [(metric, {"guest": name}, value) for metric, value in sizes.items()]
    return exposition(readings, openmetrics=openmetrics)


def _readable(site: Site, name: str) -> bool:
    """Whether the guest's record, and what is noted of its run, can be read."""
    try:
        store.load(site, name)
        running.read(site, name)
    except VserverError:
        return False
    return True


def of_guest(sample: Sample, states: Mapping[str, int], limits: Mapping[str, Any]) -> Iterator[Reading]:
    """All that is told of a running guest (pure).

    * states: letter → processes; limits: metric → limit in force
    """
    guest = {"guest": sample.guest}
    yield "start_time_seconds", guest, usage.epoch(sample.started_at)
    for field in dataclasses.fields(Account):
        metric = field.name if field.name in METRICS else f"{field.name}_total"
        if metric in METRICS:
            yield metric, guest, getattr(sample.account, field.name)
    for metric, value in limits.items():
        yield metric, guest, value
    for letter, count in states.items():
        yield "processes_in_state", {**guest, "state": letter}, count
    for slot, traffic in (sample.account.network or {}).items():
        family = slot.removeprefix("local_")
        labels = {**guest, "family": family, "via": "interface" if family == slot else "lo"}
        for counter in dataclasses.fields(Traffic):
            yield f"network_{counter.name}_total", labels, getattr(traffic, counter.name)
    for resource, kinds in (sample.account.pressure or {}).items():
        for kind, figures in kinds.items():
            labels = {**guest, "resource": resource, "kind": kind}
            yield "pressure_seconds_total", labels, figures["total_seconds"]
            for window in (10, 60, 300):
                yield "pressure_ratio", {**labels, "window": f"{window}s"}, round(figures[f"avg{window}"] / 100, 4)


def exposition(readings: Iterable[Reading], *, openmetrics: bool = False) -> str:
    """``readings`` in the text format, or in OpenMetrics; what is None is left out (pure)."""
    values: dict[str, list[tuple[Labels, Any]]] = {}
    for metric, labels, value in readings:
        if value is not None:
            values.setdefault(metric, []).append((labels, value))
    lines = [line for metric in METRICS if metric in values for line in _lines(metric, values[metric], openmetrics)]
    return "".join(f"{line}\n" for line in lines + ["# EOF"] * openmetrics)


def _lines(metric: str, samples: Sequence[tuple[Labels, Any]], openmetrics: bool) -> Iterator[str]:
    """One family. To OpenMetrics its name is without _total; to the text format that is part of the name."""
    counts = metric.endswith("_total")
    family = PREFIX + (metric.removesuffix("_total") if openmetrics else metric)
    yield f"# HELP {family} {METRICS[metric]}."
    yield f"# TYPE {family} {'counter' if counts else 'gauge'}"
    for labels, value in samples:
        words = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{PREFIX}{metric}{{{words}}} {value!r}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
