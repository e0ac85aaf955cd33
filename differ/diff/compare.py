"""Compare the batches of a scan with the index of the previous state, as they stream by.

A key that the index does not hold is an insert; one whose row hash differs, or whose tolerated value moved too far, is
an update; a key of the index that no batch held is absent. Rows are never re-read to be compared.

Memory: two bits of bookkeeping (kept as bytes) a row of the previous state, and one batch.
Source: a hash-partitioned full outer join by probe; Netflix Hollow's delta between states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from differ.diff.encoding import Encoding
from differ.errors import DuplicateKeyError
from differ.records.compare import beyond
from differ.records.fingerprints import Fingerprints
from differ.records.keytext import key_texts
from differ.records.types import Schema
from differ.snapshots.entries import sort_order
from differ.snapshots.index import ABSENT, Index, Mask, Positions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch holds: row numbers of its inserts, row numbers of its updates with their index positions."""

    inserts: np.ndarray[Any, np.dtype[np.int64]]
    updates: np.ndarray[Any, np.dtype[np.int64]]
    positions: Positions


class Comparison:
    """The running comparison of one scan with one index (None: nothing was there before)."""

    def __init__(self, source: str, index: Index | None, encoding: Encoding, *, matching: bool = True) -> None:
        """matching: False where the key has other columns, so that no old key equals a new one."""
        self._source = source
        self.index = index
        self._index = index if matching else None
        self._encoding = encoding
        size = index.rows if index is not None else 0
        self._seen: Mask = np.zeros(size, dtype=bool)
        self._updated: Mask = np.zeros(size, dtype=bool)
        self.rows = self.inserts = self.updates = 0

    def add(self, batch: pa.RecordBatch, hashes: Fingerprints) -> Outcome:
        """Compare one batch. Raises DuplicateKeyError when the batch, or the scan so far, holds a key twice."""
        self._check_unique(batch, hashes)
        self.rows += batch.num_rows
        everything = np.arange(batch.num_rows, dtype=np.int64)
        if self._index is None:
            self.inserts += batch.num_rows
            return Outcome(everything, everything[:0], everything[:0])
        positions = self._index.probe(hashes)
        found = positions != ABSENT
        at = positions[found]
        again = self._seen[at]
        if again.any():
            raise duplicate_key(self._source, batch, self._encoding.schema, int(everything[found][again][0]))
        self._seen[at] = True
        moved = self._moved(batch, hashes, found, at)
        updates = everything[found][moved]
        self._updated[at[moved]] = True
        inserts = everything[~found]
        self.inserts += len(inserts)
        self.updates += len(updates)
        return Outcome(inserts, updates, at[moved])

    def assume_unchanged(self, locations: Mask) -> None:
        """Count the rows at these locations (a mask by location, of live rows) as seen and unchanged, without them."""
        assert self._index is not None  # noqa: S101
        for part in self._index.ranges.values():
            self._seen[part.offset : part.offset + part.entries.num_rows] |= locations[part.column("loc")]
        self.rows += int(np.count_nonzero(locations))

    def absent(self) -> Positions:
        """Index positions of the keys that no batch held, ascending."""
        return np.flatnonzero(~self._seen).astype(np.int64)

    def dead(self, deleted: Positions) -> Mask:
        """By index position: whether the old row is gone, replaced or deleted."""
        dead = self._updated.copy()
        dead[deleted] = True
        return dead

    def _moved(self, batch: pa.RecordBatch, hashes: Fingerprints, found: Mask, at: Positions) -> Mask:
        assert self._index is not None  # noqa: S101
        moved: Mask = (self._index.gather(at, "row_hi") != hashes.row_hi[found]) | (
            self._index.gather(at, "row_lo") != hashes.row_lo[found]
        )
        for name, tolerance in self._tolerances().items():
            new = batch.column(name).filter(pa.array(found))
            old = self._index.gather_arrow(at, f"tolerated.{name}")
            moved |= beyond(old, new, self._encoding.schema.types[name], tolerance)
        return moved

    def _tolerances(self) -> Mapping[str, Any]:
        return {name: self._encoding.tolerance[name] for name in self._encoding.tolerated.names}

    def _check_unique(self, batch: pa.RecordBatch, hashes: Fingerprints) -> None:
        order = sort_order(hashes.key_hi, hashes.key_lo)
        high, low = hashes.key_hi[order], hashes.key_lo[order]
        same = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1]))
        if len(same):
            raise duplicate_key(self._source, batch, self._encoding.schema, int(order[same[0]]))


def duplicate_key(source: str, rows: pa.RecordBatch, schema: Schema, row: int) -> DuplicateKeyError:
    """The error for a key that a scan gave twice; `rows` holds it at `row`."""
    keys = rows.slice(row, 1).select(list(schema.key))
    text = key_texts(keys, schema.select(schema.key))[0].as_py()
    return DuplicateKeyError(
        f"scan {source}: the key {text} came twice",
        hint="set 'key:' to columns that are unique in what the source yields",
    )
