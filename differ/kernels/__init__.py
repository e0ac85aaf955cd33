"""The two loops of a scan in C, behind functions of NumPy arrays; `LOADED` says whether this installation has them.

    hash_rows      canonical row bytes of a batch, hashed as they are made    (records/canonical.py says what they are)
    Lookup.probe   key hashes looked up in a sorted index                     (snapshots/index.py says what it is)

The library is compiled where differ is installed, when there is a C compiler; without it everything works, slower, by
NumPy and polars, and the tests hold both to equal results. ctypes lets go of the interpreter's lock while C runs.

Invariant: nothing here reads outside the arrays that it is given; whoever calls has validated them. Why there is C at
all: docs/decisions/0023-two-loops-in-c.md, with the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from differ.kernels.library import load

Unsigned: TypeAlias = npt.NDArray[np.uint64]
Positions: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]

COPY, BITS, FLOAT, BINARY, DICTIONARY, NOTHING = range(6)
SAME, MOVED, ABSENT, AGAIN = range(4)
"""What `Lookup.probe` says of a row: its row hash is the one indexed, is another, its key is not there, came before."""

_BLOCK_ROWS = 128
_COLUMN = np.dtype(
    [("kind", "i4"), ("width", "i4"), ("offset", "i8"), ("validity", "u8"), ("values", "u8"), ("offsets", "u8"),
     ("indices", "u8")]
)  # fmt: skip
_RANGE = np.dtype(
    [("hashes", "u8"), ("directory", "u8"), ("rows", "i8"), ("first", "i8"), ("bits", "i4"), ("", "i4")]
)  # fmt: skip
_ENTRIES_A_BUCKET = 8

_library = load()
LOADED = _library is not None
"""Whether the compiled library was found; only then may the functions below be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Where one column of N rows lies, as addresses; whoever makes it keeps the memory alive until the call is over.

    width: bytes of a value in the header, 4 for a length. offset: the first row's place. validity: 0 for no nulls.
    values: fixed values, bits, or the text bytes. offsets: of the texts. indices: of a dictionary.
    """

    kind: int
    width: int
    offset: int = 0
    validity: int = 0
    values: int = 0
    offsets: int = 0
    indices: int = 0


def hash_rows(columns: Sequence[Column], rows: int, row_bytes_max: int) -> tuple[Unsigned, Unsigned]:
    """The high and low halves of xxh3_128 of each row's canonical bytes; columns in name order.

    row_bytes_max: as many bytes as the variable columns of the longest row can take. Cost: O(bytes), one thread,
    without the interpreter's lock.
    """
    assert _library is not None  # noqa: S101
    table = np.zeros(len(columns), _COLUMN)
    for number, column in enumerate(columns):
        table[number] = (
            column.kind, column.width, column.offset, column.validity, column.values, column.offsets, column.indices
        )  # fmt: skip
    header = (len(columns) + 7) // 8 + sum(column.width for column in columns)
    block = np.empty(_BLOCK_ROWS * max(header, 1), np.uint8)
    scratch = np.empty(header + row_bytes_max + 1, np.uint8)
    high, low = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
    _library.differ_hash_rows(
        _at(table), len(columns), header, rows, _at(block), _at(scratch), _at(high), _at(low)
    )  # fmt: skip
    return high, low


def hash_binary(data: int, offsets: int, rows: int) -> tuple[Unsigned, Unsigned]:
    """The halves of xxh3_128 of each of `rows` values; data and offsets (32 bits, rows + 1 of them) are addresses."""
    assert _library is not None  # noqa: S101
    high, low = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
    _library.differ_hash_binary(data, offsets, rows, _at(high), _at(low))
    return high, low


def hash64_binary(data: int, offsets: int, rows: int) -> Unsigned:
    """xxh3_64 of each of `rows` values; data and offsets (32 bits, rows + 1 of them) are addresses."""
    assert _library is not None  # noqa: S101
    hashes = np.empty(rows, np.uint64)
    _library.differ_hash64_binary(data, offsets, rows, _at(hashes))
    return hashes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SortedRange:
    """The entries of one range of key hashes, ascending by key; `first` is the position of its first entry.

    hashes: N x 4: key_hi, key_lo, row_hi, row_lo.
    """

    number: int
    first: int
    hashes: Unsigned


class Lookup:
    """A sorted index made ready to be looked up: a directory of about one 32-bit place for 8 entries.

    Memory: 0.5 to 1 byte an entry; the entries themselves stay where they are. Source: the bucket directories of
    hash-partitioned joins; group prefetching after Chen et al., ICDE 2004.
    """

    def __init__(self, ranges: Sequence[SortedRange], range_bits: int) -> None:
        assert _library is not None  # noqa: S101
        self._range_bits = range_bits
        self._ranges = list(ranges)
        self._directories: list[npt.NDArray[np.uint32]] = []
        self._table = np.zeros(1 << range_bits, _RANGE)
        for part in self._ranges:
            rows = len(part.hashes)
            bits = min(max(0, (rows // _ENTRIES_A_BUCKET).bit_length() - 1), 64 - range_bits)
            directory = np.empty((1 << bits) + 1, np.uint32)
            _library.differ_directory(_at(part.hashes), rows, range_bits, bits, _at(directory))
            self._directories.append(directory)
            self._table[part.number] = (_at(part.hashes), _at(directory), rows, part.first, bits, 0)

    def probe(
        self, key_hi: Unsigned, key_lo: Unsigned, row_hi: Unsigned, row_lo: Unsigned, alive: Bytes | None, seen: Bytes
    ) -> tuple[Positions, Bytes, bool]:
        """(position or -1, SAME, MOVED, ABSENT or AGAIN, whether any came before), aligned with the fingerprints.

        alive, seen: one bit a position, least significant first; what is not alive is not found, and what is found is
        marked in `seen`. Cost: about four cache lines a key, many of them on their way at once.
        """
        assert _library is not None  # noqa: S101
        arrays = [np.ascontiguousarray(values) for values in (key_hi, key_lo, row_hi, row_lo)]
        rows = len(key_hi)
        position, state = np.empty(rows, np.int64), np.empty(rows, np.uint8)
        again = _library.differ_probe(
            _at(self._table), self._range_bits, rows, *(_at(values) for values in arrays),
            0 if alive is None else _at(alive), _at(seen), _at(position), _at(state),
        )  # fmt: skip
        return position, state, again > 0


def _at(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)
