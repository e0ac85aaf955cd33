"""How one column is selected, turned into Arrow, and found again by its value.

The database or Arrow converts, never a guess: where a driver's own conversion would lose something, the column is
selected as text and parsed here by Arrow's kernels, a column at a time.
Invariant: a value that has no exact place in the column's type raises; it is never rounded, cut or nulled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from differ.records.types import Column, LogicalType, Schema
from differ.records.views import literal

Convert = Callable[[Sequence[Any]], pa.Array]
PARAMETER = "\x00"
"""Stands for a bind parameter in SQL that we make: no SQL text and no name can hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of a relation.

    expression: the SQL that is selected. convert: the values of a batch -> an array of the column's storage type.
    match: SQL that is true where the column equals PARAMETER. bind: a key's value -> the driver's.
    """

    column: Column
    expression: str
    convert: Convert
    match: str
    bind: Callable[[Any], Any]

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


def from_text(type_: LogicalType) -> Convert:
    """For values that come as ISO text: dates, times, timestamps (UTC), decimals."""
    storage = type_.storage
    match type_.kind:
        case "string":
            return plain(type_)
        case "time":
            return lambda values: _times(values, storage)
        case "timestamp" if type_.zone:
            naive = pa.timestamp(type_.unit)
            return lambda values: pa.array(values, pa.string()).cast(naive).cast(storage)
        case "decimal" if type_.precision is None:
            return unconstrained
        case _:
            return lambda values: pa.array(values, pa.string()).cast(storage)


def _times(values: Sequence[Any], storage: pa.DataType) -> pa.Array:
    # Arrow parses no time of day alone; as the time of some day it does.
    texts = pa.array(values, pa.string())
    days = pc.binary_join_element_wise(literal("1970-01-01"), texts, literal(" "))
    return days.cast(pa.timestamp(storage.unit)).cast(storage)


def integers_to_bools(values: Sequence[Any]) -> pa.Array:
    """For bools that come as 0 and 1."""
    return pa.array(values, pa.int64()).cast(pa.bool_())


_CLOCK = r"^(?P<sign>-?)(?P<hours>[0-9]+):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2})(?:\.(?P<micros>[0-9]{1,6}))?$"


def durations(values: Sequence[Any]) -> pa.Array:
    """For durations that come as text: [-]hours:minutes:seconds[.fraction]. Raises ValueError for another form."""
    texts = pa.array(values, pa.string())
    parts = pc.extract_regex(texts, _CLOCK)
    if parts.null_count != texts.null_count:
        raise ValueError("no duration")
    hours, minutes, seconds = (
        pc.struct_field(parts, name).cast(pa.int64()) for name in ("hours", "minutes", "seconds")
    )
    micros = pc.utf8_rpad(pc.struct_field(parts, "micros"), 6, "0").cast(pa.int64())
    sixty, million = (pa.scalar(number, pa.int64()) for number in (60, 1_000_000))
    whole = pc.add(pc.multiply(pc.add(pc.multiply(hours, sixty), minutes), sixty), seconds)
    total = pc.add(pc.multiply(whole, million), micros)
    negative = pc.equal(pc.struct_field(parts, "sign"), literal("-"))
    return pc.if_else(negative, pc.negate(total), total).cast(pa.duration("us"))


def unconstrained(values: Sequence[Any]) -> pa.Array:
    """For numbers without a declared scale: Decimal, int, float or their text -> normalised text."""
    from differ.records.decimals import normal_texts

    return normal_texts(pa.array([None if value is None else str(value) for value in values], pa.string()))


def json_texts(values: Sequence[Any]) -> pa.Array:
    """For JSON documents that come as text -> canonical Extended JSON."""
    from differ.records.json_values import json_text_canonical

    return pa.array([None if value is None else json_text_canonical(value) for value in values], pa.string())


def uuid_bytes(values: Sequence[Any]) -> pa.Array:
    """For UUIDs that come as text, UUID objects or 16 bytes."""
    from uuid import UUID

    return pa.array(
        [None if value is None else value if isinstance(value, bytes) else UUID(str(value)).bytes for value in values],
        pa.binary(16),
    )
