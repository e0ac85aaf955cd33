"""Python values to storage: which logical type a list of values has, and the array that holds them.

    bool, int, float, str, bytes, date, time, UUID    the type of that name; a bool is no int
    int beyond 64 bits, Decimal, Decimal128           unconstrained decimal, for the next scan may need another scale
    datetime, timedelta                               timestamp with or without zone, duration; ns where pandas has them
    dict, list, ObjectId, Regex and other BSON        json
    None, pandas.NA, pandas.NaT                       null

Values of one column share one type; an int beside floats is a float where that is exact, an int beside decimals a
decimal. Invariant: what has no exact form is an error that names the row, never another value.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import bson
import numpy as np
import pyarrow as pa
from bson.decimal128 import Decimal128

from differ.errors import RecordError, SchemaDriftError
from differ.records.json_values import canonical_text
from differ.records.types import (
    BOOL,
    BYTES,
    DATE,
    DECIMAL_TEXT,
    DURATION,
    FLOAT,
    INT,
    JSON,
    NULL,
    STRING,
    TIME,
    TIMESTAMP,
    UUID,
    LogicalType,
)  # fmt: skip

_INT64 = 2**63
# Narrow classes first: bool is an int, datetime a date, Binary bytes, Code a str.
_KINDS: tuple[tuple[type, str], ...] = (
    (type(None), "null"), (bool, "bool"), (bson.Code, "json"), (bson.Binary, "json"), (int, "int"), (float, "float"),
    (str, "string"), (Decimal, "decimal"), (Decimal128, "decimal"), (datetime, "timestamp"), (date, "date"),
    (time, "time"), (timedelta, "duration"), (uuid.UUID, "uuid"), (bytes, "bytes"), (bytearray, "bytes"),
    (memoryview, "bytes"),
)  # fmt: skip
_TYPES: dict[str, LogicalType] = {
    "null": NULL, "bool": BOOL, "int": INT, "float": FLOAT, "string": STRING, "decimal": DECIMAL_TEXT, "bytes": BYTES,
    "date": DATE, "time": TIME, "uuid": UUID, "json": JSON,
}  # fmt: skip


@lru_cache(maxsize=1024)
def _kind(cls: type) -> str:
    """The kind of a class; "foreign" for NumPy's and pandas' scalars, which have to be unwrapped first."""
    if cls.__module__.partition(".")[0] == "numpy" or cls.__name__ in ("NAType", "NaTType"):
        return "foreign"
    return next((kind for base, kind in _KINDS if issubclass(cls, base)), "json")


def unwrapped(values: Sequence[Any]) -> Sequence[Any]:
    """The values with NumPy's scalars as Python's own, and pandas' NA and NaT as None."""
    foreign = {cls for cls in set(map(type, values)) if _kind(cls) == "foreign"}
    return [_unwrap(value) if type(value) in foreign else value for value in values] if foreign else values


