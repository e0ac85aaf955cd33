"""A key as canonical JSON text, and its partition hash: what clients in any language can compute again.

    {"order_id":7}     {"id":"7f...","region":"eu"}

Names sorted by code point, no spaces, UTF-8 with only what JSON makes one escape escaped. Values as in events (see
`plain`), but decimals in normal form, so that a wider scale leaves the text as it is, and json values in the form of
`key_value`.

Invariants: keys with different json values have different texts; partition hash = xxh3_64 of the text's UTF-8 bytes,
frozen for all time. docs/formats/canonical-bytes.md has vectors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from differ.records import addresses
from differ.records.decimals import normal_texts
from differ.records.extended_json import key_value
from differ.records.plain import json_column
from differ.records.types import DECIMAL_TEXT, JSON, LogicalType, Schema
from differ.records.values import python_column
from differ.records.views import literal

__all__ = ["json_column", "key_column", "key_texts", "partition_hashes", "python_column"]

# A quote, a backslash or a control character is escaped by JSON; everything else stands for itself.
_ESCAPED = r'["\\\x00-\x1f]'
_OBJECT_ID = r'^\{"\$oid":"[0-9a-f]{24}"\}$'
_PLAIN_STRING = r'^"[^\\]*"$'


def key_column(array: pa.Array, type_: LogicalType) -> list[Any]:
    """The values of a key column as what `json.dumps` takes: as `json_column`, but no two json values are alike."""
    return json_column(array, type_, key_value if type_.kind == "json" else _inner_value)


def key_texts(keys: pa.StructArray | pa.RecordBatch, schema: Schema) -> pa.StringArray:
    """The canonical JSON text of each key. keys: N keys, storage-typed, whose columns include `schema.key`.

    Vectorised for ints, bools, UUIDs, decimals, dates and texts without escapes; Python for the other values.
    """
    names = sorted(schema.key)
    parts: list[pa.Array | pa.StringScalar] = []
    for index, name in enumerate(names):
        parts.append(literal(("," if index else "{") + json.dumps(name, ensure_ascii=False) + ":"))
        parts.append(_value_texts(_child(keys, name), schema.types[name]))
    texts = pc.binary_join_element_wise(
        *parts, literal("}"), literal(""), null_handling="replace", null_replacement="null"
    )
    return texts.cast(pa.string())


def partition_hashes(texts: pa.StringArray | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """xxh3_64 of the UTF-8 bytes of each key text, unsigned. Vectorised."""
    if len(texts) == 0:
        return np.empty(0, np.uint64)
    found = addresses.hash64_binary(texts)
    if found is not None:
        return found
    import polars as pl
    import polars_hash as plh

    frame = pl.DataFrame({"text": pl.from_arrow(texts)}).select(hash=plh.col("text").nchash.xxh3_64())
    return frame["hash"].to_numpy()


def _inner_value(text: str) -> Any:
    """A json value in a list, map or struct, where null is no value: JSON's own null is another."""
    return {"$json": None} if text == "null" else key_value(text)


def _child(keys: pa.StructArray | pa.RecordBatch, name: str) -> pa.Array:
    return keys.column(name) if isinstance(keys, pa.RecordBatch) else keys.field(name)


def _value_texts(array: pa.Array, type_: LogicalType) -> pa.StringArray:
    """Each value as JSON text; null stays null."""
    match type_.kind:
        case "int" | "bool":
            return array.cast(pa.string())
        case "string":
            return _quoted(array)
        case "decimal":
            texts = array if type_ == DECIMAL_TEXT else array.cast(pa.string())
            return _wrapped(normal_texts(texts))
        case "json":
            return _json_texts(array)
        case "uuid" | "date" | "time" | "timestamp":
            return _wrapped(pa.array(json_column(array, type_), pa.string()))
        case _:
            return _dumped(key_column(array, type_))


def _wrapped(texts: pa.StringArray) -> pa.StringArray:
    return pc.binary_join_element_wise(literal('"'), texts, literal('"'), literal(""))


def _dumped(values: Sequence[object]) -> pa.StringArray:
    dumped = [
        None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values
    ]
    return pa.array(dumped, pa.string())


def _quoted(texts: pa.StringArray) -> pa.StringArray:
    escaped = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), False)
    quoted = _wrapped(texts)
    if not pc.any(escaped).as_py():
        return quoted
    return pc.replace_with_mask(quoted, escaped, _dumped(texts.filter(escaped).to_pylist()))


def _json_texts(texts: pa.StringArray) -> pa.StringArray:
    """Texts as in keys; the commonest keys, an ObjectId and a text, are the same in canonical form."""
    same = pc.or_(pc.match_substring_regex(texts, _OBJECT_ID), pc.match_substring_regex(texts, _PLAIN_STRING))
    others = pc.invert(pc.fill_null(same, True))
    if not pc.any(others).as_py():
        return texts
    return pc.replace_with_mask(texts, others, _dumped(key_column(texts.filter(others), JSON)))
