"""Change events as an Arrow IPC stream: the fastest form, columns as they are stored.

Columns: scn, source, op, key, before, after, changed, cycle, window_first, window_last, schema,
seen_unchanged_at, detected_at, baseline. Images are structs in storage types; the metadata `differ.type` of
each field tells the logical type (a json column is text in canonical Extended JSON, a uuid 16 bytes).

Invariant: one stream holds one source and one schema.
Source: the Arrow columnar format's IPC streaming format.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from differ.formats.batch import EventBatch
from differ.formats.runs import one_run
from differ.model import OPS
from differ.records.types import Schema

_TIME = pa.timestamp("us", tz="UTC")


def event_table(batch: EventBatch) -> pa.Table:
    """The batch's events as a table; images are not copied."""
    return pa.Table.from_batches([_event_record_batch(batch)])


def write_stream(batches: Iterable[EventBatch], out: BinaryIO) -> int:
    """Write one IPC stream and return how many events it holds; without a batch nothing is written.

    Raises UsageError where the source or the schema changes; the stream is then ended and holds what came
    before.
    """
    run = one_run(batches, "arrow")
    first = next(run, None)
    if first is None:
        return 0
    with ArrowStream(out, first) as stream:
        return sum(stream.write(batch) for batch in chain([first], run))


class ArrowStream:
    """One IPC stream that grows batch by batch; `close`, or leaving `with`, ends it.

    first: says source and schemas; it is not written. All batches must be of its run (see `runs`).
    """

    def __init__(self, out: BinaryIO, first: EventBatch) -> None:
        self._writer = pa.ipc.new_stream(out, stream_schema(first))

    def write(self, batch: EventBatch) -> int:
        """Append a batch and return how many events it holds; images are not copied."""
        self._writer.write_batch(_event_record_batch(batch))
        return len(batch)

    def close(self) -> None:
        """Write the end marker; idempotent."""
        self._writer.close()

    def __enter__(self) -> ArrowStream:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def stream_schema(batch: EventBatch) -> pa.Schema:
    """The Arrow schema of the stream that this batch begins."""
    images = {name: batch.events.schema.field(name) for name in ("key", "before", "after")}
    metadata = {
        "differ.stream": batch.stream,
        "differ.source": batch.source,
        "differ.schema": str(batch.schema_id),
    }
    return pa.schema(
        [
            pa.field("scn", pa.int64(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("op", pa.string(), nullable=False),
            images["key"],
            images["before"],
            images["after"],
            pa.field("changed", pa.list_(pa.field("item", pa.string())), nullable=False),
            pa.field("cycle", pa.int64(), nullable=False),
            pa.field("window_first", pa.int64(), nullable=False),
            pa.field("window_last", pa.int64(), nullable=False),
            pa.field("schema", pa.int64(), nullable=False),
            pa.field("seen_unchanged_at", _TIME),
            pa.field("detected_at", _TIME, nullable=False),
            pa.field("baseline", pa.bool_(), nullable=False),
        ],
        metadata=metadata,
    )


def arrow_schema_json(schema: Schema) -> dict[str, Any]:
    """A row's Arrow schema as JSON: name, Arrow type and logical type of each column, and the key."""
    fields = [
        {
            "name": column.name,
            "arrow": str(column.type.storage),
            "type": column.type.to_json(),
            "nullable": True,
        }
        for column in schema.columns
    ]
    return {"fields": fields, "key": list(schema.key)}


def _event_record_batch(batch: EventBatch) -> pa.RecordBatch:
    count = len(batch)
    schema = stream_schema(batch)

    def same(value: Any, type_: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type=type_), count)

    events = batch.events
    columns = {
        "scn": pc.add(events.column("ordinal").cast(pa.int64()), batch.first_scn),
        "source": same(batch.source, pa.string()),
        "op": pa.array(OPS, type=pa.string()).take(events.column("op")),
        "key": events.column("key"),
        "before": events.column("before"),
        "after": events.column("after"),
        "changed": events.column("changed"),
        "cycle": same(batch.cycle, pa.int64()),
        "window_first": same(batch.window.first, pa.int64()),
        "window_last": same(batch.window.last, pa.int64()),
        "schema": same(batch.schema_id, pa.int64()),
        "seen_unchanged_at": same(batch.seen_unchanged_at, _TIME),
        "detected_at": same(batch.detected_at, _TIME),
        "baseline": same(batch.baseline, pa.bool_()),
    }
    return pa.record_batch(list(columns.values()), schema=schema)
