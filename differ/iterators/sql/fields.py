"""How one column is selected, turned into Arrow, and found again by its value.

The database or Arrow converts, never a guess: where a driver's own conversion would lose something, the column is
selected as text and parsed by Arrow's kernels, a column at a time (see `texts`). A faster path than a driver's rows
reads all columns so, by their `Text`.
Invariant: a value that has no exact place in the column's type raises; it is never rounded, cut or nulled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from differ.iterators.sql.texts import documents, parser
from differ.records.types import Column, LogicalType, Schema

Convert = Callable[[Sequence[Any]], pa.Array]
Parse = Callable[[pa.Array], pa.Array]
PARAMETER = "\x00"
"""Stands for a bind parameter in SQL that we make: no SQL text and no name can hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """How a column comes as the database's own text.

    expression: the SQL whose text output is taken. parse: an array of such texts -> one of the column's storage type.
    csv: the type that Arrow's CSV reader makes of the text by itself, as exactly; None where only `parse` does.
    bytes_max: how many bytes the text has at most, None where that is not known.
    """

    expression: str
    parse: Parse
    csv: pa.DataType | None = None
    bytes_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of a relation.

    expression: the SQL that is selected. convert: the values of a batch -> an array of the column's storage type.
    match: SQL that is true where the column equals PARAMETER. bind: a key's value -> the driver's.
    text: how the column comes as text, None where it comes through the driver's values alone.
    """

    column: Column
    expression: str
    convert: Convert
    match: str
    bind: Callable[[Any], Any]
    text: Text | None = None

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name


def schema_of(fields: Iterable[Field], key: Iterable[str]) -> Schema:
    """The schema that batches of these fields have."""
    return Schema(columns=tuple(field.column for field in fields), key=tuple(key))


def unchanged(value: Any) -> Any:
    """The bind of columns whose values the driver takes as they are."""
    return value


def plain(type_: LogicalType) -> Convert:
    """For values that come from the driver as Arrow wants them."""
    storage = type_.storage

    def convert(values: Sequence[Any]) -> pa.Array:
        return pa.array(values, storage)

    return convert


def parsed(parse: Parse) -> Convert:
    """For values that come as text and are parsed by `parse`."""
    return lambda values: parse(pa.array(values, pa.string()))


def from_text(type_: LogicalType) -> Convert:
    """For values that come as ISO text: dates, times, timestamps (UTC), decimals."""
    if type_.kind == "decimal" and type_.precision is None:
        return unconstrained
    return parsed(parser(type_))


def integers_to_bools(values: Sequence[Any]) -> pa.Array:
    """For bools that come as 0 and 1."""
    return pa.array(values, pa.int64()).cast(pa.bool_())


def unconstrained(values: Sequence[Any]) -> pa.Array:
    """For numbers without a declared scale: Decimal, int, float or their text -> normalised text."""
    from differ.records.decimals import normal_texts

    return normal_texts(pa.array([None if value is None else str(value) for value in values], pa.string()))


def json_texts(values: Sequence[Any]) -> pa.Array:
    """For JSON documents that come as text -> canonical Extended JSON."""
    return documents(pa.array(values, pa.string()))


def uuid_bytes(values: Sequence[Any]) -> pa.Array:
    """For UUIDs that come as text, UUID objects or 16 bytes."""
    from uuid import UUID

    return pa.array(
        [None if value is None else value if isinstance(value, bytes) else UUID(str(value)).bytes for value in values],
        pa.binary(16),
    )
