"""json-typed values as text: canonical MongoDB Extended JSON v2, on one line, equal exactly when the values are equal.

Extended JSON keeps every BSON type apart: {"$numberInt":"1"}, {"$numberLong":"1"}, {"$numberDouble":"1.0"}, true and
"1" are five values. Python values that BSON has no type for get tags of our own, which no BSON type uses:

    {"$bigInt":"..."}         an int beyond 64 bits
    {"$bigDecimal":"..."}     a decimal beyond Decimal128
    {"$instant":"...Z"}       a moment with microseconds or nanoseconds (whole milliseconds are BSON's $date)
    {"$localDateTime":"..."}  a datetime without zone
    {"$localDate":"..."}  {"$localTime":"..."}  {"$duration":"PT1.5S"}
    {"$document":{...}}       a document that has a field whose name starts with "$", so that it is no tag

Invariant: canonical_text(loads(text)) == text for each text that canonical_text wrote. Decimals are in normal form, NaN
is one value, -0.0 is 0.0. Top-level keys are sorted; embedded ones keep their order, which BSON compares by.
Source: the MongoDB Extended JSON v2 specification.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.regex import Regex

from differ.errors import RecordError
from differ.records.clock import EPOCH, date_text, datetime_text, duration_text, time_text
from differ.records.decimals import normal_decimal
from differ.records.extended_json import loads, relaxed_value

__all__ = ["NESTING_MAX", "canonical_text", "inner_text", "json_text_canonical", "loads", "relaxed_value", "too_deep"]

_quote: Callable[[str], str] = json.encoder.encode_basestring
NESTING_MAX = 200
"""Levels of documents and arrays in one value. MongoDB's own limit is 100; a fixed one means that what was written can
be read back, whatever the depth of the stack."""
_INT32, _INT64 = 2**31, 2**63
_REGEX_FLAGS = (
    (re.IGNORECASE, "i"), (re.LOCALE, "l"), (re.MULTILINE, "m"), (re.DOTALL, "s"), (re.UNICODE, "u"), (re.VERBOSE, "x"),
)  # fmt: skip


def canonical_text(value: Any, *, sort_all: bool = False) -> str:
    """The canonical text of a Python or BSON value.

    sort_all: sort the keys of embedded documents too, for values whose key order means nothing (SQL's JSON).
    Raises RecordError for a value without exact form: another class, a key that is no string, a lone surrogate, more
    than NESTING_MAX levels of documents and arrays.
    """
    return _checked(
        _document(value, sort_all, 0, top=True) if isinstance(value, Mapping) else _encode(value, sort_all, 0)
    )


def inner_text(value: Any) -> str:
    """The canonical text of a value as it stands inside another: the names of a document keep their order too."""
    return _checked(_encode(value, sort=False, depth=1))


def _checked(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RecordError("a text holds a lone surrogate, which UTF-8 cannot represent") from None
    return text


def json_text_canonical(text: str) -> str:
    """The canonical text of plain JSON, as an SQL JSON column gives it: no digit is lost, key order means nothing.

    A number with fraction or exponent is a double where the double's shortest text is the same number, else a
    decimal. Of duplicate keys the last wins. Raises RecordError for text that is no JSON.
    """
    try:
        value = json.loads(text, parse_float=_number)
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise RecordError(f"a JSON column holds what is no JSON: {error}") from None
    return canonical_text(value, sort_all=True)


def too_deep() -> RecordError:
    """The error for a value of more than NESTING_MAX levels, whoever finds it."""
    return RecordError(f"a value is nested deeper than {NESTING_MAX} levels, which is the limit")


def _number(text: str) -> float | Decimal:
    number, double = Decimal(text), float(text)
    return double if Decimal(repr(double)) == number else number


def _encode(value: Any, sort: bool, depth: int) -> str:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = _encoder_of(value)
    return encoder(value, sort, depth)


def _encoder_of(value: Any) -> Callable[[Any, bool, int], str]:
    """The encoder of a subclass (an IntEnum, SON, pandas.Timestamp) or of a NumPy or pandas scalar."""
    if type(value).__name__ in ("NAType", "NaTType"):  # NaT is a datetime by its class
        return lambda _value, _sort, _depth: "null"
    for base, encoder in _BY_BASE:
        if isinstance(value, base):
            return encoder
    if isinstance(value, Mapping):
        return _document
    unwrap = getattr(value, "item", None)
    if callable(unwrap) and type(value).__module__ == "numpy":
        return lambda found, sort, depth: _encode(found.tolist() if found.ndim else _unwrapped(found), sort, depth)
    raise RecordError(f"a value of Python type {type(value).__name__} has no exact form as json")


def _unwrapped(scalar: Any) -> Any:
    value = scalar.item()
    if isinstance(value, int) and not isinstance(value, bool) and scalar.dtype.kind in "mM":
        import pandas

        return pandas.Timestamp(scalar) if scalar.dtype.kind == "M" else pandas.Timedelta(scalar)
    return value


def _document(value: Mapping[Any, Any], sort: bool, depth: int, top: bool = False) -> str:
    depth = _deeper(depth)
    pairs: list[tuple[str, str]] = []
    tagged = False
    for name, item in value.items():
        if not isinstance(name, str):
            raise RecordError(f"a document has the key {name!r}, which is no string")
        tagged = tagged or name[:1] == "$"
        # The commonest kinds without a call; a document is mostly these.
        kind = type(item)
        if kind is str:
            text = _quote(item)
        elif kind is int and -_INT32 <= item < _INT32:
            text = f'{{"$numberInt":"{item}"}}'
        else:
            text = (_ENCODERS.get(kind) or _encoder_of(item))(item, sort, depth)
        pairs.append((name, text))
    if sort or top:
        pairs.sort()
    body = "{" + ",".join([_quote(name) + ":" + text for name, text in pairs]) + "}"
    return f'{{"$document":{body}}}' if tagged else body


def _array(value: Any, sort: bool, depth: int) -> str:
    depth = _deeper(depth)
    return "[" + ",".join([(_ENCODERS.get(type(item)) or _encoder_of(item))(item, sort, depth) for item in value]) + "]"


def _deeper(depth: int) -> int:
    if depth >= NESTING_MAX:
        raise too_deep()
    return depth + 1


def _int(value: int, _sort: bool, _depth: int) -> str:
    if -_INT32 <= value < _INT32:
        return f'{{"$numberInt":"{int(value)}"}}'
    return _long(value, _sort, _depth)


def _long(value: int, _sort: bool, _depth: int) -> str:
    tag = "$numberLong" if -_INT64 <= value < _INT64 else "$bigInt"
    return f'{{"{tag}":"{int(value)}"}}'


def _float(value: float, _sort: bool, _depth: int) -> str:
    number = float(value) + 0.0  # makes -0.0 into 0.0
    if math.isfinite(number):
        return f'{{"$numberDouble":"{number!r}"}}'
    text = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return f'{{"$numberDouble":"{text}"}}'


def _decimal(value: Decimal, _sort: bool, _depth: int) -> str:
    text = normal_decimal(value)
    _, digits, exponent = value.as_tuple()
    fits = not isinstance(exponent, int) or (len(digits) <= 34 and -6176 <= exponent <= 6111) or _fits_decimal128(text)
    return f'{{"{"$numberDecimal" if fits else "$bigDecimal"}":"{text}"}}'


def _fits_decimal128(text: str) -> bool:
    try:
        return normal_decimal(Decimal128(text).to_decimal()) == text
    except ArithmeticError:
        return False


def _datetime(value: datetime, _sort: bool, _depth: int) -> str:
    if value.tzinfo is None:
        return f'{{"$localDateTime":"{datetime_text(value)}"}}'
    if value.microsecond % 1000 or getattr(value, "nanosecond", 0):
        return f'{{"$instant":"{datetime_text(value)}"}}'
    return _millis((value - EPOCH) // timedelta(milliseconds=1))


def _millis(millis: int) -> str:
    return f'{{"$date":{{"$numberLong":"{millis}"}}}}'


def _binary(value: bytes, subtype: int) -> str:
    return f'{{"$binary":{{"base64":"{base64.b64encode(value).decode()}","subType":"{subtype:02x}"}}}}'


def _regex(value: Any, _sort: bool, _depth: int) -> str:
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode()
    options = "".join(letter for flag, letter in _REGEX_FLAGS if value.flags & flag)
    return f'{{"$regularExpression":{{"pattern":{_quote(pattern)},"options":"{options}"}}}}'


def _code(value: Any, sort: bool, depth: int) -> str:
    scope = "" if value.scope is None else f',"$scope":{_encode(value.scope, sort, depth)}'
    return f'{{"$code":{_quote(str(value))}{scope}}}'


def _dbref(value: Any, sort: bool, depth: int) -> str:
    parts = [f"{_quote(name)}:{_encode(item, sort, depth + 1)}" for name, item in value.as_doc().items()]
    return "{" + ",".join(parts) + "}"


_ENCODERS: dict[type, Callable[[Any, bool, int], str]] = {
    str: lambda value, _sort, _depth: _quote(value),
    type(None): lambda _value, _sort, _depth: "null",
    bool: lambda value, _sort, _depth: "true" if value else "false",
    int: _int,
    float: _float,
    dict: _document,
    list: _array,
    tuple: _array,
    bson.ObjectId: lambda value, _sort, _depth: f'{{"$oid":"{value}"}}',
    Int64: _long,
    datetime: _datetime,
    DatetimeMS: lambda value, _sort, _depth: f'{{"$date":{{"$numberLong":"{int(value)}"}}}}',
    Decimal: _decimal,
    Decimal128: lambda value, sort, depth: _decimal(value.to_decimal(), sort, depth),
    bson.Binary: lambda value, _sort, _depth: _binary(value, value.subtype),
    bytes: lambda value, _sort, _depth: _binary(value, 0),
    bytearray: lambda value, _sort, _depth: _binary(bytes(value), 0),
    memoryview: lambda value, _sort, _depth: _binary(bytes(value), 0),
    UUID: lambda value, _sort, _depth: _binary(value.bytes, 4),
    date: lambda value, _sort, _depth: f'{{"$localDate":"{date_text(value)}"}}',
    time: lambda value, _sort, _depth: f'{{"$localTime":"{time_text(value)}"}}',
    timedelta: lambda value, _sort, _depth: f'{{"$duration":"{duration_text(value)}"}}',
    bson.Timestamp: lambda value, _sort, _depth: f'{{"$timestamp":{{"t":{value.time},"i":{value.inc}}}}}',
    Regex: _regex,
    re.Pattern: _regex,
    bson.Code: _code,
    bson.DBRef: _dbref,
    bson.MinKey: lambda _value, _sort, _depth: '{"$minKey":1}',
    bson.MaxKey: lambda _value, _sort, _depth: '{"$maxKey":1}',
}
# Narrow classes first: Int64 is an int, Code a str, datetime a date, Binary bytes.
_BY_BASE: tuple[tuple[type, Callable[[Any, bool, int], str]], ...] = tuple(
    (base, _ENCODERS[base])
    for base in (
        bool, Int64, int, float, bson.Code, str, datetime, date, time, timedelta, bson.Binary, bytes, Decimal, UUID,
        list, tuple,
    )
)  # fmt: skip
