"""The names of logical types, as people write them: the inverse of `str(LogicalType)`.

    json  bool  string  bytes  date  uuid  null     decimal  decimal(10,2)
    int int8 int16 int32 int64                      float float32 float64
    time time[ns]   duration duration[ns]           timestamp timestamp[us,UTC] timestamp[ns]
    list<int64>     map<string,int64>               struct<a:int64,b:string>

Invariant: parse_type(str(t)) == t.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from differ.errors import UsageError
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
    TimeUnit,
)  # fmt: skip

_UNITS: tuple[TimeUnit, ...] = ("us", "ns")
_PLAIN: dict[str, LogicalType] = {
    "null": NULL, "bool": BOOL, "string": STRING, "bytes": BYTES, "date": DATE, "uuid": UUID, "json": JSON,
    "int": INT, "float": FLOAT, "decimal": DECIMAL_TEXT, "time": TIME, "duration": DURATION, "timestamp": TIMESTAMP,
    **{f"int{bits}": replace(INT, bits=bits) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": replace(FLOAT, bits=bits) for bits in (32, 64)},
    **{
        f"{type_.kind}[{unit}]": replace(type_, unit=unit)
        for type_ in (TIME, DURATION, TIMESTAMP)
        for unit in _UNITS
    },
    **{f"timestamp[{unit},UTC]": replace(TIMESTAMP, unit=unit, zone=True) for unit in _UNITS},
}  # fmt: skip
_EXAMPLES = ("decimal(10,2)", "list<int>", "map<string,int>", "struct<a:int,b:string>")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def parse_type(text: str) -> LogicalType:
    """The logical type of a name; spaces after commas and colons do not count.

    Raises UsageError naming the nearest valid name.
    """
    compact = re.sub(r"\s*([,:<>()\[\]])\s*", r"\1", text.strip())
    plain = _PLAIN.get(compact)
    if plain is not None:
        return plain
    decimal = _DECIMAL.fullmatch(compact)
    if decimal is not None:
        precision, scale = int(decimal[1]), int(decimal[2])
        if not (1 <= precision <= 76 and scale <= precision):
            raise UsageError(
                f"type {text!r}: a decimal has 1 to 76 digits and no larger scale", hint="'decimal' has no limit"
            )
        return LogicalType(kind="decimal", precision=precision, scale=scale)
    for kind in ("list", "map", "struct"):
        if compact.startswith(f"{kind}<") and compact.endswith(">"):
            return _nested(kind, compact[len(kind) + 1 : -1], text)
    raise _unknown(text)


def _unknown(text: str) -> UsageError:
    known = [*_PLAIN, *_EXAMPLES]
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.0)
    return UsageError(f"{text!r} is no logical type", hint=f"did you mean {near[0]!r}?" if near else None)


def _nested(kind: str, body: str, text: str) -> LogicalType:
    parts = _split(body)
    if kind == "struct":
        fields = [_field(part, text) for part in parts]
        if len({name for name, _ in fields}) != len(fields):
            raise UsageError(f"type {text!r} has two fields of one name")
        return LogicalType(kind="struct", children=tuple(fields))
    names = ("item",) if kind == "list" else ("key", "value")
    if len(parts) != len(names):
        raise _unknown(text)
    children = tuple((name, parse_type(part)) for name, part in zip(names, parts, strict=True))
    return LogicalType(kind="list" if kind == "list" else "map", children=children)


def _field(part: str, text: str) -> tuple[str, LogicalType]:
    name, colon, type_ = part.partition(":")
    if not (name and colon):
        raise _unknown(text)
    return name, parse_type(type_)


def _split(body: str) -> list[str]:
    """The parts between the commas that stand in no bracket."""
    if not body:
        return []
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(body):
        depth += (letter in "<([") - (letter in ">)]")
        if letter == "," and depth == 0:
            parts.append(body[start:position])
            start = position + 1
    return [*parts, body[start:]]
