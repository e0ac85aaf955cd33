"""Compare the batches of a scan with the index of the previous state, as they stream by.

A key that the index does not hold is an insert; one whose row hash differs, or whose tolerated value moved too far, is
an update; a key of the index that no batch held is absent. Rows are never re-read to be compared.

Memory: two bits of bookkeeping a row of the previous state, and one batch.
Source: a hash-partitioned full outer join by probe; Netflix Hollow's delta between states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from differ.diff.encoding import Encoding
from differ.errors import DuplicateKeyError
from differ.records.compare import beyond
from differ.records.fingerprints import Fingerprints
from differ.records.keytext import key_texts
from differ.records.storing import spelled_out
from differ.records.types import Schema
from differ.snapshots.bits import Bits, Mask
from differ.snapshots.index import Index
from differ.snapshots.run import ABSENT, Positions


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
        size = index.size if index is not None else 0
        self._seen = Bits(size)
        self._updated = Bits(size)
        self.rows = self.inserts = self.updates = 0

    def add(self, batch: pa.RecordBatch, hashes: Fingerprints) -> Outcome:
        """Compare one batch. Raises DuplicateKeyError when the scan so far holds a key of the previous state twice; a
        new key that came twice is found when the new entries are sorted."""
        self.rows += batch.num_rows
        if self._index is None:
            self.inserts += batch.num_rows
            everything = np.arange(batch.num_rows, dtype=np.int64)
            return Outcome(everything, everything[:0], everything[:0])
        found = self._index.match(hashes, self._seen)
        again = np.flatnonzero(found.again)
        if len(again):
            raise duplicate_key(self._source, batch, self._encoding.schema, int(again[0]))
        moved = found.moved
        for name in self._encoding.tolerated.names:
            moved = moved | self._beyond(batch, name, found.positions)
        updates = np.flatnonzero(moved)
        inserts = np.flatnonzero(found.positions == ABSENT)
        positions = found.positions[updates]
        self._updated.add(positions)
        self.inserts += len(inserts)
        self.updates += len(updates)
        return Outcome(inserts, updates, positions)

    def assume_unchanged(self, locations: Mask) -> None:
        """Count the rows at these locations (a mask by location, of live rows) as seen and unchanged, without them."""
        assert self._index is not None  # noqa: S101
        for part in self._index.blocks():
            at, alive = part.column("loc"), self._index.living(part)
            if alive is None:
                here = locations[at]
            else:
                here = np.zeros(len(at), dtype=bool)
                here[alive] = locations[at[alive]]
            self._seen.add_mask(part.offset, here)
        self.rows += int(np.count_nonzero(locations))

    def absent(self) -> Positions:
        """Index positions of the keys that no batch held, ascending."""
        if self.index is None:
            return np.zeros(0, np.int64)
        alive = self.index.alive or Bits.full(self.index.size)
        return alive.without(self._seen).numbers()

    def dead(self, deleted: Positions) -> Bits:
        """The index positions whose row is gone, replaced or deleted by this scan."""
        dead = self._updated.copy()
        dead.add(deleted)
        return dead

    def _beyond(self, batch: pa.RecordBatch, name: str, positions: Positions) -> Mask:
        """Which rows have moved further in a tolerated column than they may."""
        assert self._index is not None  # noqa: S101
        there = positions != ABSENT
        beyond_it = np.zeros(batch.num_rows, dtype=bool)
        old = self._index.gather_arrow(positions[there], f"tolerated.{name}")
        new = batch.column(name).filter(pa.array(there))
        beyond_it[there] = beyond(old, new, self._encoding.schema.types[name], self._encoding.tolerance[name])
        return beyond_it


def duplicate_key(source: str, rows: pa.RecordBatch, schema: Schema, row: int) -> DuplicateKeyError:
    """The error for a key that a scan gave twice; `rows` holds it at `row`."""
    keys = spelled_out(rows.slice(row, 1).select(list(schema.key)), schema.key_schema.arrow)
    text = key_texts(keys, schema.key_schema)[0].as_py()
    return DuplicateKeyError(
        f"scan {source}: the key {text} came twice",
        hint="set 'key:' to columns that are unique in what the source yields",
    )
