"""Writing runs of the index: a whole new base, a small delta, or all deltas folded into one.

    rewrite   living entries of all runs, and the new ones                     (a new Parquet base; deltas have grown)
    fold      entries of all deltas that are not replaced, and the new ones    (too many small deltas)
    append    the new ones                                                     (else)

Everything goes range by range of key hashes, so memory is one range, however large the index is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from differ.snapshots.bits import Bits
from differ.snapshots.entries import NONE, EntryRuns, base_schema, column, delta_schema, sort_order
from differ.snapshots.index import Index
from differ.snapshots.run import IndexRange, Unsigned
from differ.storage import StoredFile
from differ.storage.ipc import IpcWriter

RANGE_ROWS = 1 << 20
DELTAS_MAX = 8
DELTA_SHARE = 0.25
"""Past so many deltas they are folded into one; past this share of the base's entries a new base is written."""
SMALL_ROWS = 1 << 15
"""An index up to this size is always written whole: about a megabyte."""


class DuplicateEntriesError(Exception):
    """Two entries with the same key hash; `locations` are where their rows lie. Turned into a DuplicateKeyError."""

    def __init__(self, locations: tuple[int, int]) -> None:
        super().__init__(f"rows {locations}")
        self.locations = locations


def wants_rewrite(index: Index, changes: int) -> bool:
    """Whether so many new entries should make a new base run of the index."""
    grown = index.size - index.base.size + changes
    return index.rows <= SMALL_ROWS or grown > DELTA_SHARE * index.base.size


def wants_fold(index: Index) -> bool:
    """Whether the next delta should take in all those before it."""
    return len(index.deltas) >= DELTAS_MAX


def merge(
    previous: Index | None, dead: Bits | None, upserts: EntryRuns, relocate: Unsigned | None
) -> Iterator[pa.RecordBatch]:
    """The entries of the next state, by ascending range: what lives on of the previous index, and the new ones.

    dead: positions that do not. relocate: the new location by old location, or None where locations stay.
    Memory: one range of the previous index with its upserts. Raises DuplicateEntriesError.
    """
    schema = base_schema(upserts.schema)
    for low, top, fresh in _ranges(previous, upserts):
        pieces = [_only_living(fresh, schema)]
        for part in previous.between(low, top) if previous is not None else ():
            pieces.append(_survivors(previous, part, dead, relocate, schema))  # type: ignore[arg-type]
        yield from _sorted(pieces)


def fold(previous: Index, dead: Bits, upserts: EntryRuns) -> Iterator[pa.RecordBatch]:
    """The entries of one delta that stands for all deltas of `previous` and the new entries, by ascending range.

    What replaces an entry of a delta replaces what that one replaced; a deleted key that the base never had is gone.
    Raises DuplicateEntriesError.
    """
    replaced = Bits(previous.size, previous.replaced.packed | dead.packed)
    schema = delta_schema(base_schema(upserts.schema))
    for low, top, fresh in _ranges(previous, upserts):
        pieces = [fresh]
        for run in previous.deltas:
            for part in run.between(low, top):
                kept = ~replaced.mask(part.offset, part.offset + part.entries.num_rows)
                entries = part.entries.filter(pa.array(kept)).select(schema.names)
                pieces.append(pa.RecordBatch.from_arrays(entries.columns, schema=schema))
        entries = pa.concat_batches([piece for piece in pieces if piece.num_rows] or [fresh])
        if entries.num_rows:
            yield _folded(entries, _originals(previous, entries))


def append(upserts: EntryRuns) -> Iterator[pa.RecordBatch]:
    """The new entries, sorted. Raises DuplicateEntriesError."""
    for _, _, fresh in upserts.ranges():
        yield from _sorted([fresh])


def write_run(
    path: Path, root: Path, *, entries: Iterator[pa.RecordBatch], total_rows: int, schema: pa.Schema
) -> StoredFile:
    """Write sorted, ascending batches of entries as a run; total_rows: about how many, which sets the ranges."""
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


