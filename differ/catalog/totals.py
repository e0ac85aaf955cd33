"""Totals of every source since the catalog began: what counters of a monitoring system show.

They move in the transaction that ends a cycle, whoever ran it, so they survive restarts, count scans of other
processes, and never count what was not committed. A scan is counted once, when it is no longer running; the events of
a held cycle when it is approved.

Invariant: events of all ops together are the SCNs that the source ever took.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from differ.catalog import tables

SECONDS_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, math.inf)
"""The upper bounds of the histogram of durations."""
_EVENTS = {"insert": "inserts", "update": "updates", "delete": "deletes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTotals:
    """The totals of one source.

    scans: by status (committed, unchanged, held, failed). rows: that finished scans read. events: committed, by op.
    bytes: that finished scans wrote. seconds: that finished scans took together. within: for each upper bound in
    seconds, ascending, how many of them took no longer; the last bound is infinite. succeeded_at: when a cycle was last
    committed or found nothing.
    """

    source: str
    scans: Mapping[str, int]
    rows: int
    events: Mapping[str, int]
    bytes: int
    seconds: float
    within: Mapping[float, int]
    succeeded_at: datetime | None


def count_scan(connection: Connection, source: str, status: str, result: Mapping[str, Any]) -> None:
    """Count a scan that just ended. result: as in `CycleResult.to_json`."""
    _add(connection, source, "scans", status, 1)
    _add(connection, source, "rows", "", result.get("rows", 0))
    _add(connection, source, "bytes", "", result.get("bytes_written", 0))
    seconds = result.get("seconds", {}).get("total")
    if seconds is not None:
        _add(connection, source, "seconds", "", seconds)
        bound = SECONDS_BOUNDS[bisect.bisect_left(SECONDS_BOUNDS, seconds)]
        _add(connection, source, "bucket", str(bound), 1)


def count_commit(connection: Connection, source: str, result: Mapping[str, Any], moment: datetime) -> None:
    """Count what a commit made visible, and when."""
    for op, name in _EVENTS.items():
        _add(connection, source, "events", op, result.get(name, 0))
    _put(connection, source, "success", "", moment.timestamp(), moment.timestamp())


def read_totals(connection: Connection) -> list[SourceTotals]:
    """See `CatalogReader.totals`."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in connection.execute(select(tables.totals).order_by(tables.totals.c.source)):
        found.setdefault(row.source, {}).setdefault(row.name, {})[row.label] = row.value
    return [_totals(source, names) for source, names in found.items()]


def _totals(source: str, names: Mapping[str, Mapping[str, float]]) -> SourceTotals:
    def one(name: str) -> float:
        return names.get(name, {}).get("", 0)

    counts = {float(bound): int(count) for bound, count in names.get("bucket", {}).items()}
    success = one("success")
    return SourceTotals(
        source=source,
        scans={status: int(count) for status, count in names.get("scans", {}).items()},
        rows=int(one("rows")),
        events={op: int(names.get("events", {}).get(op, 0)) for op in _EVENTS},
        bytes=int(one("bytes")),
        seconds=one("seconds"),
        within={bound: sum(n for at, n in counts.items() if at <= bound) for bound in SECONDS_BOUNDS},
        succeeded_at=datetime.fromtimestamp(success, UTC) if success else None,
    )


def _add(connection: Connection, source: str, name: str, label: str, value: float) -> None:
    if value:
        _put(connection, source, name, label, tables.totals.c.value + value, value)


def _put(
    connection: Connection, source: str, name: str, label: str, value: ColumnElement[float] | float, first: float
) -> None:
    """Give a total its value, `first` where it had none. The caller holds the catalog's write lock."""
    table = tables.totals
    if connection.execute(update(table).where(*_where(source, name, label)).values(value=value)).rowcount == 0:
        connection.execute(insert(table).values(source=source, name=name, label=label, value=first))


def _where(source: str, name: str, label: str) -> tuple[Any, ...]:
    table = tables.totals
    return (table.c.source == source, table.c.name == name, table.c.label == label)
