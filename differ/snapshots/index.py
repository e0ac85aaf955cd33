"""The fingerprint index: for every live key its key hash, row hash and location, sorted by key hash.

One Arrow IPC file, uncompressed and memory-mapped; each record batch is one range of key hashes cut at the top `bits`
bits, so a range can be found by a shift, rewritten alone, and never splits equal keys. Comparing reads nothing else of
the previous state.

Source: sort-merge join on hashes; the sorted runs of LSM trees (O'Neil et al., 1996).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from differ.records.fingerprints import Fingerprints
from differ.snapshots.entries import EntryRuns, column, sort_order
from differ.storage import StoredFile, verify
from differ.storage.ipc import IpcWriter, open_ipc

Unsigned: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Positions: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

RANGE_ROWS = 1 << 20
ABSENT = -1
"""The position that `probe` gives for a key that is not in the index."""


@dataclass(frozen=True, slots=True)
class IndexRange:
    """The entries of one range; `offset` is the position of its first in the whole index."""

    offset: int
    entries: pa.RecordBatch

    def column(self, name: str) -> Unsigned:
        """A hash or location column, without a copy."""
        return column(self.entries, name)


class Index:
    """An open index. Positions are 0..rows-1 in key-hash order."""

    def __init__(self, schema: pa.Schema, batches: list[pa.RecordBatch], bits: int) -> None:
        self.schema = schema
        self.bits = bits
        self.ranges: dict[int, IndexRange] = {}
        self.rows = 0
        for batch in batches:
            number = _range_number(int(column(batch, "key_hi")[0]), bits)
            self.ranges[number] = IndexRange(self.rows, batch)
            self.rows += batch.num_rows

    def probe(self, fingerprints: Fingerprints) -> Positions:
        """The position of each key, ABSENT where there is none; aligned with the fingerprints.

        Cost: O(n log m) for n keys in an index of m, sorted first so that memory is walked once.
        """
        order = np.argsort(fingerprints.key_hi)
        high, low = fingerprints.key_hi[order], fingerprints.key_lo[order]
        found = np.full(len(order), ABSENT, dtype=np.int64)
        for number, start, stop in self._slices(high):
            part = self.ranges.get(number)
            if part is not None:
                found[start:stop] = _probe_range(part, high[start:stop], low[start:stop])
        positions = np.empty_like(found)
        positions[order] = found
        return positions

    def gather(self, positions: Positions, name: str) -> Unsigned:
        """The values of a hash or location column at these positions (none of them ABSENT)."""
        out = np.empty(len(positions), dtype=np.uint64)
        for part, chosen in self._by_range(positions):
            out[chosen] = part.column(name)[positions[chosen] - part.offset]
        return out

    def gather_arrow(self, positions: Positions, name: str) -> pa.Array:
        """The values of a tolerated column at these positions."""
        pieces, places = [], []
        for part, chosen in self._by_range(positions):
            places.append(np.flatnonzero(chosen))
            pieces.append(part.entries.column(name).take(pa.array(positions[chosen] - part.offset)))
        if not pieces:
            return pa.array([], type=self.schema.field(name).type)
        back = np.argsort(np.concatenate(places))
        return pa.concat_arrays(pieces).take(pa.array(back))

    def between(self, first: int, last: int) -> Iterator[IndexRange]:
        """Slices of the index whose key_hi lies in first..last, ascending."""
        for part in self.ranges.values():
            high = part.column("key_hi")
            start = int(np.searchsorted(high, np.uint64(first), side="left"))
            stop = int(np.searchsorted(high, np.uint64(last), side="right"))
            if stop > start:
                yield IndexRange(part.offset + start, part.entries.slice(start, stop - start))

    def live(self, part_rows: int) -> Mask | None:
        """Which locations are alive, or None when all are."""
        if self.rows == part_rows:
            return None
        alive = np.zeros(part_rows, dtype=bool)
        for part in self.ranges.values():
            alive[part.column("loc")] = True
        return alive

    def _slices(self, high: Unsigned) -> Iterator[tuple[int, int, int]]:
        if not len(high):
            return
        if self.bits == 0:
            yield 0, 0, len(high)
            return
        numbers = high >> np.uint64(64 - self.bits)
        present = np.unique(numbers)
        starts = np.searchsorted(numbers, present, side="left")
        stops = np.searchsorted(numbers, present, side="right")
        for number, start, stop in zip(present, starts, stops, strict=True):
            yield int(number), int(start), int(stop)

    def _by_range(self, positions: Positions) -> Iterator[tuple[IndexRange, Mask]]:
        for part in self.ranges.values():
            chosen = (positions >= part.offset) & (positions < part.offset + part.entries.num_rows)
            if chosen.any():
                yield part, chosen


def _probe_range(part: IndexRange, high: Unsigned, low: Unsigned) -> Positions:
    """Positions of sorted keys inside one range; equal high halves are resolved by the low ones."""
    index_high, index_low = part.column("key_hi"), part.column("key_lo")
    at = np.searchsorted(index_high, high, side="left")
    inside = at < len(index_high)
    clipped = np.where(inside, at, 0)
    same_high = inside & (index_high[clipped] == high)
    same = same_high & (index_low[clipped] == low)
    found = np.where(same, clipped + part.offset, ABSENT).astype(np.int64)
    for i in np.flatnonzero(same_high & ~same):  # two keys share 64 bits: look through the neighbours
        j = int(at[i]) + 1
        while j < len(index_high) and index_high[j] == high[i]:
            if index_low[j] == low[i]:
                found[i] = j + part.offset
                break
            j += 1
    return found


def _range_number(key_hi: int, bits: int) -> int:
    return key_hi >> (64 - bits)


def range_bits(rows: int) -> int:
    """How many top bits cut an index of so many rows into ranges of about RANGE_ROWS."""
    return max(0, (rows // RANGE_ROWS).bit_length())


def open_index(root: Path, file: StoredFile, source: str) -> Index:
    """Memory-map an index after verifying its hash; raises CorruptionError."""
    path = verify(root, file, f"index of {source}")
    reader = open_ipc(path, f"index of {source}")
    bits = int((reader.schema.metadata or {}).get(b"bits", b"0"))
    batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return Index(reader.schema, batches, bits)


def write_index(
    path: Path, root: Path, *, entries: Iterator[pa.RecordBatch], total_rows: int, schema: pa.Schema
) -> StoredFile:
    """Write sorted, ascending batches of entries (as `merge` gives them) as an index file."""
    bits = range_bits(total_rows)
    with IpcWriter(path, schema.with_metadata({b"bits": str(bits).encode()})) as writer:
        waiting: list[pa.RecordBatch] = []
        number = 0
        for batch in entries:
            for part_number, part in _cut(batch, bits):
                if part_number != number:
                    _flush(writer, waiting)
                    number = part_number
                waiting.append(part)
        _flush(writer, waiting)
        return writer.finish(root)


def _cut(entries: pa.RecordBatch, bits: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    if not entries.num_rows:
        return
    if bits == 0:
        yield 0, entries
        return
    numbers = column(entries, "key_hi") >> np.uint64(64 - bits)
    starts = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
    stops = np.append(starts[1:], entries.num_rows)
    for start, stop in zip(starts, stops, strict=True):
        yield int(numbers[start]), entries.slice(int(start), int(stop - start))


def _flush(writer: IpcWriter, waiting: list[pa.RecordBatch]) -> None:
    if waiting:
        table = pa.Table.from_batches(waiting).combine_chunks()
        for batch in table.to_batches():
            writer.write(batch.replace_schema_metadata(writer.schema.metadata))
        waiting.clear()


class DuplicateEntriesError(Exception):
    """Two entries with the same key hash; `locations` are where their rows lie. Turned into a DuplicateKeyError."""

    def __init__(self, locations: tuple[int, int]) -> None:
        super().__init__(f"rows {locations}")
        self.locations = locations


def merge(
    previous: Index | None, dead: Mask, upserts: EntryRuns, relocate: Unsigned | None
) -> Iterator[pa.RecordBatch]:
    """The entries of the next state, by ascending range: what is not dead of the previous index, and the upserts.

    dead: by position. relocate: the new location by old location, or None where locations stay.
    Memory: one range of the previous index with its upserts. Raises DuplicateEntriesError.
    """
    for first, last, fresh in upserts.ranges():
        high = column(fresh, "key_hi")
        step = 2 ** (64 - previous.bits) if previous is not None else last - first + 1
        for low in range(first, last + 1, step):
            top = min(low + step - 1, last)
            start = int(np.searchsorted(high, np.uint64(low), side="left"))
            stop = int(np.searchsorted(high, np.uint64(top), side="right"))
            pieces = [fresh.slice(start, stop - start)] if stop > start else []
            for part in previous.between(low, top) if previous is not None else ():
                pieces.append(_survivors(part, dead, relocate, upserts.schema))
            merged = _merge_pieces([piece for piece in pieces if piece.num_rows])
            if merged is not None:
                _check_unique(merged)
                yield merged


def _survivors(part: IndexRange, dead: Mask, relocate: Unsigned | None, schema: pa.Schema) -> pa.RecordBatch:
    gone = dead[part.offset : part.offset + part.entries.num_rows]
    kept = part.entries if not gone.any() else part.entries.filter(pa.array(~gone))
    columns = kept.columns
    if relocate is not None:
        columns[4] = pa.array(relocate[column(kept, "loc")])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _merge_pieces(pieces: list[pa.RecordBatch]) -> pa.RecordBatch | None:
    if len(pieces) <= 1:
        return pieces[0] if pieces else None
    merged = pa.concat_batches(pieces)
    return merged.take(pa.array(sort_order(column(merged, "key_hi"), column(merged, "key_lo"))))


def _check_unique(entries: pa.RecordBatch) -> None:
    high, low = column(entries, "key_hi"), column(entries, "key_lo")
    same = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1]))
    if len(same):
        loc = column(entries, "loc")
        raise DuplicateEntriesError((int(loc[same[0]]), int(loc[same[0] + 1])))