def range_bits(rows: int) -> int:
    """How many top bits cut an index of so many rows into ranges of about RANGE_ROWS."""
    return max(0, (rows // RANGE_ROWS).bit_length())


def _ranges(previous: Index | None, upserts: EntryRuns) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Ranges of key hashes, as narrow as those of the upserts and of the previous base, with the upserts in them."""
    for first, last, fresh in upserts.ranges():
        high = column(fresh, "key_hi")
        step = 2 ** (64 - previous.base.bits) if previous is not None else last - first + 1
        for low in range(first, last + 1, step):
            top = min(low + step - 1, last)
            start = int(np.searchsorted(high, np.uint64(low), side="left"))
            stop = int(np.searchsorted(high, np.uint64(top), side="right"))
            yield low, top, fresh.slice(start, stop - start)


def _only_living(fresh: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """New entries as a base has them: without the deleted keys and what they replace."""
    if "replaces" not in fresh.schema.names:
        return fresh
    gone = column(fresh, "loc") == NONE
    kept = fresh.filter(pa.array(~gone)) if gone.any() else fresh
    return pa.RecordBatch.from_arrays(kept.columns[: len(schema)], schema=schema)


def _survivors(
    previous: Index, part: IndexRange, dead: Bits | None, relocate: Unsigned | None, schema: pa.Schema
) -> pa.RecordBatch:
    kept = previous.living(part)
    if dead is not None:
        stays = ~dead.mask(part.offset, part.offset + part.entries.num_rows)
        kept = stays if kept is None else kept & stays
    entries = part.entries if kept is None or kept.all() else part.entries.filter(pa.array(kept))
    columns = entries.columns[: len(schema)]
    if relocate is not None:
        columns[1] = pa.array(relocate[column(entries, "loc")])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _originals(previous: Index, entries: pa.RecordBatch) -> Unsigned:
    """The entry of the base that each replaces in the end: one of a delta is followed to what that one replaced."""
    replaces = column(entries, "replaces").copy()
    while len(hops := np.flatnonzero((replaces != NONE) & (replaces >= np.uint64(previous.base.size)))):
        replaces[hops] = previous.gather(replaces[hops].astype(np.int64), "replaces")
    return replaces


def _folded(entries: pa.RecordBatch, replaces: Unsigned) -> pa.RecordBatch:
    """Entries sorted, one a key: a key that was deleted and came back replaces what its deletion replaced."""
    high, low, loc = (column(entries, name) for name in ("key_hi", "key_lo", "loc"))
    order = np.lexsort((loc == NONE, low, high))
    high, low, replaces, loc = high[order], low[order], replaces[order], loc[order]
    first = np.concatenate(([True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])))
    twice = np.flatnonzero(~first & (loc != NONE))
    if len(twice):
        raise DuplicateEntriesError((int(loc[twice[0] - 1]), int(loc[twice[0]])))
    starts = np.flatnonzero(first)
    replaces = np.minimum.reduceat(replaces, starts)
    kept = (loc[starts] != NONE) | (replaces != NONE)
    chosen = entries.take(pa.array(order[starts[kept]]))
    return pa.RecordBatch.from_arrays([*chosen.columns[:-1], pa.array(replaces[kept])], schema=entries.schema)


def _sorted(pieces: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    filled = [piece for piece in pieces if piece.num_rows]
    if not filled:
        return
    merged = filled[0]
    if len(filled) > 1:
        merged = pa.concat_batches(filled)
        merged = merged.take(pa.array(sort_order(column(merged, "key_hi"), column(merged, "key_lo"))))
    _check_unique(merged)
    yield merged


def _check_unique(entries: pa.RecordBatch) -> None:
    high, low = column(entries, "key_hi"), column(entries, "key_lo")
    same = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1]))
    if len(same):
        loc = column(entries, "loc")
        raise DuplicateEntriesError((int(loc[same[0]]), int(loc[same[0] + 1])))


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
