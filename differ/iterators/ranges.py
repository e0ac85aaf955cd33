"""Key ranges and their checksums: what lets a scan read only where something moved.

A range is the keys that share all but their last `shift` bits: range i holds the keys k with `k >> shift == i`, the
shift rounding down also below zero. So a range is known by one number, keys that come later have a range already, and
ranges never overlap. The checksum of a range is the sum, modulo 2**64, of a 64-bit hash of each of its rows, which the
server computes over everything that is read of a row, the key included; beside it stands the number of rows.

Invariant: where number and sum of a range are what they were, its rows are, but for a chance of about 2**-64 a range
that moved. Source: Merkle trees with one level below the root, as in Dynamo's anti-entropy (DeCandia et al., 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from differ.records.views import fixed_values

Ids: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

RANGES_MAX = 1 << 20
"""More ranges than this are not kept: their sums would outgrow what reading only some of them saves."""
RANGE_ROWS = 256
SAMPLE_KEYS = 1 << 16
_SHIFT_MAX = 62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RangeSums:
    """The checksums of all ranges of a source that hold rows, by ascending id.

    basis: what they were made by (columns, types, server), as a hash: sums of another basis do not compare.
    """

    basis: str
    shift: int
    ids: Ids
    counts: Ids
    sums: np.ndarray[Any, np.dtype[np.uint64]]

    @property
    def rows(self) -> int:
        """The rows of all ranges together."""
        return int(self.counts.sum())

    def moved(self, before: RangeSums) -> Ids:
        """The ids of the ranges, of either, whose rows are not what they were: changed, new, gone."""
        ids = np.union1d(self.ids, before.ids)
        was, now = before._spread(ids), self._spread(ids)
        moved: Ids = ids[(was[0] != now[0]) | (was[1] != now[1])]
        return moved

    def count(self, ids: Ids) -> int:
        """How many rows the ranges of these ascending ids hold."""
        return int(self._spread(ids)[0].sum())

    def _spread(self, ids: Ids) -> tuple[Ids, np.ndarray[Any, np.dtype[np.uint64]]]:
        counts, sums = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.uint64)
        known, _, own = np.intersect1d(ids, self.ids, assume_unique=True, return_indices=True)
        at = np.searchsorted(ids, known)
        counts[at], sums[at] = self.counts[own], self.sums[own]
        return counts, sums


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyRanges:
    """The split of a scan that reads only these ranges; `ids` ascend."""

    shift: int
    ids: Ids

    def runs(self) -> list[tuple[int, int]]:
        """First and last key of each run of neighbouring ranges, ascending."""
        if not len(self.ids):
            return []
        breaks = np.flatnonzero(np.diff(self.ids) != 1)
        firsts = self.ids[np.concatenate(([0], breaks + 1))]
        lasts = self.ids[np.concatenate((breaks, [len(self.ids) - 1]))]
        return [
            (int(first) << self.shift, ((int(last) + 1) << self.shift) - 1)
            for first, last in zip(firsts, lasts, strict=True)
        ]


class KeySample:
    """Up to SAMPLE_KEYS keys of a stream, evenly spread over it; says how wide ranges should be."""

    def __init__(self) -> None:
        self._kept: list[Ids] = []
        self._stride = 1
        self._seen = 0

    def add(self, keys: pa.Array) -> None:
        """Look at the keys of a batch; nulls are left out."""
        values = fixed_values(keys.drop_null().cast(pa.int64()))
        self._kept.append(values[-self._seen % self._stride :: self._stride])
        self._seen += len(values)
        while sum(map(len, self._kept)) > SAMPLE_KEYS:
            self._kept = [np.concatenate(self._kept)[::2]]
            self._stride *= 2

    def shift(self, range_rows: int) -> int:
        """The smallest shift by which ranges hold about `range_rows` rows, on average at least two thirds of that, were
        the keys spread as the sample is.

        A sample of every n-th key is as the keys themselves, n times sparser; so the shift that leaves one range for
        `range_rows` sampled keys is log2(n) bits too wide. Keys far out get ranges of their own and change nothing.
        """
        keys = np.sort(np.concatenate(self._kept)) if self._kept else np.zeros(0, dtype=np.int64)
        least = max(0, (range_rows - 1).bit_length())
        sparser = self._stride.bit_length() - 1
        most = max(1, 3 * len(keys) // (2 * range_rows))
        for shift in range(least, _SHIFT_MAX):
            if len(keys) < 2 or 1 + int(np.count_nonzero(np.diff(keys >> shift))) <= most:
                return max(least, shift - sparser)
        return _SHIFT_MAX


def range_rows_for(rows: int, configured: int | None) -> int:
    """How many rows a range should hold: as configured, else RANGE_ROWS, and more where a table is so large that the
    sums would be many."""
    return configured or max(RANGE_ROWS, -(-rows * 4 // RANGES_MAX))
