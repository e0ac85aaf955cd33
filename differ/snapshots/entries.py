"""Index entries on their way into an index: collected in any order, handed out sorted by key hash.

An entry is a row of an Arrow batch: `hashes` (key_hi, key_lo, row_hi and row_lo beside each other, 32 bytes, so that
looking a key up touches half a cache line), `loc` (uint64), then one column for each tolerated column, named
`tolerated.<column>`, with the value last emitted. Past a budget the entries are spilled to files by the
top bits of the key hash, so that sorting needs the memory of one range, not of the table.

Source: the partitioning step of Grace hash join, with sorting inside a partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from differ.records.fingerprints import Fingerprints
from differ.records.views import fixed_values
from differ.storage.spill import Buckets

HASHES = ("key_hi", "key_lo", "row_hi", "row_lo")
NONE = np.uint64(2**64 - 1)
"""No location: the key was deleted. No position: the key is new."""
INDEX_LAYOUT = 2
"""Raised with every change of an entry's form: an index of another one is made anew from the stored rows."""
SPILL_BITS = 6


def entry_schema(tolerated: pa.Schema) -> pa.Schema:
    """The Arrow schema of entries with these tolerated columns."""
    fields = [pa.field("hashes", pa.binary(32), nullable=False), pa.field("loc", pa.uint64(), nullable=False)]
    return pa.schema([*fields, *(field.with_name(f"tolerated.{field.name}") for field in tolerated)])


def delta_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of entries that change an index: with the position of the entry that each replaces, or NONE."""
    return schema.append(pa.field("replaces", pa.uint64(), nullable=False))


def base_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the same entries without what they replace."""
    return pa.schema([field for field in schema if field.name != "replaces"])


def make_entries(
    fingerprints: Fingerprints,
    loc: np.ndarray[Any, np.dtype[np.uint64]],
    tolerated: Mapping[str, pa.Array],
    schema: pa.Schema,
    replaces: np.ndarray[Any, np.dtype[np.uint64]] | None = None,
) -> pa.RecordBatch:
    """Entries of some rows; all are aligned with the fingerprints. A tolerated column that is not given is null.

    replaces: for a `delta_schema`, where None says that all keys are new; not used otherwise.
    """
    columns = [hash_column(fingerprints), pa.array(loc.astype(np.uint64, copy=False))]
    for field in list(schema)[2:]:
        if field.name == "replaces":
            columns.append(pa.array(np.full(len(loc), NONE) if replaces is None else replaces))
        else:
            values = tolerated.get(field.name.removeprefix("tolerated."))
            columns.append(pa.nulls(len(loc), field.type) if values is None else values)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class EntryRuns:
    """Entries collected up to `budget_bytes` in memory, beyond that in files below `folder`."""

    def __init__(self, schema: pa.Schema, folder: Path, *, budget_bytes: int) -> None:
        self.schema = schema
        self.rows = 0
        self._budget_bytes = budget_bytes
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._spilled = Buckets(folder, "entries", schema)

    def add(self, entries: pa.RecordBatch) -> None:
        """Collect a batch of entries."""
        if not entries.num_rows:
            return
        self.rows += entries.num_rows
        self._pending.append(entries)
        self._pending_bytes += entries.nbytes
        if self._pending_bytes > self._budget_bytes:
            self._spill()

    def ranges(self) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        """Sorted entries by ascending key-hash range: (first key_hi, last key_hi, entries), covering all of 64 bits."""
        if not self._spilled:
            yield 0, 2**64 - 1, self._sorted(self._pending)
            self._pending.clear()
            return
        self._spill()
        self._spilled.close()
        width = 2 ** (64 - SPILL_BITS)
        for part in range(2**SPILL_BITS):
            yield part * width, (part + 1) * width - 1, self._sorted(self._spilled.read(part))

    def _sorted(self, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
        if not batches:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        merged = pa.Table.from_batches(batches, schema=self.schema).combine_chunks().to_batches()[0]
        return merged.take(pa.array(sort_order(column(merged, "key_hi"), column(merged, "key_lo"))))

    def _spill(self) -> None:
        if not self._pending:
            return
        merged = pa.Table.from_batches(self._pending, schema=self.schema).combine_chunks().to_batches()[0]
        self._pending.clear()
        self._pending_bytes = 0
        parts = (column(merged, "key_hi") >> np.uint64(64 - SPILL_BITS)).astype(np.uint8)
        order = np.argsort(parts, kind="stable")
        merged = merged.take(pa.array(order))
        bounds = np.searchsorted(parts[order], np.arange(2**SPILL_BITS + 1))
        for part in range(2**SPILL_BITS):
            start, stop = int(bounds[part]), int(bounds[part + 1])
            if stop > start:
                self._spilled.write(part, merged.slice(start, stop - start))


def column(batch: pa.RecordBatch, name: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A hash or location column as NumPy, without a copy; those of hashes are strided."""
    if name in HASHES:
        return hashes_of(batch)[:, HASHES.index(name)]
    values: np.ndarray[Any, np.dtype[np.uint64]] = fixed_values(batch.column(name))
    return values


def hashes_of(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The hashes of N entries as an N x 4 view, in the order of HASHES."""
    array = batch.column("hashes")
    if not len(array):
        return np.empty((0, 4), np.uint64)
    return np.frombuffer(array.buffers()[1], np.uint64, count=4 * len(array), offset=32 * array.offset).reshape(-1, 4)


def hash_column(fingerprints: Fingerprints) -> pa.FixedSizeBinaryArray:
    """Fingerprints as the `hashes` of entries."""
    matrix = np.stack([getattr(fingerprints, name) for name in HASHES], axis=1)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(fingerprints), [None, pa.py_buffer(matrix)])


def sort_order(
    high: np.ndarray[Any, np.dtype[np.uint64]], low: np.ndarray[Any, np.dtype[np.uint64]]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order that sorts by (high, low); a second pass is made only where two high halves are equal."""
    order = np.argsort(high)
    ordered = high[order]
    if ordered.size > 1 and bool((ordered[1:] == ordered[:-1]).any()):
        return np.lexsort((low, high))
    return order
