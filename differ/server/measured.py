"""What is measured, and the measures that are read anew at each scrape: catalog, consumers, disk, modules.

Counters of scans and events are totals of the catalog: they survive restarts and count what other processes did, such
as scans by cron. Counters of calls and sinks begin with their process, as Prometheus expects of counters.

Invariant: nothing is exposed that METRICS does not name, with help and labels; the documentation lists the same.
Source: the naming rules of Prometheus (base units, `_total`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import differ
from differ.catalog.pins import Pins
from differ.project import Project

Kind = Literal["counter", "gauge", "histogram"]
Value = float | tuple[Mapping[float, float], float]
"""A number; of a histogram how many were at most each bound, ascending to infinity, and the sum."""


@dataclass(frozen=True)
class Spec:
    """One metric: labels in order, and what it says."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Spec] = {
    "differ_build_info": Spec("gauge", "Always 1; the version of differ.", ("version",)),
    "differ_scans_total": Spec("counter", "Scans that ended, by status.", ("source", "status")),
    "differ_scan_rows_total": Spec("counter", "Rows that ended scans read.", ("source",)),
    "differ_written_bytes_total": Spec("counter", "Bytes that ended scans wrote.", ("source",)),
    "differ_events_total": Spec("counter", "Committed change events, by op.", ("source", "op")),
    "differ_cycle_duration_seconds": Spec("histogram", "How long ended scans took.", ("source",)),
    "differ_cycle_last_success_timestamp_seconds": Spec(
        "gauge", "When a scan was last committed or found nothing to commit.", ("source",)
    ),
    "differ_source_rows": Spec("gauge", "Rows of the last committed state.", ("source",)),
    "differ_source_held": Spec("gauge", "1 while a guard holds a cycle of the source.", ("source",)),
    "differ_source_paused": Spec("gauge", "1 while the source is left out of the schedule.", ("source",)),
    "differ_source_waiting_deletes": Spec("gauge", "Deletes that wait to be confirmed.", ("source",)),
    "differ_relay_head_scn": Spec("gauge", "The SCN of the newest event."),
    "differ_relay_oldest_scn": Spec("gauge", "The oldest SCN that can be read; above the head where there is none."),
    "differ_disk_bytes": Spec("gauge", "Bytes on disk: segments (of the relay) and snapshots.", ("kind",)),
    "differ_disk_free_bytes": Spec("gauge", "Bytes that are free where the state and the snapshots lie.", ("kind",)),
    "differ_consumer_scn": Spec("gauge", "The lowest SCN that the consumer has a checkpoint at.", ("consumer",)),
    "differ_consumer_lag_events": Spec("gauge", "Events of its sources that it has not yet passed.", ("consumer",)),
    "differ_consumer_lag_seconds": Spec(
        "gauge", "Since when the first event that it has not passed is committed; 0 with none.", ("consumer",)
    ),
    "differ_consumer_checkpoint_age_seconds": Spec("gauge", "Since when its checkpoint is unchanged.", ("consumer",)),
    "differ_consumer_bootstrapping": Spec("gauge", "1 while it is in the middle of a bootstrap.", ("consumer",)),
    "differ_consumer_held_bytes": Spec("gauge", "Bytes of old events that are kept for it alone.", ("consumer",)),
    "differ_bootstrap_pins": Spec("gauge", "Bootstraps that hold snapshots and events now."),
    "differ_dead_letters": Spec("gauge", "Events put aside that wait for a person.", ("consumer",)),
    "differ_http_requests_total": Spec("counter", "HTTP calls that ended.", ("call", "status")),
    "differ_http_request_duration_seconds": Spec(
        "histogram", "How long HTTP calls took, waiting and sending included.", ("call",)
    ),
    "differ_stream_requests_total": Spec("counter", "Calls of the stream that ended.", ("status",)),
    "differ_sent_bytes_total": Spec("counter", "Bytes of bodies of events that were sent.", ("format",)),
    "differ_waiting_clients": Spec("gauge", "Calls that wait for new events now."),
    "differ_module_up": Spec("gauge", "1 while the module runs or is paused, 0 when stopped or failed.", ("module",)),
    "differ_scheduler_jobs": Spec("gauge", "Sources and groups that have a schedule."),
    "differ_scheduler_running": Spec("gauge", "Scans that the schedule started and that run now."),
    "differ_sink_events_total": Spec("counter", "Events that came to the sink.", ("sink",)),
    "differ_sink_written_total": Spec("counter", "Records that the sink wrote: upsert or delete.", ("sink", "op")),
    "differ_sink_batches_total": Spec("counter", "Writes of the sink that succeeded.", ("sink",)),
    "differ_sink_unmapped_total": Spec("counter", "Events that led to nothing in the destination.", ("sink",)),
    "differ_sink_refused_total": Spec("counter", "Records that the destination refused.", ("sink",)),
    "differ_sink_bootstraps_total": Spec("counter", "Bootstraps of the sink that ended.", ("sink",)),
    "differ_sink_down_seconds": Spec("gauge", "Since when the destination cannot be reached; 0: it can.", ("sink",)),
}
Sample = tuple[str, tuple[str, ...], Value]
"""Name, values of the labels, value."""


def families(samples: Iterable[Sample]) -> Iterator[Metric]:
    """Samples as Prometheus' client writes them: grouped by metric, each with its help."""
    made: dict[str, Any] = {}
    for name, labels, value in samples:
        if name not in made:
            made[name] = _family(name, METRICS[name])
        if isinstance(value, tuple):
            within, total = value
            buckets = [("+Inf" if math.isinf(bound) else f"{bound:g}", count) for bound, count in within.items()]
            made[name].add_metric(labels, buckets, total)
        else:
            made[name].add_metric(labels, value)
    return iter(made.values())


