"""Scan a source as differ does, and keep what a conformance suite asks about: hashes of rows, sizes, calls.

Memory is 32 bytes a row and one batch, so that a suite can run on a real table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from differ.errors import DifferError
from differ.iterators.contract import Batch, Context, IteratorSpec, Reader
from differ.iterators.ranges import RangeSums
from differ.iterators.scan import Scan
from differ.model import Position
from differ.records.columns import ColumnRules
from differ.records.fingerprints import fingerprint
from differ.records.types import Schema
from differ.records.values import python_column

LOOKUP_ROWS = 50
Hash = tuple[int, int]


@dataclass(kw_only=True)
class Reading:
    """One scan. rows: row hash by key hash. splits: how many rows each split gave. doubled: keys that came twice.

    error: what ended the scan early. closed: what `close` raised.
    """

    schema: Schema | None = None
    declared: bool = False
    rows: dict[Hash, Hash] = field(default_factory=dict)
    count: int = 0
    doubled: list[str] = field(default_factory=list)
    batch_rows: list[int] = field(default_factory=list)
    splits: int = 0
    first: pa.RecordBatch | None = None
    found: list[tuple[Hash, Hash]] | None = None
    asked: list[tuple[Hash, Hash]] = field(default_factory=list)
    position: Position | None = None
    error: DifferError | None = None
    closed: DifferError | None = None


def read_source(spec: IteratorSpec, ctx: Context, *, backwards: bool = False) -> Reading:
    """Scan once and close. backwards: read the splits in reverse order. Never raises for what the plugin does."""
    reading = Reading()
    watched = _Watched(
        name=spec.name, target=spec.target, key=spec.key, consistent=spec.consistent, types=spec.types,
        reading=reading, backwards=backwards,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="differ-conformance-") as folder:
        scan = Scan(
            watched, ctx, ColumnRules(), spill=Path(folder), settle=lambda schema, _declared: schema, pinned=None
        )
        try:
            scan.open()
            for batch in scan.batches():
                _note(reading, batch, _schema_of(scan))
            reading.schema = scan.schema
            _look_up(reading, scan)
            reading.position = scan.position()
        except DifferError as error:
            reading.error, reading.schema = error, scan.schema
        try:
            scan.close()
        except DifferError as error:
            reading.closed = error
    return reading


def _schema_of(scan: Scan) -> Schema:
    if scan.schema is None:
        raise AssertionError("a scan that gives batches has a schema")
    return scan.schema


def _note(reading: Reading, batch: pa.RecordBatch, schema: Schema) -> None:
    if reading.first is None and batch.num_rows:
        reading.first = batch
    reading.count += batch.num_rows
    for index, (key, row) in enumerate(_hashes(batch, schema)):
        if key in reading.rows:
            reading.doubled.append(_key_text(batch, schema, index))
        reading.rows[key] = row


def _hashes(batch: pa.RecordBatch, schema: Schema) -> list[tuple[Hash, Hash]]:
    prints = fingerprint(batch, schema, schema.names)
    parts = (prints.key_hi, prints.key_lo, prints.row_hi, prints.row_lo)
    columns = [part.tolist() for part in parts]
    return [((a, b), (c, d)) for a, b, c, d in zip(*columns, strict=True)]


def _key_text(batch: pa.RecordBatch, schema: Schema, index: int) -> str:
    key = batch.slice(index, 1)
    return ", ".join(f"{name}={python_column(key.column(name), schema.types[name])[0]!r}" for name in schema.key)


def _look_up(reading: Reading, scan: Scan) -> None:
    if reading.first is None:
        return
    schema, batch = _schema_of(scan), reading.first.slice(0, LOOKUP_ROWS)
    columns = [python_column(batch.column(name), schema.types[name]) for name in schema.key]
    keys = [dict(zip(schema.key, values, strict=True)) for values in zip(*columns, strict=True)]
    pieces = scan.lookup(keys)
    if pieces is not None:
        reading.asked = _hashes(batch, schema)
        reading.found = [pair for piece in pieces for pair in _hashes(piece, schema)]


@dataclass(frozen=True, kw_only=True)
class _Watched(IteratorSpec):
    """A plugin whose calls are noted."""

    reading: Reading
    backwards: bool

    def open(self, ctx: Context) -> Reader:
        """The plugin's reader, watched."""
        return _Spy(super().open(ctx), self.reading, self.backwards)


class _Spy:
    """Passes every call on and notes it."""

    def __init__(self, reader: Reader, reading: Reading, backwards: bool) -> None:
        self._reader, self._reading, self._backwards = reader, reading, backwards
        self.key, self.consistent = reader.key, reader.consistent

    def schema(self) -> Schema | None:
        schema = self._reader.schema()
        self._reading.declared = schema is not None
        return schema

    def splits(self) -> Sequence[Any]:
        splits = list(self._reader.splits())
        self._reading.splits = len(splits)
        return splits[::-1] if self._backwards else splits

    def read(self, split: Any) -> Iterable[Batch]:
        for batch in self._reader.read(split):
            self._reading.batch_rows.append(len(batch) if not isinstance(batch, pa.RecordBatch) else batch.num_rows)
            yield batch

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterable[Batch] | None:
        return self._reader.lookup(keys)

    def position(self) -> Position | None:
        return self._reader.position()

    def sums(self, like: RangeSums | None) -> RangeSums | str:
        return self._reader.sums(like)

    def why_no_sums(self) -> str | None:
        return self._reader.why_no_sums()

    def explain(self) -> str | None:
        return self._reader.explain()

    def close(self) -> None:
        self._reader.close()