def _unwrap(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if not isinstance(value, np.generic):
        return None
    if isinstance(value, (np.datetime64, np.timedelta64)):
        import pandas

        if np.isnat(value):
            return None
        return pandas.Timestamp(value) if isinstance(value, np.datetime64) else pandas.Timedelta(value)
    return value.item()


def column_of(values: Sequence[Any], *, source: str, column: str) -> tuple[pa.Array, LogicalType]:
    """The array and logical type of the values of one column.

    Raises SchemaDriftError, naming the two types, for values of different types; RecordError, naming the row, for a
    value without exact form. One pass over the classes, then Arrow's own conversion.
    """
    values = unwrapped(values)
    kinds = {_kind(cls) for cls in set(map(type, values))} - {"null"}
    kind = _one_kind(kinds, values, source, column)
    type_, values = _typed(kind, values, source, column)
    return build(values, type_, source=source, column=column), type_


def build(values: Sequence[Any], type_: LogicalType, *, source: str, column: str) -> pa.Array:
    """`array_of` with errors that name source, column and row."""
    try:
        return array_of(values, type_)
    except _CONVERSION_ERRORS as error:
        raise _located(values, type_, source, column, error) from None


_CONVERSION_ERRORS = (RecordError, pa.ArrowException, OverflowError, TypeError, ValueError, AttributeError)


def _located(values: Sequence[Any], type_: LogicalType, source: str, column: str, error: Exception) -> RecordError:
    row = 0
    for row, value in enumerate(values):  # noqa: B007 - the row it stops at is the answer
        try:
            array_of([value], type_)
        except _CONVERSION_ERRORS as own:
            error = own
            break
    cause = error.message if isinstance(error, RecordError) else str(error)
    if isinstance(error, UnicodeEncodeError):
        cause = "a text holds a lone surrogate, which UTF-8 cannot represent"
    return RecordError(
        f"scan {source}: column {column!r}, row {row} of the batch: {cause}",
        hint=f"the column is taken as {type_}; convert it in the plugin, or declare it: "
        f'@iterator(types={{"{column}": "json"}})',
    )


def _one_kind(kinds: set[str], values: Sequence[Any], source: str, column: str) -> str:
    if not kinds:
        return "null"
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {"int", "decimal"}:
        return "decimal"
    if kinds == {"int", "float"} and all(_has_double(value) for value in values):
        return "float"
    first, second = sorted(kinds)[:2]
    raise SchemaDriftError(
        f"scan {source}: column {column!r} holds both {first} and {second} values",
        hint=f'let the plugin give one type, or declare the column: @iterator(types={{"{column}": "json"}})',
    )


def _has_double(value: Any) -> bool:
    return not isinstance(value, int) or (_near(value) and int(float(value)) == value)


def _near(value: int) -> bool:
    return -_INT64 <= value < _INT64


def _typed(kind: str, values: Sequence[Any], source: str, column: str) -> tuple[LogicalType, Sequence[Any]]:
    match kind:
        case "int" if any(value is not None and not _near(value) for value in values):
            return DECIMAL_TEXT, values
        case "timestamp":
            zones = {value.tzinfo is not None for value in values if value is not None}
            if len(zones) == 2:
                raise SchemaDriftError(
                    f"scan {source}: column {column!r} holds both timestamps with and without time zone",
                    hint="let the plugin give all of them a time zone, or none",
                )
            return replace(TIMESTAMP, zone=zones.pop(), unit="ns" if _has_nanos(values) else "us"), values
        case "duration":
            return replace(DURATION, unit="ns" if _has_nanos(values) else "us"), values
        case _:
            return _TYPES[kind], values


def _has_nanos(values: Sequence[Any]) -> bool:
    return any(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in values)


def array_of(values: Sequence[Any], type_: LogicalType) -> pa.Array:
    """The storage array of Python values that belong to the type (ints in a float column are converted).

    Raises what Arrow and Python raise for a value that does not: see `build` for errors that name the row.
    """
    cell = _cell_maker(type_)
    if cell is not None:
        values = [None if value is None else cell(value) for value in values]
    return pa.array(values, type_.storage)


def _cell_maker(type_: LogicalType) -> Callable[[Any], Any] | None:
    """What turns one value into what Arrow takes for the storage type; None where Arrow takes it as it is."""
    match type_.kind:
        case "json":
            return canonical_text
        case "uuid":
            return lambda value: value.bytes
        case "decimal" if type_.precision is None:
            return _decimal_text
        case "decimal":
            return lambda value: value.to_decimal() if isinstance(value, Decimal128) else value
        case "float":
            return _exact_float
        case "bytes":
            return bytes
        case "time" if type_.unit == "us":
            return _naive_time
        case "list" | "map" | "struct":
            return _nested_cell(type_)
        case _:
            return None


def _nested_cell(type_: LogicalType) -> Callable[[Any], Any]:
    makers = [(name, _cell_maker(child) or (lambda value: value)) for name, child in type_.children]

    def made(maker: Callable[[Any], Any], value: Any) -> Any:
        return None if value is None else maker(value)

    if type_.kind == "list":
        return lambda value: [made(makers[0][1], item) for item in value]
    if type_.kind == "map":
        return lambda value: [
            (made(makers[0][1], key), made(makers[1][1], item))
            for key, item in (value.items() if isinstance(value, Mapping) else value)
        ]
    return lambda value: {name: made(maker, value.get(name)) for name, maker in makers}


def _decimal_text(value: Any) -> str:
    number = value.to_decimal() if isinstance(value, Decimal128) else value
    return "NaN" if isinstance(number, Decimal) and number.is_nan() else str(number)


def _exact_float(value: Any) -> float:
    double = float(value)
    if isinstance(value, int) and int(double) != value:
        raise RecordError(f"the int {value} has no exact double")
    return double


def _naive_time(value: time) -> time:
    if value.tzinfo is not None:
        raise RecordError("a time of day with a time zone has no exact form")
    return value
