"""List, map and struct values as canonical text, made child column by child column.

    list    [item,item]
    map     [[key,value],...] sorted by key text, for a map's entries have no order
    struct  {"name":value,...} sorted by name
    others  the canonical Extended JSON of the Python value; a json child's own text

A null is `null`; a json child that is the JSON value null is {"$json":null}.

Invariant: two values of one type have equal texts exactly when they are equal.
"""

from __future__ import annotations

import json

import pyarrow as pa

from differ.records.json_values import canonical_text
from differ.records.types import LogicalType
from differ.records.values import entries, python_column, split

_JSON_NULL = '{"$json":null}'


def nested_texts(array: pa.Array, type_: LogicalType) -> pa.StringArray:
    """The canonical text of each value of a list, map or struct column; nulls stay. A Python loop over all leaves."""
    return pa.array(_texts(array, type_), pa.string())


def _texts(array: pa.Array, type_: LogicalType) -> list[str | None]:
    match type_.kind:
        case "list":
            items = _texts(array.flatten(), type_.children[0][1])
            return [None if run is None else "[" + ",".join(run) + "]" for run in split(array, _shown(items))]
        case "map":
            key_array, value_array = entries(array)
            keys = _shown(_texts(key_array, type_.children[0][1]))
            values = _shown(_texts(value_array, type_.children[1][1]))
            pairs = [f"[{key},{value}]" for key, value in zip(keys, values, strict=True)]
            return [None if run is None else "[" + ",".join(sorted(run)) + "]" for run in split(array, pairs)]
        case "struct":
            return _struct_texts(array, type_)
        case "json":
            return [_JSON_NULL if text == "null" else text for text in array.to_pylist()]
        case _:
            return [None if value is None else canonical_text(value) for value in python_column(array, type_)]


def _struct_texts(array: pa.StructArray, type_: LogicalType) -> list[str | None]:
    columns = sorted(
        (name, _shown(_texts(child, child_type)))
        for (name, child_type), child in zip(type_.children, array.flatten(), strict=True)
    )
    heads = [json.dumps(name, ensure_ascii=False) + ":" for name, _ in columns]
    rows = zip(*(texts for _, texts in columns), strict=True) if columns else [()] * len(array)
    texts = ["{" + ",".join(map("".join, zip(heads, row, strict=True))) + "}" for row in rows]
    valid = array.is_valid().to_pylist()
    return [text if present else None for text, present in zip(texts, valid, strict=True)]


def _shown(texts: list[str | None]) -> list[str]:
    return ["null" if text is None else text for text in texts]
