"""Keys as people type them: `7`, `region=eu,id=7`, or JSON, turned into the type of the key's columns.

Equality is that of the canonical key text, so `--key 7` and `--key 07` find the same row of an integer key. A key
column of type json has no fixed type, so a plain text is read in each way it could be meant: `7` as a number and as the
string, 24 hex digits also as an ObjectId. Extended JSON (`"7"`, `{"$oid":".."}`, `{"$numberLong":"7"}`), as events show
keys, means one of them; a number in a JSON object (`{"_id":7}`) may be an int32 and an int64, as in a MongoDB query.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from differ.errors import CorruptionError, DifferError, UsageError
from differ.formats.batch import EventBatch
from differ.records.decimals import normal_text
from differ.records.extended_json import from_relaxed
from differ.records.json_values import canonical_text
from differ.records.keytext import key_texts
from differ.records.types import LogicalType, Schema

_EXAMPLES = {
    "bool": "true",
    "int": "7",
    "float": "1.5",
    "decimal": "19.90",
    "string": "some text",
    "bytes": "base64, as aGVsbG8=",
    "date": "2026-11-23",
    "time": "10:05:00",
    "timestamp": "2026-11-23T10:05:00",
    "uuid": "12345678-1234-5678-1234-567812345678",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that was asked for: as it was typed, and the canonical key texts it may mean (mostly one)."""

    shown: str
    texts: frozenset[str]


def parse_key(text: str, schema: Schema) -> Key:
    """Read a key from a command line or URL: a plain value, `column=value,...` for several columns, or JSON.

    schema: the source's; its key says the columns. Raises UsageError that says what is expected.
    """
    columns = schema.key_schema.types
    given = _given(text, columns)
    readings = [_readings(given[name], name, type_) for name, type_ in columns.items()]
    rows = [dict(zip(columns, values, strict=True)) for values in product(*readings)]
    structs = pa.array(rows, type=pa.struct(list(schema.key_schema.arrow)))
    return Key(shown=text, texts=frozenset(key_texts(structs, schema).to_pylist()))


def key_mask(batch: EventBatch, key: Key) -> pa.BooleanArray:
    """Which of the batch's events are of this key; for `EventBatch.take`. Cost: the key text of each event."""
    texts = key_texts(batch.images("key"), batch.key_schema)
    return pc.is_in(texts, value_set=pa.array(sorted(key.texts), type=pa.string()))


def _given(text: str, columns: Mapping[str, LogicalType]) -> Mapping[str, Any]:
    """The value that was given for each key column, still as text or JSON."""
    body = _json_object(text)
    if body is not None and body.keys() == columns.keys():
        return body
    if len(columns) == 1:
        return dict.fromkeys(columns, text)
    found = body if body is not None else dict(_pairs(text, columns))
    if found.keys() != columns.keys():
        example = ",".join(f"{name}={_EXAMPLES.get(type_.kind, '..')}" for name, type_ in columns.items())
        raise UsageError(
            f"key {text!r}: the key has the columns {', '.join(columns)}",
            hint=f"give all of them, as --key '{example}' or as a JSON object",
        )
    return found


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _pairs(text: str, columns: Mapping[str, LogicalType]) -> Iterator[tuple[str, str]]:
    """Cut `region=eu,id=7` at the commas that stand before a key column's name, so values may hold commas."""
    names = "|".join(re.escape(name) for name in sorted(columns, key=len, reverse=True))
    marks = list(re.finditer(rf"(?:^|,)\s*({names})\s*=", text))
    starts = [mark.start() for mark in marks] + [len(text)]
    for mark, end in zip(marks, starts[1:], strict=True):
        yield mark.group(1), text[mark.end() : end].strip()


def _readings(value: Any, name: str, type_: LogicalType) -> list[Any]:
    """The storage values that a given value may mean; one, but for a json column."""
    if type_.kind == "json":
        return _json_readings(value)
    if isinstance(value, bool):
        value = "true" if value else "false"
    try:
        if not isinstance(value, str | int | float):
            raise ValueError(value)
        return [_storage_value(str(value), type_)]
    except (ValueError, ArithmeticError, DifferError, pa.ArrowException):
        example = _EXAMPLES.get(type_.kind, str(type_))
        raise UsageError(f"key column {name!r}: {value!r} is no {type_}", hint=f"write it as: {example}") from None


def _storage_value(text: str, type_: LogicalType) -> Any:
    special = _SPECIAL.get(type_.kind)
    if special is not None and not (type_.kind == "decimal" and type_.precision is not None):
        return special(text)
    if type_.kind == "timestamp" and type_.zone and not re.search(r"(Z|[+-]\d\d:?\d\d)$", text):
        text += "Z"
    # Arrow parses exactly: no rounding to a decimal's scale, no silent overflow of an int.
    return pc.cast(pa.array([text]), type_.storage)[0]


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_SPECIAL: dict[str, Callable[[str], Any]] = {
    "bool": _bool,
    "string": str,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "uuid": lambda text: UUID(text).bytes,
    "decimal": normal_text,
}


def _json_readings(value: Any) -> list[str]:
    """The canonical texts of what a plain text or a JSON value may mean in a column without fixed type."""
    if not isinstance(value, str):
        return _canonical(_whole(value) if type(value) is int else [_extended(value, str(value))])
    if value[:1] in ("{", "[", '"'):
        try:
            body = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"key {value!r}: {error}", hint=_HINT) from None
        return _canonical([_extended(body, value)])
    return _canonical(_plain_readings(value))


_HINT = "write it as MongoDB Extended JSON"


def _extended(body: Any, shown: str) -> Any:
    try:
        return from_relaxed(body)
    except CorruptionError as error:
        raise UsageError(f"key {shown!r}: {error.message}", hint=_HINT) from None


def _canonical(values: Iterable[Any]) -> list[str]:
    """The order of names counts in a BSON document and not in SQL's JSON, which is kept sorted: both are tried."""
    texts = [(canonical_text([value])[1:-1], canonical_text(value, sort_all=True)) for value in values]
    return list(dict.fromkeys(text for pair in texts for text in pair))


def _whole(number: int) -> list[Any]:
    from bson import Int64

    return [number, Int64(number)] if -(2**63) <= number < 2**63 else [number]


def _plain_readings(text: str) -> Iterator[Any]:
    from bson import ObjectId

    if ObjectId.is_valid(text):
        yield ObjectId(text)
    if re.fullmatch(r"-?[0-9]+", text):
        yield from _whole(int(text))
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        from decimal import Decimal

        yield float(text)
        yield Decimal(text)
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        yield UUID(text)
    if text in ("true", "false"):
        yield text == "true"
    yield text
