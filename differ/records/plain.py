"""Columns as plain JSON values, by their type alone: what NDJSON, CloudEvents, Debezium and key texts are made of.

    null, bool, string     as they are             date        "2026-11-23"
    int (64 bits)          number                  time        "10:05:00.25"
    float                  number; "NaN", "Infinity", "-Infinity"
    decimal                "19.90", with the column's scale; unconstrained as it was read
    bytes                  base64                  timestamp   "2026-11-23T10:05:00Z", without Z where it has no zone
    uuid                   "7f1c...-..."           duration    "-PT1.5S"
    json                   relaxed Extended JSON   list, struct, map   by the same rules; a map with string keys is an
                                                   object, any other a list of [key, value]

Invariant: whether a value is a number, a string or an object depends on the type, never on the value (a float's NaN
and infinities, which JSON has not, aside).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from differ.records.clock import duration_text_of_nanos
from differ.records.extended_json import relaxed_value
from differ.records.types import LogicalType
from differ.records.values import entries, split, time_texts, zip_structs
from differ.records.views import fixed_values, literal

JsonReader = Callable[[str], Any]
_ZERO_FRACTION = r"\.0+$|(\.[0-9]*[1-9])0+$"


def json_column(array: pa.Array, type_: LogicalType, read: JsonReader = relaxed_value) -> list[Any]:
    """The values of a storage-typed column as what `json.dumps` takes; None for null.

    read: what makes a value of the canonical text of json, also below list, map and struct. Texts are made by Arrow
    and NumPy for whole columns; json, uuid, bytes and nested values one by one.
    """
    match type_.kind:
        case "float":
            return _floats(array)
        case "decimal":
            return list(_decimal_texts(array, type_).to_pylist())
        case "bytes":
            return [None if data is None else base64.b64encode(data).decode() for data in array.to_pylist()]
        case "uuid":
            return [None if data is None else str(UUID(bytes=data)) for data in array.to_pylist()]
        case "json":
            return [None if text is None else read(text) for text in array.to_pylist()]
        case "date" | "timestamp":
            return _moments(array, type_)
        case "time":
            return list(time_texts(array).to_pylist())
        case "duration":
            scale = 1 if type_.unit == "ns" else 1000
            numbers = array.cast(pa.int64()).to_pylist()
            return [None if number is None else duration_text_of_nanos(number * scale) for number in numbers]
        case "list" | "map" | "struct":
            return _nested(array, type_, read)
        case _:
            return list(array.to_pylist())


def _floats(array: pa.Array) -> list[Any]:
    values = array.to_pylist()
    finite = pc.all(pc.is_finite(array)).as_py()
    return values if finite is not False else [_float(value) for value in values]


def _float(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decimal_texts(array: pa.Array, type_: LogicalType) -> pa.StringArray:
    if type_.precision is None:
        return array
    texts = array.cast(pa.string())
    exponent = pc.fill_null(pc.match_substring(texts, "E"), False)
    if not pc.any(exponent).as_py():
        return texts
    # Arrow writes small numbers with an exponent: 0E-10.
    plain = [f"{number:f}" for number in array.filter(exponent).to_pylist()]
    return pc.replace_with_mask(texts, exponent, pa.array(plain, pa.string()))


def _moments(array: pa.Array, type_: LogicalType) -> list[Any]:
    """By NumPy, which knows all years that 64 bits hold."""
    if len(array) == 0:
        return []
    unit = type_.unit if type_.kind == "timestamp" else "D"
    whole = array.cast(pa.int64()) if type_.kind == "timestamp" else array.cast(pa.int32()).cast(pa.int64())
    counts = fixed_values(pc.fill_null(whole, 0))
    texts = pa.array(np.datetime_as_string(counts.view(f"datetime64[{unit}]")).tolist(), pa.string())
    if type_.kind == "timestamp":
        texts = pc.replace_substring_regex(texts, _ZERO_FRACTION, r"\1")
        if type_.zone:
            texts = pc.binary_join_element_wise(texts, literal("Z"), literal(""))
    valid = array.is_valid()
    return list(pc.if_else(valid, texts, pa.scalar(None, pa.string())).to_pylist())


def _nested(array: pa.Array, type_: LogicalType, read: JsonReader) -> list[Any]:
    if type_.kind == "list":
        return split(array, json_column(array.flatten(), type_.children[0][1], read))
    if type_.kind == "struct":
        children = [
            json_column(child, child_type, read)
            for (_, child_type), child in zip(type_.children, array.flatten(), strict=True)
        ]
        return zip_structs(array, [name for name, _ in type_.children], children)
    key_array, value_array = entries(array)
    keys = json_column(key_array, type_.children[0][1], read)
    values = json_column(value_array, type_.children[1][1], read)
    runs = split(array, [[key, value] for key, value in zip(keys, values, strict=True)])
    if type_.children[0][1].kind != "string":
        return runs
    return [None if run is None else dict(run) for run in runs]
