"""Reading canonical texts back: as Python and BSON values, or as plain JSON in relaxed Extended JSON.

Tags are read from the outside in, so that a document that only looks like a tag, which `canonical_text` wrapped in
$document, stays a document; relaxed values keep that wrapper too.

Invariant: values with different canonical texts have different key values (`key_value`); relaxed values give up one
thing, whether an integer was a 32-bit or a 64-bit one. Source: the MongoDB Extended JSON v2 specification, relaxed
format.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.int64 import Int64
from bson.json_util import JSONOptions, object_hook
from bson.regex import Regex

from differ.errors import CorruptionError
from differ.records.clock import EPOCH, datetime_text, parse_duration

_YEAR_9999_MILLIS = 253402300799999
_YEAR_1_MILLIS = -62135596800000
_INT32 = 2**31
_OPTIONS: JSONOptions = JSONOptions(tz_aware=True)


def loads(text: str) -> Any:
    """The value of a canonical text: bson's classes for BSON types, Python's own for the others, dates in UTC.

    Raises CorruptionError for a text that `canonical_text` cannot have written.
    """
    try:
        return _value(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise CorruptionError(f"read a json value: {error}", hint="run 'differ check'") from None


def from_relaxed(body: Any) -> Any:
    """The value of Extended JSON that `json.loads` read: canonical, relaxed, as in keys, or with older tags ($uuid).

    Raises CorruptionError for a tag with a value that makes no sense.
    """
    try:
        return _from_relaxed(body)
    except (BSONError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CorruptionError(f"read Extended JSON: {type(error).__name__}: {error}") from None


def relaxed_value(text: str) -> Any:
    """The value of a canonical text as plain JSON: numbers are numbers, dates ISO texts in $date, other tags stay.

    Numbers that JSON has not (NaN, Infinity, decimals, ints beyond 64 bits) keep their tag, and a document with a
    field that starts with $ its $document.
    """
    return _relaxed(json.loads(text), keep_long=False)


def key_value(text: str) -> Any:
    """The value of a canonical text as it stands in keys: relaxed, but no two different values are the same.

    An int64 that 32 bits would hold keeps its tag, so that it is not the int32.
    """
    return _relaxed(json.loads(text), keep_long=True)


def _value(body: Any) -> Any:
    if isinstance(body, list):
        return [_value(item) for item in body]
    if not isinstance(body, dict):
        return body
    for tag in body:
        if not tag.startswith("$"):
            break
        return _document(body["$document"]) if tag == "$document" else _READERS[tag](body)
    return _document(body)


def _from_relaxed(body: Any) -> Any:
    if isinstance(body, list):
        return [_from_relaxed(item) for item in body]
    if not isinstance(body, dict):
        return body
    tag = next(iter(body), "")
    if tag == "$document" and len(body) == 1:
        return {name: _from_relaxed(item) for name, item in body[tag].items()}
    if tag == "$date" and isinstance(body[tag], str):
        moment = datetime.fromisoformat(body[tag])
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if tag in _READERS and tag not in _HOLDERS:
        if len(body) > 1:
            raise ValueError(f"{tag} does not stand alone")
        return _READERS[tag](body)
    inner = {name: _from_relaxed(item) for name, item in body.items()}
    return object_hook(inner, _OPTIONS) if tag.startswith("$") else inner


def _document(body: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(item) for name, item in body.items()}


def _moment(millis: int) -> datetime | DatetimeMS:
    if _YEAR_1_MILLIS <= millis <= _YEAR_9999_MILLIS:
        return EPOCH + timedelta(milliseconds=millis)
    return DatetimeMS(millis)


def _datetime(text: str) -> datetime:
    if "." in text and len(text.rstrip("Z").partition(".")[2]) > 6:
        import pandas

        return pandas.Timestamp(text)
    return datetime.fromisoformat(text)


def _time(text: str) -> time:
    return time.fromisoformat(text)


def _binary(body: dict[str, str]) -> bytes | UUID:
    data, subtype = base64.b64decode(body["base64"]), int(body["subType"], 16)
    if subtype == 4 and len(data) == 16:
        return UUID(bytes=data)
    return data if subtype == 0 else bson.Binary(data, subtype)


def _dbref(body: dict[str, Any]) -> bson.DBRef:
    extra = {name: _value(item) for name, item in body.items() if name not in ("$ref", "$id", "$db")}
    return bson.DBRef(body["$ref"], _value(body["$id"]), body.get("$db"), extra)


_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "$oid": lambda body: bson.ObjectId(body["$oid"]),
    "$date": lambda body: _moment(int(body["$date"]["$numberLong"])),
    "$numberInt": lambda body: int(body["$numberInt"]),
    "$numberLong": lambda body: Int64(body["$numberLong"]),
    "$numberDouble": lambda body: float(body["$numberDouble"]),
    "$numberDecimal": lambda body: Decimal128(body["$numberDecimal"]),
    "$bigInt": lambda body: int(body["$bigInt"]),
    "$bigDecimal": lambda body: Decimal(body["$bigDecimal"]),
    "$instant": lambda body: _datetime(body["$instant"]),
    "$localDateTime": lambda body: _datetime(body["$localDateTime"]),
    "$localDate": lambda body: date.fromisoformat(body["$localDate"]),
    "$localTime": lambda body: _time(body["$localTime"]),
    "$duration": lambda body: parse_duration(body["$duration"]),
    "$binary": lambda body: _binary(body["$binary"]),
    "$timestamp": lambda body: bson.Timestamp(body["$timestamp"]["t"], body["$timestamp"]["i"]),
    "$regularExpression": lambda body: Regex(
        body["$regularExpression"]["pattern"], body["$regularExpression"]["options"]
    ),
    "$code": lambda body: bson.Code(body["$code"], _value(body["$scope"]) if "$scope" in body else None),
    "$ref": _dbref,
    "$minKey": lambda _body: bson.MinKey(),
    "$maxKey": lambda _body: bson.MaxKey(),
}

_HOLDERS = ("$ref", "$code")
"""Tags that hold documents, which may have tags of their own."""


def _relaxed(body: Any, *, keep_long: bool) -> Any:
    if isinstance(body, list):
        return [_relaxed(item, keep_long=keep_long) for item in body]
    if not isinstance(body, dict):
        return body
    if len(body) == 1:
        ((tag, item),) = body.items()
        match tag:
            case "$numberInt":
                return int(item)
            case "$numberLong":
                number = int(item)
                return body if keep_long and -_INT32 <= number < _INT32 else number
            case "$numberDouble":
                double = float(item)
                return double if abs(double) < float("inf") else body
            case "$date":
                millis = int(item["$numberLong"])
                moment = _moment(millis)
                return {"$date": datetime_text(moment)} if millis >= 0 and isinstance(moment, datetime) else body
            case "$document":
                return {tag: {name: _relaxed(inner, keep_long=keep_long) for name, inner in item.items()}}
    return {name: _relaxed(item, keep_long=keep_long) for name, item in body.items()}
