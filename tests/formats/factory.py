"""Event batches for tests: from rows in Python to the columns of a segment, with every logical type."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from differ.formats.batch import EventBatch, segment_schema
from differ.model import OPS, Window
from differ.records import types as t
from differ.records.types import Column, LogicalType, Schema

STREAM = "6f0c1b1e-55a5-4a0c-8d59-0d4a0f6a2c11"
SEEN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DETECTED = datetime(2026, 11, 23, 10, 5, 0, 250_000, tzinfo=UTC)

Event = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]


def schema(key: str | Sequence[str], /, **columns: LogicalType) -> Schema:
    """A schema of these columns, in this order."""
    return Schema(
        columns=tuple(Column(name=name, type=type_) for name, type_ in columns.items()),
        key=(key,) if isinstance(key, str) else tuple(key),
    )


ORDERS = schema("order_id", order_id=t.INT, status=t.STRING, total=LogicalType(kind="decimal", precision=10, scale=2))

EVERY_TYPE = schema(
    "id",
    id=t.INT,
    nothing=t.NULL,
    flag=t.BOOL,
    small=LogicalType(kind="int", bits=16),
    ratio=t.FLOAT,
    price=LogicalType(kind="decimal", precision=12, scale=3),
    wide=LogicalType(kind="decimal", precision=50, scale=10),
    number=t.DECIMAL_TEXT,
    name=t.STRING,
    raw=t.BYTES,
    day=t.DATE,
    at=t.TIME,
    took=t.DURATION,
    local=t.TIMESTAMP,
    instant=t.TIMESTAMP_UTC,
    nanos=LogicalType(kind="timestamp", unit="ns", zone=True),
    uid=t.UUID,
    tags=LogicalType(kind="list", children=(("item", t.STRING),)),
    labels=LogicalType(kind="map", children=(("key", t.STRING), ("value", t.INT))),
    place=LogicalType(kind="struct", children=(("city", t.STRING), ("zip", t.INT))),
    document=t.JSON,
)

FULL_ROW: dict[str, Any] = {
    "id": 1,
    "nothing": None,
    "flag": True,
    "small": -7,
    "ratio": 0.1,
    "price": Decimal("19.900"),
    "wide": Decimal("12345678901234567890123456789012345678.0123456789"),
    "number": "123456789012345678901234567890.5",
    "name": 'Zoë 🦉 "quoted"\nline',
    "raw": b"\x00\xffab",
    "day": date(2026, 11, 23),
    "at": time(23, 59, 59, 999_999),
    "took": timedelta(days=-1, microseconds=5),
    "local": datetime.fromisoformat("2026-03-29T02:30:00"),
    "instant": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "nanos": 1_763_892_300_123_456_789,
    "uid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "tags": ["a", None, "ü"],
    "labels": [("x", 1), ("y", None)],
    "place": {"city": "Pune", "zip": 411001},
    "document": {
        "_id": {"$oid": "65f000000000000000000001"},
        "count": {"$numberLong": "9007199254740993"},
        "address": {"city": "Pune"},
    },
}
NULL_ROW: dict[str, Any] = dict.fromkeys(FULL_ROW) | {"id": 2}


def structs(rows: Sequence[Mapping[str, Any] | None], schema_: Schema) -> pa.StructArray:
    """Rows as an array of structs in storage types; a json value is given as canonical Extended JSON."""
    type_ = pa.struct(list(schema_.arrow))
    return pa.array([None if row is None else _stored_row(row, schema_) for row in rows], type=type_)


def batch(  # noqa: PLR0913
    events: Sequence[Event],
    schema_: Schema = ORDERS,
    *,
    before_schema: Schema | None = None,
    source: str = "orders",
    cycle: int = 3,
    first_scn: int = 41,
    schema_id: int = 2,
    window: Window | None = None,
    baseline: bool = False,
    seen: datetime | None = SEEN,
    changed: Sequence[Sequence[str]] | None = None,
) -> EventBatch:
    """A batch of (op, before, after) events whose ordinals count from 0."""
    before_schema = before_schema or schema_
    keys = [(after if after is not None else before) or {} for _, before, after in events]
    changed = changed or [_changed(before, after) for _, before, after in events]
    columns = [
        pa.array(range(len(events)), type=pa.uint32()),
        pa.array([OPS.index(op) for op, _, _ in events], type=pa.uint8()),  # type: ignore[arg-type]
        structs([{name: key[name] for name in schema_.key} for key in keys], schema_.key_schema),
        structs([before for _, before, _ in events], before_schema),
        structs([after for _, _, after in events], schema_),
        pa.array([list(names) for names in changed], type=pa.list_(pa.string())),
        pa.array([0] * len(events), type=pa.uint64()),
    ]
    layout = segment_schema(schema_, before_schema)
    arrays = [column.cast(field.type) for column, field in zip(columns, layout, strict=True)]
    return EventBatch(
        stream=STREAM,
        source=source,
        cycle=cycle,
        window=window or Window(first=first_scn, last=first_scn + max(len(events), 1) - 1),
        first_scn=first_scn,
        schema_id=schema_id,
        schema=schema_,
        before_schema=before_schema,
        seen_unchanged_at=seen,
        detected_at=DETECTED,
        baseline=baseline,
        events=pa.record_batch(arrays, schema=layout),
    )


def order(order_id: int, status: str | None = "paid", total: str | None = "19.90") -> dict[str, Any]:
    """A row of ORDERS."""
    return {"order_id": order_id, "status": status, "total": None if total is None else Decimal(total)}


def _changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    if before is None or after is None:
        return []
    names = [*after, *(name for name in before if name not in after)]
    return [name for name in names if before.get(name) != after.get(name)]


def _stored_row(row: Mapping[str, Any], schema_: Schema) -> dict[str, Any]:
    return {name: _stored(value, schema_.types[name]) for name, value in row.items()}


def _stored(value: Any, type_: LogicalType) -> Any:
    if value is None:
        return None
    match type_.kind:
        case "uuid":
            return value.bytes
        case "json":
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        case _:
            return value
