"""A run of index entries: an Arrow IPC file, sorted by key hash, memory-mapped. First the base, then what changes it.

    base     hashes (key_hi key_lo row_hi row_lo) loc [tolerated...]
    delta    the same, and `replaces`: the position of the entry that this one takes the place of, NONE for a new key;
             loc is NONE where the key was deleted

Each record batch is one range of key hashes cut at the top `bits` bits, so a range is found by a shift and equal keys
are never in two of them. Source: the sorted runs of LSM trees (O'Neil et al., 1996).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from differ import kernels
from differ.records.fingerprints import Fingerprints
from differ.snapshots.bits import Bits, Mask
from differ.snapshots.entries import column, hashes_of
from differ.storage import StoredFile, verify
from differ.storage.ipc import open_ipc

Unsigned: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Positions: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

ABSENT = -1
"""The position of a key that is not there."""


@dataclass(frozen=True, slots=True)
class IndexRange:
    """The entries of one range; `offset` is the position of its first in the whole index."""

    offset: int
    entries: pa.RecordBatch

    def column(self, name: str) -> Unsigned:
        """A hash or location column, without a copy."""
        return column(self.entries, name)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Aligned with some fingerprints: position or ABSENT, whether the row hash is another, whether the key was seen."""

    positions: Positions
    moved: Mask
    again: Mask


class Run:
    """An open run whose first entry has position `first`."""

    def __init__(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch], bits: int, first: int = 0) -> None:
        self.schema, self.bits, self.first = schema, bits, first
        self.ranges: dict[int, IndexRange] = {}
        self.size = 0
        self._lookup: kernels.Lookup | None = None
        for count, batch in enumerate(batches):
            # An index of an older form is read for its locations only: its hashes are made anew before any is compared.
            number = int(column(batch, "key_hi")[0]) >> (64 - bits) if "hashes" in schema.names else count
            self.ranges[number] = IndexRange(first + self.size, batch)
            self.size += batch.num_rows

    def match(self, fingerprints: Fingerprints, alive: Bits | None, seen: Bits) -> Matches:
        """Find living entries; what is found is put into `seen`.

        Cost: a few cache lines a key with the compiled kernels; O(n log m) after a sort of the keys without.
        """
        if kernels.LOADED:
            return self._match_compiled(fingerprints, alive, seen)
        order = np.argsort(fingerprints.key_hi)
        high, low = fingerprints.key_hi[order], fingerprints.key_lo[order]
        positions = np.empty(len(order), np.int64)
        found = np.full(len(order), ABSENT, dtype=np.int64)
        for number, start, stop in self._slices(high):
            part = self.ranges.get(number)
            if part is not None:
                found[start:stop] = _probe_range(part, high[start:stop], low[start:stop])
        positions[order] = found
        if alive is not None:
            there = np.flatnonzero(positions != ABSENT)
            positions[there[~alive.has(positions[there])]] = ABSENT
        return self._compared(fingerprints, positions, seen)

    def gather(self, positions: Positions, name: str) -> Unsigned:
        """The values of a hash or location column at these positions, all of this run."""
        out = np.empty(len(positions), dtype=np.uint64)
        for part, chosen in self._by_range(positions):
            out[chosen] = part.column(name)[positions[chosen] - part.offset]
        return out

    def gather_arrow(self, positions: Positions, name: str) -> pa.Array:
        """The values of a tolerated column at these positions, all of this run."""
        pieces, places = [], []
        for part, chosen in self._by_range(positions):
            places.append(np.flatnonzero(chosen))
            pieces.append(part.entries.column(name).take(pa.array(positions[chosen] - part.offset)))
        if not pieces:
            return pa.array([], type=self.schema.field(name).type)
        back = np.argsort(np.concatenate(places))
        return pa.concat_arrays(pieces).take(pa.array(back))

    def between(self, first: int, last: int) -> Iterator[IndexRange]:
        """Slices whose key_hi lies in first..last, ascending; dead entries too."""
        for part in self.ranges.values():
            high = part.column("key_hi")
            if high[0] > last or high[-1] < first:
                continue
            start, stop = bisect_left(high, np.uint64(first)), bisect_right(high, np.uint64(last))
            if stop > start:
                yield IndexRange(part.offset + start, part.entries.slice(start, stop - start))

    def _match_compiled(self, fingerprints: Fingerprints, alive: Bits | None, seen: Bits) -> Matches:
        if self._lookup is None:
            parts = [
                kernels.SortedRange(number=number, first=part.offset, hashes=hashes_of(part.entries))
                for number, part in self.ranges.items()
            ]
            self._lookup = kernels.Lookup(parts, self.bits)
        positions, state, any_again = self._lookup.probe(
            fingerprints.key_hi,
            fingerprints.key_lo,
            fingerprints.row_hi,
            fingerprints.row_lo,
            None if alive is None else alive.packed,
            seen.packed,
        )
        again = state == kernels.AGAIN if any_again else np.zeros(len(state), dtype=bool)
        return Matches(positions, state == kernels.MOVED, again)

    def _compared(self, fingerprints: Fingerprints, positions: Positions, seen: Bits) -> Matches:
        there = np.flatnonzero(positions != ABSENT)
        at = positions[there]
        moved, again = np.zeros(len(positions), dtype=bool), np.zeros(len(positions), dtype=bool)
        moved[there] = (self.gather(at, "row_hi") != fingerprints.row_hi[there]) | (
            self.gather(at, "row_lo") != fingerprints.row_lo[there]
        )
        twice = np.ones(len(at), dtype=bool)
        twice[np.unique(at, return_index=True)[1]] = False
        again[there] = twice | seen.has(at)
        seen.add(at)
        return Matches(positions, moved & ~again, again)

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


def open_run(root: Path, file: StoredFile, source: str, *, first: int = 0) -> Run:
    """Memory-map a run after verifying its hash; raises CorruptionError."""
    path = verify(root, file, f"index of {source}")
    reader = open_ipc(path, f"index of {source}")
    bits = int((reader.schema.metadata or {}).get(b"bits", b"0"))
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    return Run(reader.schema, batches, bits, first)


def _probe_range(part: IndexRange, high: Unsigned, low: Unsigned) -> Positions:
    """Positions of sorted keys inside one range; equal high halves are resolved by the low ones."""
    index_high, index_low = part.column("key_hi"), part.column("key_lo")
    at = _searched(index_high, high)
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


def _searched(values: Unsigned, wanted: Unsigned) -> Positions:
    """`np.searchsorted` without the copy that it makes of a strided array."""
    low = np.zeros(len(wanted), np.int64)
    high = np.full(len(wanted), len(values), np.int64)
    for _ in range(len(values).bit_length()):
        middle = (low + high) // 2
        less = (low < high) & (values[np.minimum(middle, len(values) - 1)] < wanted)
        high = np.where(less | (low >= high), high, middle)
        low = np.where(less, middle + 1, low)
    return low
