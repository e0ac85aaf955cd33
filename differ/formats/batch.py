"""Events stay columnar until the last moment: a batch of one source's events inside one window.

A segment's record batch has these columns, one row an event, ordinal ascending:

    ordinal    uint32         position in the segment; SCN = first_scn + ordinal, added by the reader
    op         uint8          position in `differ.model.OPS`
    key        struct         the key columns, storage types
    before     struct | null  the row as last emitted; null for an insert
    after      struct | null  the row as read now; null for a delete
    changed    list<string>   columns whose values differ (update only, else empty), in the source's order
    partition  uint64         xxh3_64 of the key's canonical JSON text; frozen for all time

`before` has the columns of `before_schema`, `after` those of `schema`; they differ only in a window in which the
schema changed. Invariant: all rows of a batch share source, cycle, window and schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from differ.model import OPS, Window
from differ.records.types import Schema


def segment_schema(schema: Schema, before_schema: Schema) -> pa.Schema:
    """The Arrow schema of a segment whose after images have `schema` and whose before images have `before_schema`."""
    return pa.schema(
        [
            pa.field("ordinal", pa.uint32(), nullable=False),
            pa.field("op", pa.uint8(), nullable=False),
            pa.field("key", pa.struct(list(schema.key_schema.arrow)), nullable=False),
            pa.field("before", pa.struct(list(before_schema.arrow))),
            pa.field("after", pa.struct(list(schema.arrow))),
            pa.field("changed", pa.list_(pa.field("item", pa.string())), nullable=False),
            pa.field("partition", pa.uint64(), nullable=False),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class EventBatch:
    """Some events of one source in one window; `first_scn` is the SCN of the segment's ordinal 0."""

    stream: str
    source: str
    cycle: int
    window: Window
    first_scn: int
    schema_id: int
    schema: Schema
    before_schema: Schema
    seen_unchanged_at: datetime | None
    detected_at: datetime
    baseline: bool
    events: pa.RecordBatch

    def __len__(self) -> int:
        return int(self.events.num_rows)

    @property
    def scns(self) -> list[int]:
        """The SCN of each row."""
        first = self.first_scn
        return [first + ordinal for ordinal in self.events.column("ordinal").to_pylist()]

    @property
    def key_schema(self) -> Schema:
        """The schema of `key`. A delete has the key that the row had, also in the window in which the key changed."""
        gone = bool(len(self)) and set(self.events.column("op").to_pylist()) == {OPS.index("delete")}
        before = self.before_schema.key_schema
        if gone and self.events.schema.field("key").type == pa.struct(list(before.arrow)):
            return before
        return self.schema.key_schema

    def take(self, mask: pa.BooleanArray) -> EventBatch:
        """The events where `mask` is true."""
        return replace(self, events=self.events.filter(mask))

    def slice(self, offset: int, length: int | None = None) -> EventBatch:
        """A run of the batch's events, without copying."""
        return replace(self, events=self.events.slice(offset, length))

    def images(self, name: str) -> pa.StructArray:
        """The `key`, `before` or `after` structs."""
        return self.events.column(name)

    def chunks(self, rows: int) -> Iterator[EventBatch]:
        """The same events in batches of at most `rows`."""
        for offset in range(0, len(self), rows):
            yield self.slice(offset, rows)
