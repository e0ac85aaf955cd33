"""Before and after images of updated rows, paired by location and compared column by column.

Before images are fetched in the order of their location, so each row group of the previous state is decoded once. The
after images wait in the meantime: in memory up to a budget, beyond that in files by ranges of locations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from differ.errors import RecordError
from differ.records.compare import differs
from differ.records.convert import convert
from differ.records.fingerprints import Fingerprints
from differ.records.keytext import key_texts
from differ.records.types import Schema
from differ.records.views import fixed_values, flags
from differ.snapshots.bits import Places
from differ.snapshots.partwriter import ROW_GROUP_ROWS
from differ.snapshots.run import Unsigned
from differ.storage.spill import Buckets

_EXTRA = ("key_hi", "key_lo", "row_hi", "row_lo", "position", "loc")
_BUCKETS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The updated rows whose old locations lie in start..stop-1, by ascending location; everything is aligned."""

    start: int
    stop: int
    rows: pa.RecordBatch
    order: Places
    hashes: Fingerprints
    locations: Places
    positions: Places

    def take(self, first: int, last: int) -> tuple[pa.RecordBatch, Fingerprints, Places]:
        """Rows, hashes and index positions of the updates number first..last-1."""
        hashes = self.hashes.take(np.arange(first, last))
        return self.rows.take(pa.array(self.order[first:last])), hashes, self.positions[first:last]


class WaitingUpdates:
    """Updated rows with their hashes and index positions, handed out by ascending old location.

    locations: how many there are; locate: the old locations of some index positions, asked for many at once.
    """

    def __init__(
        self,
        schema: pa.Schema,
        folder: Path,
        *,
        locations: int,
        locate: Callable[[Places], Unsigned],
        budget_bytes: int,
    ) -> None:
        extra = [pa.field(f"\0{name}", pa.uint64()) for name in _EXTRA]
        self._schema = pa.schema([*schema, *extra])
        self._unlocated = pa.schema([*schema, *extra[:-1]])
        self._rows_schema = schema
        self._locate = locate
        self._locations = locations
        # Whole row groups, which would be decoded by two buckets otherwise.
        self._width = ROW_GROUP_ROWS * max(1, -(-locations // (_BUCKETS * ROW_GROUP_ROWS)))
        self._budget_bytes = budget_bytes
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._spilled = Buckets(folder, "updates", self._schema)

    def add(self, rows: pa.RecordBatch, hashes: Fingerprints, positions: Places) -> None:
        """Keep some rows; everything is aligned."""
        if not rows.num_rows:
            return
        extra = [hashes.key_hi, hashes.key_lo, hashes.row_hi, hashes.row_lo, positions.astype(np.uint64)]
        columns = [*rows.columns, *(pa.array(values) for values in extra)]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._unlocated)
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes > self._budget_bytes:
            self._spill()

    def stretches(self) -> Iterator[Stretch]:
        """All of them, in stretches that cover every location once; can be walked once."""
        if not self._spilled:
            pending, self._pending = self._pending, []
            yield self._ordered(0, self._locations, [self._located(pending)] if pending else [])
            return
        self._spill()
        self._spilled.close()
        for bucket in range(_BUCKETS):
            start = bucket * self._width
            stop = min(start + self._width, self._locations)
            if start < stop:
                yield self._ordered(start, stop, self._spilled.read(bucket))

    def _ordered(self, start: int, stop: int, batches: list[pa.RecordBatch]) -> Stretch:
        merged = pa.concat_batches(batches or [pa.RecordBatch.from_pylist([], schema=self._schema)])
        found = {name: fixed_values(merged.column(f"\0{name}")) for name in _EXTRA}
        order = np.argsort(found["loc"])
        hashes = Fingerprints(*(found[name][order] for name in _EXTRA[:4]))
        rows = pa.RecordBatch.from_arrays(merged.columns[: len(self._rows_schema)], schema=self._rows_schema)
        positions, locations = (found[name][order].astype(np.int64) for name in _EXTRA[4:])
        return Stretch(start, stop, rows, order, hashes, locations, positions)

    def _located(self, pending: list[pa.RecordBatch]) -> pa.RecordBatch:
        merged = pa.concat_batches(pending)
        positions = fixed_values(merged.column("\0position")).astype(np.int64)
        columns = [*merged.columns, pa.array(self._locate(positions))]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _spill(self) -> None:
        for pending in (self._located([batch]) for batch in self._pending):
            buckets = fixed_values(pending.column("\0loc")) // np.uint64(self._width)
            order = np.argsort(buckets, kind="stable")
            batch = pending.take(pa.array(order))
            numbers, starts = np.unique(buckets[order], return_index=True)
            for number, start, stop in zip(numbers, starts, [*starts[1:], len(order)], strict=True):
                self._spilled.write(int(number), batch.slice(int(start), int(stop - start)))
        self._pending.clear()
        self._pending_bytes = 0


def changed_columns(
    before: pa.RecordBatch,
    old: Schema,
    after: pa.RecordBatch,
    new: Schema,
    *,
    source: str,
    returned: Collection[str] = (),
) -> pa.ListArray:
    """For each pair of rows, the columns of `new` whose values differ, in its order; and all that `returned`.

    Raises RecordError when the keys of a pair are not the same: then two keys share one 128-bit hash.
    """
    converted, _ = convert(before, old, new)
    matrix = np.zeros((after.num_rows, len(new.names)), dtype=bool)
    for number, name in enumerate(new.names):
        moved = differs(converted.column(name), after.column(name), new.types[name])
        if name in old.types and old.types[name] != new.types[name]:
            was_null = flags(before.column(name).is_null())
            lost = flags(converted.column(name).is_null()) & ~was_null
            moved = moved | lost
        matrix[:, number] = moved if name not in returned else True
    key_columns = [new.names.index(name) for name in new.key]
    collided = np.flatnonzero(matrix[:, key_columns].any(axis=1))
    if len(collided):
        text = key_texts(after.slice(int(collided[0]), 1).select(list(new.key)), new.key_schema)[0].as_py()
        raise RecordError(
            f"scan {source}: the key {text} has the 128-bit hash of another key",
            hint="the two cannot be told apart by their fingerprints; leave one of them out of the source",
        )
    _, columns = np.nonzero(matrix)
    offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1)))).astype(np.int32)
    values = pa.array(new.names, type=pa.string()).take(pa.array(columns))
    return pa.ListArray.from_arrays(pa.array(offsets), values)