def _family(name: str, spec: Spec) -> Metric:
    if spec.kind == "counter":
        return CounterMetricFamily(name.removesuffix("_total"), spec.help, labels=spec.labels)
    if spec.kind == "histogram":
        return HistogramMetricFamily(name, spec.help, labels=spec.labels)
    return GaugeMetricFamily(name, spec.help, labels=spec.labels)


def of_project(project: Project, moment: datetime) -> Iterator[Sample]:
    """What the catalog and the consumers' database say now. Cost: about that of `differ status`."""
    yield "differ_build_info", (differ.__version__,), 1
    for totals in project.catalog.totals():
        source = (totals.source,)
        for status, count in totals.scans.items():
            yield "differ_scans_total", (totals.source, status), count
        for op, count in totals.events.items():
            yield "differ_events_total", (totals.source, op), count
        yield "differ_scan_rows_total", source, totals.rows
        yield "differ_written_bytes_total", source, totals.bytes
        yield "differ_cycle_duration_seconds", source, (totals.within, totals.seconds)
        if totals.succeeded_at is not None:
            yield "differ_cycle_last_success_timestamp_seconds", source, totals.succeeded_at.timestamp()
    for entry in project.catalog.sources():
        source = (entry.name,)
        body = project.source_status(entry.name)
        if body["rows"] is not None:
            yield "differ_source_rows", source, body["rows"]
        yield "differ_source_held", source, float(body["held"] is not None)
        yield "differ_source_paused", source, float(body["paused"])
        yield "differ_source_waiting_deletes", source, body["waiting_deletes"]
    stream = project.catalog.stream()
    yield "differ_relay_head_scn", (), stream.head_scn
    yield "differ_relay_oldest_scn", (), stream.oldest_scn
    yield "differ_disk_bytes", ("segments",), project.catalog.kept_bytes()
    yield from _of_consumers(project, moment)


def _of_consumers(project: Project, moment: datetime) -> Iterator[Sample]:
    for body in project.following():
        consumer = (body["name"],)
        yield "differ_consumer_bootstrapping", consumer, float(body["state"] == "bootstrapping")
        yield "differ_consumer_held_bytes", consumer, (body["holds"] or {"bytes": 0})["bytes"]
        if body["behind"] is not None:
            yield "differ_consumer_scn", consumer, body["scn"]
            yield "differ_consumer_lag_events", consumer, body["behind"]["events"]
            yield "differ_consumer_lag_seconds", consumer, body["behind"]["seconds"]
            yield "differ_consumer_checkpoint_age_seconds", consumer, body["checkpoint_age_seconds"]
    pins = Pins(project.consumers).all()
    yield "differ_bootstrap_pins", (), sum(pin.expires_at > moment for pin in pins)


def of_disk(snapshots: Path, state: Path) -> Iterator[Sample]:
    """Cost: one look at every file of the snapshots; the caller keeps it for a while."""
    yield "differ_disk_bytes", ("snapshots",), _size(snapshots)
    for kind, folder in (("state", state), ("snapshots", snapshots)):
        if folder.is_dir():
            found = os.statvfs(folder)
            yield "differ_disk_free_bytes", (kind,), found.f_bavail * found.f_frsize


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # swept just now
                continue
    return total


def of_modules(entries: Sequence[Mapping[str, Any]]) -> Iterator[Sample]:
    """What the modules of every `differ run` of the project on this machine say; of two with a name both are added."""
    found: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(name: str, labels: tuple[str, ...], value: float) -> None:
        found[name, labels] = found.get((name, labels), 0) + value

    for entry in entries:
        module, status = str(entry["module"]), entry["status"]
        is_up = entry["state"] in ("running", "paused")
        found["differ_module_up", (module,)] = max(found.get(("differ_module_up", (module,)), 0), float(is_up))
        if module == "scheduler" and is_up:
            add("differ_scheduler_jobs", (), status["jobs"])
            add("differ_scheduler_running", (), status["running"])
        if module.startswith("sinks.") and "events" in status:
            for name, labels, value in _of_sink(module.removeprefix("sinks."), status):
                add(name, labels, value)
    for (name, labels), value in sorted(found.items()):
        yield name, labels, value


def _of_sink(sink: str, status: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], float]]:
    yield "differ_sink_events_total", (sink,), status["events"]
    yield "differ_sink_written_total", (sink, "upsert"), status["upserts"]
    yield "differ_sink_written_total", (sink, "delete"), status["deletes"]
    yield "differ_sink_batches_total", (sink,), status["batches"]
    yield "differ_sink_unmapped_total", (sink,), status["unmapped"]
    yield "differ_sink_refused_total", (sink,), status["refused"]
    yield "differ_sink_bootstraps_total", (sink,), status["bootstraps"]
    yield "differ_sink_down_seconds", (sink,), status["down_seconds"] or 0


def of_dead_letters(folder: Path) -> Iterator[Sample]:
    """The letters of each file of the folder that are not settled. Cost: reading the files."""
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        yield "differ_dead_letters", (path.stem,), pending_letters(path)


def pending_letters(path: Path) -> int:
    """How many letters of a file are not settled: its lines are letters, or marks of settled ones."""
    with path.open("rb") as file:
        marks = [line.startswith(b'{"done"') for line in file if line.endswith(b"\n")]
    return len(marks) - 2 * sum(marks)
