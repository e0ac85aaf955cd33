"""Mapped documents as plain JSON values: what destinations that speak JSON are given.

Values are written as in events (see `differ.records.plain`): by their types where these are known, else by what they
are, as for the fields of a hook. A json value, which may be anything that BSON has, comes in one of two forms:

    extended   relaxed Extended JSON, as events have it: {"$oid": "65.."}, {"$date": "2026-.."}; nothing is lost
    simple     what a search index can use: ObjectIds and dates are texts, binary is base64, decimals are texts

Invariant: what is made is what `json.dumps(.., allow_nan=False)` takes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

from differ.records.clock import date_text, datetime_text, duration_text, time_text
from differ.records.decimals import normal_decimal
from differ.records.extended_json import key_value, relaxed_value
from differ.records.json_values import canonical_text
from differ.records.types import LogicalType
from differ.sinks.contract import Change, Document

JsonForm: TypeAlias = Literal["extended", "simple"]
_Types: TypeAlias = Mapping[str, LogicalType]
_BY_TYPE = frozenset({"json", "list", "struct", "map", "decimal"})
"""Of all other types a value says itself how it is written."""
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def plain_document(document: Document, types: _Types, form: JsonForm = "extended") -> dict[str, Any]:
    """The document with plain JSON values. types: of its fields, where known. One Python call a value that is no text;
    a text is itself under every type."""
    return {
        name: value if type(value) is str else plain_value(value, types.get(name), form)
        for name, value in document.items()
    }


def key_text(change: Change) -> str:
    """The canonical JSON text of the key, names sorted: equal for equal keys, also when a decimal's scale grows.

    The same text that partitions are hashed by, when the mapping renames no key column.
    """
    return canonical_json(plain_key(change))


def plain_key(change: Change) -> dict[str, Any]:
    """The key with plain JSON values, as it stands in its text: decimals in normal form, no two json values alike."""
    types = change.types
    return {name: _key_value(value, types.get(name)) for name, value in sorted(change.key.items())}


def shown_key(change: Change) -> dict[str, Any]:
    """The key with plain JSON values, as events show it: in key order, decimals with their scale."""
    return {name: _key_value(value, change.types.get(name), exact=False) for name, value in change.key.items()}


def canonical_json(value: Any) -> str:
    """JSON without spaces. Half a surrogate pair, which UTF-8 may not hold, is written as an escape with the rest."""
    text: str = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def plain_value(value: Any, type_: LogicalType | None = None, form: JsonForm = "extended") -> Any:
    """One value as `json.dumps` takes it. Raises RecordError for a Python class without JSON form."""
    if type_ is not None and type_.kind in _BY_TYPE and value is not None:
        match type_.kind:
            case "json":
                return _simple(value) if form == "simple" else relaxed_value(canonical_text(value))
            case "list":
                return [plain_value(item, type_.children[0][1], form) for item in value]
            case "struct":
                inner = dict(type_.children)
                return {name: plain_value(item, inner.get(name), form) for name, item in value.items()}
            case "map":
                return _map(value, type_, form)
            case "decimal" if type_.precision is None:
                return str(value)  # as it was read
    found = _WRITERS.get(type(value))
    if found is not None:
        return found(value)
    return _other(value, form)


def _map(value: Any, type_: LogicalType, form: JsonForm) -> Any:
    """An object where the keys are texts, else a list of pairs, as the type says."""
    (_, key_type), (_, item_type) = type_.children
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else value
    made = [[plain_value(key, key_type, form), plain_value(item, item_type, form)] for key, item in pairs]
    return dict(made) if key_type.kind == "string" else made


def _key_value(value: Any, type_: LogicalType | None, *, exact: bool = True) -> Any:
    if exact and isinstance(value, Decimal):
        return normal_decimal(value)
    if type_ is not None and type_.kind == "json" and value is not None:
        return key_value(canonical_text(value))
    return plain_value(value, type_)


def _other(value: Any, form: JsonForm) -> Any:
    """Values without a known type that are no scalars of Python's own: of a hook, a constant, or nested ones."""
    if isinstance(value, Mapping):
        return {str(name): plain_value(item, None, form) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item, None, form) for item in value]
    if isinstance(value, datetime):  # pandas.Timestamp is one
        return datetime_text(value)
    if isinstance(value, timedelta):
        return duration_text(value)
    return _simple_scalar(value) if form == "simple" else relaxed_value(canonical_text(value))


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _int(value: int) -> int | str:
    return value if -(2**63) <= value < 2**63 else str(value)


def _decimal(value: Decimal) -> str:
    return f"{value:f}" if value.is_finite() else normal_decimal(value)


def _same(value: Any) -> Any:
    return value


_WRITERS: dict[type, Callable[[Any], Any]] = {
    type(None): _same,
    bool: _same,
    str: _same,
    int: _int,
    float: _float,
    Decimal: _decimal,
    bytes: lambda value: base64.b64encode(value).decode(),
    UUID: str,
    datetime: datetime_text,
    date: date_text,
    time: time_text,
    timedelta: duration_text,
}


def _simple(value: Any) -> Any:
    """A json value with texts and numbers for BSON's own classes."""
    if isinstance(value, Mapping):
        return {name: _simple(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(item) for item in value]
    found = _WRITERS.get(type(value))
    return _simple_scalar(value) if found is None else found(value)


def _simple_scalar(value: Any) -> Any:
    """A BSON class as a text or number; what has no better one keeps its Extended JSON as text."""
    import bson

    match value:
        case bool() | str():
            return value
        case bson.Int64():
            return int(value)
        case bson.ObjectId() | bson.Code():
            return str(value)
        case bson.Decimal128():
            return _decimal(value.to_decimal())
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return datetime_text(value)
        case _:
            return canonical_json(relaxed_value(canonical_text(value)))
