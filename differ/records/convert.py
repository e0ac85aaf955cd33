"""Stored rows under another schema: the exact value where there is one, else null and a mark.

This is what lets a schema evolve without false updates: the previous state is carried over to the new schema and
re-fingerprinted; only rows that could not be carried over, or whose values truly differ, become events.

    exact for every value     same layout; us -> ns; int -> decimal; narrow -> wide decimal; anything -> json (tagged)
    exact where equal         int <-> float, decimal <-> int, float, decimal and decimal text; ns -> us; nested by text
    never exact               all other changes of kind: int -> string, timestamp without zone -> with zone

Invariant: where the mask is False, the new value equals the old one. Source: schema resolution in Avro, made exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from differ.records.cells import array_of
from differ.records.json_values import canonical_text
from differ.records.nested import nested_texts
from differ.records.numbers import exact_number
from differ.records.types import LogicalType, Schema
from differ.records.values import python_column
from differ.records.views import fixed_values, flags

Mask = npt.NDArray[np.bool_]


def convert(batch: pa.RecordBatch, old: Schema, new: Schema) -> tuple[pa.RecordBatch, Mask]:
    """The rows of `old` as rows of `new`, and a mask of the N rows that have some value without exact equal.

    A column that `old` lacks is null; one that `new` lacks goes. Vectorised but for json and nested targets.
    """
    inexact = np.zeros(batch.num_rows, np.bool_)
    arrays = []
    for column in new.columns:
        source = old.types.get(column.name)
        if source is None:
            arrays.append(pa.nulls(batch.num_rows, column.type.storage))
            continue
        array, mask = convert_array(batch.column(column.name), source, column.type)
        arrays.append(array)
        inexact |= mask
    if not arrays:
        return batch.select([]), inexact
    return pa.RecordBatch.from_arrays(arrays, schema=new.arrow), inexact


def convert_array(array: pa.Array, old: LogicalType, new: LogicalType) -> tuple[pa.Array, Mask]:
    """One column carried over: the array in `new.storage`, null where inexact, and the mask of inexact values."""
    if old.layout == new.layout and array.type == new.storage:
        return array, np.zeros(len(array), np.bool_)
    if old.kind == "null" or array.null_count == len(array):
        return pa.nulls(len(array), new.storage), np.zeros(len(array), np.bool_)
    convertor = _convertor(old, new)
    return _refuse(array, new) if convertor is None else convertor(array, old, new)


_Convertor = Callable[[pa.Array, LogicalType, LogicalType], tuple[pa.Array, Mask]]
_NUMBERS = ("int", "float", "decimal")
_CLOCKED = ("time", "timestamp", "duration")
_NESTED = ("list", "map", "struct")


def _convertor(old: LogicalType, new: LogicalType) -> _Convertor | None:
    if new.kind == "json":
        return _tag
    if old.kind in _NUMBERS and new.kind in _NUMBERS:
        return _number
    if old.kind in _CLOCKED and old.kind == new.kind and old.zone == new.zone:
        return _unit
    if old.kind in _NESTED and old.kind == new.kind:
        return _by_text
    return None


def _refuse(array: pa.Array, new: LogicalType) -> tuple[pa.Array, Mask]:
    return pa.nulls(len(array), new.storage), flags(array.is_valid())


def _keep(array: pa.Array, converted: pa.Array, equal: Mask) -> tuple[pa.Array, Mask]:
    """`converted` where equal, null elsewhere; inexact where a value was not equal."""
    inexact = ~equal & flags(array.is_valid())
    if inexact.any():
        converted = pc.if_else(pa.array(inexact), pa.scalar(None, converted.type), converted)
    return converted, inexact


def _tag(array: pa.Array, old: LogicalType, new: LogicalType) -> tuple[pa.Array, Mask]:
    texts = [None if value is None else canonical_text(value) for value in python_column(array, old)]
    return pa.array(texts, new.storage), np.zeros(len(array), np.bool_)


def _unit(array: pa.Array, old: LogicalType, new: LogicalType) -> tuple[pa.Array, Mask]:
    counts = fixed_values(pc.fill_null(array.cast(pa.int64()), 0))
    if new.unit == "ns":
        equal = np.abs(counts // 1000) < 2**63 // 1_000_000
        converted = np.where(equal, counts, 0) * 1000
    else:
        equal, converted = counts % 1000 == 0, counts // 1000
    made = pa.array(converted, pa.int64(), mask=~flags(array.is_valid())).cast(new.storage)
    return _keep(array, made, equal)


def _number(array: pa.Array, old: LogicalType, new: LogicalType) -> tuple[pa.Array, Mask]:
    if old.kind == "int" and new.kind == "float":
        return _int_to_float(array, new)
    if old.kind == "float" and new.kind == "int":
        return _float_to_int(array, new)
    if old.kind == "int" and new.precision is not None and new.precision - (new.scale or 0) >= 19:
        return array.cast(pa.decimal128(19, 0)).cast(new.storage), np.zeros(len(array), np.bool_)
    if old.precision is not None and new.precision is not None and (new.scale or 0) >= (old.scale or 0):
        try:
            return array.cast(new.storage), np.zeros(len(array), np.bool_)
        except pa.ArrowInvalid:
            pass  # Some value is too long for the new storage: decide one by one.
    return _number_by_value(array, old, new)


def _int_to_float(array: pa.Array, new: LogicalType) -> tuple[pa.Array, Mask]:
    whole = fixed_values(pc.fill_null(array, 0))
    doubles = whole.astype(np.float64)
    # 2**63 as a double would wrap on the way back, so it counts as not equal before it is tried.
    safe = np.where(np.abs(doubles) < 2.0**63, doubles, 0.0)
    equal = (safe.astype(np.int64) == whole) | (whole == -(2**63))
    made = pa.array(doubles, new.storage, mask=~flags(array.is_valid()))
    return _keep(array, made, equal)


def _float_to_int(array: pa.Array, new: LogicalType) -> tuple[pa.Array, Mask]:
    doubles = fixed_values(pc.fill_null(array, 0.0))
    equal = (doubles == np.floor(doubles)) & (doubles >= -(2.0**63)) & (doubles < 2.0**63)
    whole = np.where(equal, doubles, 0.0).astype(np.int64)
    return _keep(array, pa.array(whole, pa.int64(), mask=~flags(array.is_valid())).cast(new.storage), equal)


def _number_by_value(array: pa.Array, old: LogicalType, new: LogicalType) -> tuple[pa.Array, Mask]:
    """Where Arrow's own casts round or fail as a whole: each value by Python's exact arithmetic."""
    values: list[Any] = [None if value is None else exact_number(value, new) for value in python_column(array, old)]
    made = pa.array(values, new.storage)
    return made, flags(pc.and_(array.is_valid(), made.is_null()))


def _by_text(array: pa.Array, old: LogicalType, new: LogicalType) -> tuple[pa.Array, Mask]:
    values = python_column(array, old)
    made = _array_or_nulls(values, new)
    equal = flags(pc.fill_null(pc.equal(nested_texts(array, old), nested_texts(made, new)), False))
    return _keep(array, made, equal)


def _array_or_nulls(values: list[Any], new: LogicalType) -> pa.Array:
    try:
        return array_of(values, new)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        pass
    made = []
    for value in values:
        try:
            made.append(array_of([value], new))
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            made.append(pa.nulls(1, new.storage))
    return pa.concat_arrays(made) if made else pa.nulls(0, new.storage)
