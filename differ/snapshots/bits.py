"""One bit for each position or location: a set over 60 million rows in 7.5 MB, where a mask would take 60.

Bits are packed least significant first, as Arrow packs validity and as the compiled kernels read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]
_CHUNK_BYTES = 1 << 17


class Bits:
    """A set of numbers 0..size-1. Not safe to change from two threads at once."""

    def __init__(self, size: int, packed: np.ndarray[Any, np.dtype[np.uint8]] | None = None) -> None:
        self.size = size
        self.packed = np.zeros((size + 7) // 8, np.uint8) if packed is None else packed

    @classmethod
    def full(cls, size: int) -> Bits:
        """All of 0..size-1."""
        made = cls(size, np.full((size + 7) // 8, 255, np.uint8))
        if size % 8:
            made.packed[-1] = (1 << size % 8) - 1
        return made

    def copy(self) -> Bits:
        """Another set of the same numbers."""
        return Bits(self.size, self.packed.copy())

    def add(self, places: Places) -> None:
        """Put numbers in; they may come twice."""
        np.bitwise_or.at(self.packed, places >> 3, np.left_shift(np.uint8(1), (places & 7).astype(np.uint8)))

    def add_mask(self, start: int, mask: Mask) -> None:
        """Put in the numbers start, start + 1, ... where the mask says so."""
        lead = np.zeros(start % 8, dtype=bool)
        packed = np.packbits(np.concatenate([lead, mask]), bitorder="little")
        self.packed[start // 8 : start // 8 + len(packed)] |= packed

    def remove(self, places: Places) -> None:
        """Take numbers out."""
        np.bitwise_and.at(self.packed, places >> 3, ~np.left_shift(np.uint8(1), (places & 7).astype(np.uint8)))

    def has(self, places: Places) -> Mask:
        """Whether each number is in the set."""
        found: Mask = (self.packed[places >> 3] >> (places & 7).astype(np.uint8)) & 1 != 0
        return found

    def mask(self, start: int, stop: int) -> Mask:
        """The numbers start..stop-1 as a mask."""
        bits = np.unpackbits(self.packed[start // 8 : (stop + 7) // 8], bitorder="little")
        return bits[start % 8 : start % 8 + stop - start].astype(bool)

    def without(self, other: Bits) -> Bits:
        """The numbers that are here and not in the other set of the same size."""
        return Bits(self.size, self.packed & ~other.packed)

    def count(self) -> int:
        """How many numbers are in the set."""
        return int(np.bitwise_count(self.packed).sum(dtype=np.int64))

    def numbers(self) -> Places:
        """All numbers, ascending; 8 bytes each."""
        found = list(self._numbers())
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _numbers(self) -> Iterator[Places]:
        for start in range(0, len(self.packed), _CHUNK_BYTES):
            chunk = self.packed[start : start + _CHUNK_BYTES]
            if chunk.any():
                yield np.flatnonzero(np.unpackbits(chunk, bitorder="little")).astype(np.int64) + start * 8
