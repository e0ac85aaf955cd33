"""MariaDB's and MySQL's rows with their columns packed into one value: a seventh of the driver's time.

What costs most with MySQLdb is a Python object for each cell. So the server is asked for one binary string a row,

    CONCAT_WS(0xFF, c1 or 0xFE where it is null, c2 or 0xFE, ...)

which it makes as fast as it sends the columns one by one. All columns in it are UTF-8, in which neither byte ever
occurs, so nothing has to be quoted, and where a batch of rows is split is found by NumPy in one pass. Columns that may
hold any byte (BLOB, BINARY, GEOMETRY), that are parsed one by one anyway (JSON), or that may be long come beside it as
the driver's values: a CONCAT of more than `max_allowed_packet` would be null.

The result is streamed on the snapshot's connection, in its transaction, as the driver's streaming cursor does.
Source: https://mariadb.com/kb/en/concat_ws/ ; that 0xFE and 0xFF are never in UTF-8: RFC 3629, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from differ.errors import RecordError
from differ.iterators.sql.fields import Field
from differ.iterators.sql.paths import BLOCK_BYTES
from differ.iterators.sql.relation import Relation

SEPARATOR, NULL = 0xFF, 0xFE
ROWS_PER_FETCH_MAX = 1000
"""How many rows become Python objects at a time: more would only leave the processor's cache."""
ROWS_PER_FETCH_BESIDE = 16
"""The same where a row has values of unknown length."""
_BINARY = "CAST(x'{:02X}' AS BINARY)"


@dataclass(frozen=True, slots=True)
class _Block:
    """Packed rows behind each other, each with a separator at its end, and the values that came beside, by row."""

    data: bytes
    beside: list[tuple[Any, ...]]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Reads one relation packed, on the snapshot's connection. packed: which of the fields are, by place."""

    connection: sa.Connection
    relation: Relation
    fields: Sequence[Field]
    packed: Sequence[int]
    name: str = "columns packed by the server, parsed by Arrow"
    helpers: int = 1

    def blocks(self, rows_max: int, check: Callable[[], None]) -> Generator[_Block, None, None]:
        """Blocks of packed rows; memory is one block. Raises RecordError where the server could not pack a row."""
        raw: Any = self.connection.connection.dbapi_connection
        beside = [field.expression for place, field in enumerate(self.fields) if place not in self.packed]
        packed = _packed([self.fields[place] for place in self.packed])
        raw.query(self.relation.select(", ".join([f"{packed} AS differ_packed", *beside])).encode(raw.encoding))
        result = raw.use_result()
        first, end = itemgetter(0), bytes([SEPARATOR])
        parts: list[bytes] = []
        kept: list[tuple[Any, ...]] = []
        count = size = 0
        while rows := result.fetch_row(min(self._rows_per_fetch(), rows_max - count), 0):
            check()
            try:
                parts.append(end.join(map(first, rows)))
            except TypeError:
                raise self._too_long() from None
            count += len(rows)
            size += len(parts[-1])
            if beside:
                kept.extend(rows)
                size += sum(len(value) for row in rows for value in row[1:] if isinstance(value, bytes | str))
            if count == rows_max or size >= BLOCK_BYTES:
                yield _Block(end.join([*parts, b""]), kept, count)
                parts, kept, count, size = [], [], 0, 0
        if count:
            yield _Block(end.join([*parts, b""]), kept, count)

    def arrays(self, block: _Block) -> list[pa.Array]:
        """The columns; packed ones are parsed from their texts."""
        return [
            field.text.parse(cells) if field.text is not None and isinstance(cells, pa.Array) else field.convert(cells)
            for field, cells in zip(self.fields, self.cells(block), strict=True)
        ]

    def cells(self, block: _Block) -> Sequence[pa.Array | Sequence[Any]]:
        """Texts of the packed fields, the driver's values of those beside."""
        texts = dict(zip(self.packed, self._split(block), strict=True))
        values = iter(list(zip(*block.beside, strict=True))[1:])
        return [texts[place] if place in texts else next(values) for place in range(len(self.fields))]

    def abandon(self) -> None:
        """Cut the connection: the server sends all the rows that are left before it listens again."""
        self.connection.invalidate()

    def _split(self, block: _Block) -> list[pa.Array]:
        """The texts of each column. Raises RecordError where a row has another number of them."""
        width = len(self.packed)
        ends = np.flatnonzero(np.frombuffer(block.data, np.uint8) == SEPARATOR).astype(np.int32)
        if len(ends) != block.rows * width:
            raise RecordError(
                f"scan {self.relation.source}: read rows: {block.rows} rows of {width} columns "
                f"came as {len(ends)} values: a text is not UTF-8",
                hint="set the option `fast: false` for this source: it names the column",
            )
        by_column = np.ascontiguousarray(ends.reshape(block.rows, width).T)
        before = np.concatenate([np.array([-1], np.int32), by_column[-1][:-1]])
        may_be_null = NULL in block.data
        return [_column(block.data, last + 1, ends, may_be_null) for last, ends in pairwise([before, *by_column])]

    def _rows_per_fetch(self) -> int:
        if len(self.packed) < len(self.fields):
            return ROWS_PER_FETCH_BESIDE
        row_bytes = sum(_size(self.fields[place]) for place in self.packed)
        return max(1, min(ROWS_PER_FETCH_MAX, BLOCK_BYTES // row_bytes))

    def _too_long(self) -> RecordError:
        return RecordError(
            f"scan {self.relation.source}: read rows: a row is longer than the server's max_allowed_packet",
            hint="set the option `fast: false` for this source, or raise max_allowed_packet",
        )


def packable(fields: Sequence[Field], bytes_max: int) -> list[int]:
    """The places of the fields to pack, so that a packed row has at most `bytes_max` bytes."""
    places, size = [], 0
    for place, field in enumerate(fields):
        if field.text is not None and size + _size(field) <= bytes_max:
            places.append(place)
            size += _size(field)
    return places


def _size(field: Field) -> int:
    return 1 + ((field.text.bytes_max if field.text is not None else None) or 0)


def _packed(fields: Sequence[Field]) -> str:
    separator, null = _BINARY.format(SEPARATOR), _BINARY.format(NULL)
    return f"CONCAT_WS({separator}, " + ", ".join(
        f"IFNULL({field.text.expression}, {null})" for field in fields if field.text is not None
    ) + ")"  # fmt: skip


def _column(data: bytes, starts: np.ndarray, ends: np.ndarray, may_be_null: bool) -> pa.Array:
    """The texts between these places. As an array of text, gap, text, gap .. they need no copy of their own."""
    rows = len(starts)
    offsets = np.empty(2 * rows + 1, np.int32)
    offsets[0:-1:2], offsets[1::2], offsets[-1] = starts, ends, ends[-1]
    every = pa.Array.from_buffers(pa.binary(), 2 * rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    nulls = np.frombuffer(data, np.uint8)[starts] == NULL if may_be_null else None
    return every.take(pa.array(np.arange(0, 2 * rows, 2), mask=nulls)).cast(pa.string())
