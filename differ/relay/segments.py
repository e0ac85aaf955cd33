"""Segments: one source's events of a window, in files of one kind of change each.

Write order: the segment's files (Arrow IPC, LZ4), then the catalog's commit, which gives them their SCNs: deletes
first, then updates, then inserts, so that a destination with unique columns never meets the new owner of a value
before the old one let go. Files hold ordinals; SCN = the entry's first_scn + ordinal.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from differ.executors.writebehind import WriteBehind
from differ.formats.batch import segment_schema
from differ.model import OPS, Op
from differ.records.keytext import key_texts, partition_hashes
from differ.records.types import Schema
from differ.storage import StoredFile
from differ.storage.ipc import IpcWriter

BEHIND_ROWS = 1 << 12
"""So many events at once are encoded in a thread of the writer's own, while the caller makes the next."""


class SegmentWriter:
    """Appends events of one op to a new segment file."""

    def __init__(self, path: Path, op: Op, schema: Schema, before_schema: Schema) -> None:
        self.op = op
        self._code = OPS.index(op)
        self._image = before_schema if op == "delete" else schema
        self._schema = segment_schema(schema, before_schema)
        if op == "delete":
            key = pa.field("key", pa.struct(list(before_schema.key_schema.arrow)), nullable=False)
            self._schema = self._schema.set(self._schema.get_field_index("key"), key)
        self._writer = IpcWriter(path, self._schema, compression="lz4")
        self._behind = WriteBehind(f"differ-write-{op}s")
        self.rows = 0
        """How many events were given to write."""

    def write(
        self,
        *,
        before: pa.RecordBatch | None = None,
        after: pa.RecordBatch | None = None,
        changed: pa.ListArray | None = None,
    ) -> None:
        """Append events: `after` alone for inserts, `before` alone for deletes, both row by row for updates."""
        image = after if after is not None else before
        assert image is not None  # noqa: S101
        rows = image.num_rows
        if not rows:
            return
        keys = image.select(list(self._image.key))
        first = self.rows
        self.rows += rows
        if rows < BEHIND_ROWS:
            self._behind.wait()
            self._write(keys, first, before, after, changed)
        else:
            self._behind.put(lambda: self._write(keys, first, before, after, changed))

    def _write(
        self,
        keys: pa.RecordBatch,
        first: int,
        before: pa.RecordBatch | None,
        after: pa.RecordBatch | None,
        changed: pa.ListArray | None,
    ) -> None:
        rows = keys.num_rows
        arrays = [
            pa.array(np.arange(first, first + rows, dtype=np.uint32)),
            pa.array(np.full(rows, self._code, dtype=np.uint8)),
            pa.StructArray.from_arrays(keys.columns, fields=list(keys.schema)),
            _struct(before, self._schema.field("before"), rows),
            _struct(after, self._schema.field("after"), rows),
            changed if changed is not None else _nothing_changed(rows),
            pa.array(partition_hashes(key_texts(keys, self._image))),
        ]
        self._writer.write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def finish(self, root: Path) -> StoredFile:
        """Close the file durably."""
        self._behind.wait()
        return self._writer.finish(root)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._behind.close()
        self._writer.abandon()


def _struct(batch: pa.RecordBatch | None, field: pa.Field, rows: int) -> pa.Array:
    if batch is None:
        return pa.nulls(rows, type=field.type)
    return pa.StructArray.from_arrays(batch.columns, fields=list(field.type))


def _nothing_changed(rows: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, dtype=np.int32)), pa.array([], type=pa.string()))
