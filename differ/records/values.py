"""Columns as Python's own values: Decimal, datetime, UUID, bytes; a json value as bson would give it.

What Python has no class for: a timestamp or duration in nanoseconds is pandas' own class (a subclass of Python's), a
time of day in nanoseconds is its ISO text.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from differ.errors import RecordError
from differ.records.extended_json import loads
from differ.records.types import LogicalType


def python_column(array: pa.Array, type_: LogicalType) -> list[Any]:
    """The values of a storage-typed column; None for null. One Python object a value.

    Raises RecordError for a date or timestamp outside Python's years 1 to 9999.
    """
    try:
        return _column(array, type_)
    except (OverflowError, ValueError, pa.ArrowException) as error:
        raise RecordError(f"a value of type {type_} is beyond Python's own types: {error}") from None


def _column(array: pa.Array, type_: LogicalType) -> list[Any]:  # noqa: PLR0911
    match type_.kind:
        case "decimal":
            texts = array.cast(pa.string())  # By text, which is several times as fast as one scalar after another.
            return [None if text is None else Decimal(text) for text in texts.to_pylist()]
        case "uuid":
            return [None if data is None else UUID(bytes=data) for data in array.to_pylist()]
        case "json":
            return [None if text is None else loads(text) for text in array.to_pylist()]
        case "timestamp" if type_.unit == "ns":
            return _pandas_column(array, "Timestamp", utc=type_.zone)
        case "duration" if type_.unit == "ns":
            return _pandas_column(array, "Timedelta", utc=False)
        case "timestamp" | "date":
            return _moments(array, zone=ZoneInfo("UTC") if type_.zone else None)
        case "time" if type_.unit == "ns":
            return list(time_texts(array).to_pylist())
        case "list":
            return split(array, _column(array.flatten(), type_.children[0][1]))
        case "map":
            key_array, value_array = entries(array)
            keys, values = _column(key_array, type_.children[0][1]), _column(value_array, type_.children[1][1])
            runs = split(array, list(zip(keys, values, strict=True)))
            return [None if run is None else _mapping(run) for run in runs]
        case "struct":
            children = [
                _column(child, child_type)
                for (_, child_type), child in zip(type_.children, array.flatten(), strict=True)
            ]
            return zip_structs(array, [name for name, _ in type_.children], children)
        case _:
            return list(array.to_pylist())


def _moments(array: pa.Array, *, zone: ZoneInfo | None) -> list[Any]:
    """Dates and timestamps by NumPy, which makes them many times as fast as one Arrow scalar after another."""
    values: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
    if int in set(map(type, values)):  # What NumPy gives for a moment that Python has no object for.
        raise OverflowError("a year outside 1 to 9999")
    if zone is None:
        return values
    return [None if value is None else value.replace(tzinfo=zone) for value in values]


def _mapping(pairs: list[tuple[Any, Any]]) -> Any:
    """A dict where the keys can be its keys, else the pairs as they are."""
    try:
        made = dict(pairs)
    except TypeError:
        return [list(pair) for pair in pairs]
    return made if len(made) == len(pairs) else [list(pair) for pair in pairs]


def _pandas_column(array: pa.Array, name: str, *, utc: bool) -> list[Any]:
    import pandas

    make = getattr(pandas, name)
    extra = {"tz": "UTC"} if utc else {}
    numbers = array.cast(pa.int64()).to_pylist()
    return [None if number is None else make(number, unit="ns", **extra) for number in numbers]


def time_texts(array: pa.Array) -> pa.StringArray:
    """Times of day as ISO texts, fractions without trailing zeros."""
    texts = array.cast(pa.string())
    return pc.replace_substring_regex(texts, r"\.0+$|(\.[0-9]*[1-9])0+$", r"\1")


def entries(array: pa.MapArray) -> tuple[pa.Array, pa.Array]:
    """The keys and values of all entries of a map column, without what slices and nulls leave out."""
    pairs = pa.ListArray.from_arrays(array.offsets, pa.StructArray.from_arrays([array.keys, array.items], ["k", "v"]))
    if array.null_count:
        pairs = pairs.filter(array.is_valid())
    flat = pairs.flatten()
    return flat.field(0), flat.field(1)


def split(array: pa.Array, items: list[Any]) -> list[Any]:
    """The flattened items of a list or map column as one list a row; None for a null row."""
    rows: list[Any] = []
    start = 0
    for length in lengths(array).to_pylist():
        rows.append(None if length is None else items[start : start + length])
        start += length or 0
    return rows


def lengths(array: pa.Array) -> pa.Int32Array:
    """How many items each value of a list or map column has; null for a null."""
    if not pa.types.is_map(array.type):
        return pc.list_value_length(array)
    counts = pc.subtract(array.offsets.slice(1), array.offsets.slice(0, len(array)))
    return pc.if_else(array.is_valid(), counts, pa.scalar(None, pa.int32()))


def zip_structs(array: pa.StructArray, names: list[str], children: list[list[Any]]) -> list[Any]:
    """The child columns of a struct column as one dict a row; None for a null row."""
    rows = zip(*children, strict=True) if children else [()] * len(array)
    valid = array.is_valid().to_pylist()
    return [dict(zip(names, row, strict=True)) if present else None for row, present in zip(rows, valid, strict=True)]
