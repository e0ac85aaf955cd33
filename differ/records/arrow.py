"""From Arrow's physical types to logical types: which physical variants mean the same.

Invariant: physical variants of one meaning (int32 and int64, string and string_view and dictionary, date32 and date64)
have types of equal `layout`, so they give equal canonical bytes.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from differ.errors import RecordError
from differ.records.types import (
    BOOL,
    BYTES,
    DATE,
    DECIMAL_TEXT,
    JSON,
    NULL,
    STRING,
    UUID,
    Column,
    LogicalType,
    Schema,
    TimeUnit,
    stored_type,
)  # fmt: skip

_DECIMAL_DIGITS_MAX = 76
LEVELS_MAX = 40
"""Parquet's reader goes down to 100 levels, of which a list takes two, Arrow's reader of streams to 64."""


def from_arrow_type(type_: pa.DataType) -> LogicalType:
    """The logical type of an Arrow type. Raises RecordError for what has none: interval, union, unknown extension."""
    if isinstance(type_, pa.BaseExtensionType):
        return _of_extension(type_)
    if pt.is_dictionary(type_) or pt.is_run_end_encoded(type_):
        return from_arrow_type(type_.value_type)
    found = _of_number(type_) or _of_text(type_) or _of_time(type_) or _of_nested(type_)
    if found is None:
        raise _meaningless(type_)
    return found


def schema_from_arrow(schema: pa.Schema) -> Schema:
    """The columns of an Arrow schema; a field that `Schema.arrow` wrote keeps the logical type it carries.

    Raises RecordError naming the column whose type has no meaning.
    """
    return Schema(columns=tuple(column_of(field) for field in schema))


def column_of(field: pa.Field) -> Column:
    """The column of one Arrow field. Raises RecordError naming the column."""
    stored = stored_type(field)
    plain = field.type.value_type if pt.is_dictionary(field.type) else field.type
    if stored is not None and stored.storage == plain:
        return Column(name=field.name, type=stored)
    try:
        if _levels(field.type) > LEVELS_MAX:
            raise RecordError(
                f"its Arrow type is nested deeper than {LEVELS_MAX} levels, which is the limit",
                hint="give its rows as dicts: then such a column is taken as json",
            )
        return Column(name=field.name, type=from_arrow_type(field.type), declared=str(field.type))
    except RecordError as error:
        raise RecordError(f"column {field.name!r}: {error.message}", hint=error.hint) from None


def _meaningless(type_: pa.DataType) -> RecordError:
    return RecordError(
        f"Arrow type {type_} has no logical type", hint="convert the column in the query or plugin, or leave it out"
    )


def _of_extension(type_: pa.BaseExtensionType) -> LogicalType:
    match type_.extension_name:
        case "arrow.uuid":
            return UUID
        case "arrow.json":
            return JSON
        case "arrow.bool8":
            return BOOL
        case _:
            raise _meaningless(type_)


def _of_number(type_: pa.DataType) -> LogicalType | None:
    if pt.is_null(type_):
        return NULL
    if pt.is_boolean(type_):
        return BOOL
    if pt.is_uint64(type_):
        return LogicalType(kind="decimal", precision=20, scale=0)
    if pt.is_unsigned_integer(type_):
        return LogicalType(kind="int", bits=2 * type_.bit_width)
    if pt.is_integer(type_):
        return LogicalType(kind="int", bits=type_.bit_width)
    if pt.is_floating(type_):
        return LogicalType(kind="float", bits=max(32, type_.bit_width))
    if pt.is_decimal(type_):
        return decimal_type(type_.precision, type_.scale)
    return None


def decimal_type(precision: int, scale: int) -> LogicalType:
    """The decimal of so many digits; a negative scale becomes 0, and past 76 digits it is unconstrained."""
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale, 1)
    if precision > _DECIMAL_DIGITS_MAX:
        return DECIMAL_TEXT
    return LogicalType(kind="decimal", precision=precision, scale=scale)


def _of_text(type_: pa.DataType) -> LogicalType | None:
    if pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_):
        return STRING
    if pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_binary_view(type_):
        return BYTES
    return BYTES if pt.is_fixed_size_binary(type_) and not pt.is_decimal(type_) else None


def _of_time(type_: pa.DataType) -> LogicalType | None:
    if pt.is_date(type_):
        return DATE
    if not (pt.is_time(type_) or pt.is_timestamp(type_) or pt.is_duration(type_)):
        return None
    unit: TimeUnit = "ns" if type_.unit == "ns" else "us"
    if pt.is_timestamp(type_):
        return LogicalType(kind="timestamp", unit=unit, zone=type_.tz is not None)
    return LogicalType(kind="time" if pt.is_time(type_) else "duration", unit=unit)


def _of_nested(type_: pa.DataType) -> LogicalType | None:
    if pt.is_map(type_):
        return LogicalType(
            kind="map",
            children=(("key", from_arrow_type(type_.key_type)), ("value", from_arrow_type(type_.item_type))),
        )
    if is_list(type_):
        return LogicalType(kind="list", children=(("item", from_arrow_type(type_.value_type)),))
    if pt.is_struct(type_):
        names = [field.name for field in type_]
        if len(set(names)) != len(names):
            raise RecordError(f"Arrow type {type_} has two fields of one name")
        return LogicalType(kind="struct", children=tuple((field.name, from_arrow_type(field.type)) for field in type_))
    return None


def _levels(type_: pa.DataType) -> int:
    """How deep a type is nested; 0 for what is not."""
    return max((1 + _levels(type_.field(number).type) for number in range(type_.num_fields)), default=0)


def is_list(type_: pa.DataType) -> bool:
    """Whether it is one of Arrow's five list types."""
    return bool(
        pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_)
        or pt.is_list_view(type_) or pt.is_large_list_view(type_)
    )  # fmt: skip
