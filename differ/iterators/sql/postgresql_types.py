"""PostgreSQL's types as logical types, and how each is selected so that nothing is lost.

| PostgreSQL                                  | becomes            | selected as                                   |
|---------------------------------------------|--------------------|-----------------------------------------------|
| boolean                                     | bool               |                                               |
| smallint, integer, bigint; oid              | int16, 32, 64; int64 | oid: bigint                                 |
| real; double precision                      | float32; float64   | double precision, so that every bit is kept   |
| numeric(p,s), p up to 76                    | decimal(p,s)       | text                                          |
| numeric; money                              | decimal, any scale | text, NaN and infinities kept; money: numeric |
| text, varchar, char, name                   | string             | char keeps its padding                        |
| bytea; uuid                                 | bytes; uuid        | uuid: its 16 bytes                            |
| date; time; timestamp; timestamptz          | the same, in us    | ISO text, in UTC                              |
| json, jsonb                                 | json               | text, so that no digit is lost                |
| arrays                                      | json               | to_json(); elements with no JSON form as text |
| all others                                  | string             | their text output; interval as ISO 8601       |

All others are enums, timetz, interval, network addresses, ranges, bit strings, xml, hstore, tsvector, composites,
geometric types and whatever an extension brings. A domain is what its base type is.

COPY takes what the server writes for the column, which is the text above but for bool (t, f), bytea (hexadecimal
digits) and uuid (36 characters); see `_text`.

A value that a type above has no place for (infinity, year 10000, BC, 24:00:00, NaN in a numeric(p,s)) is a
RecordError that names the column; `as_text` reads such a column as text.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from differ.iterators.sql.fields import (
    PARAMETER,
    Convert,
    Field,
    Text,
    from_text,
    json_texts,
    plain,
    unchanged,
    unconstrained,
)
from differ.iterators.sql.texts import bools, hex_bytes, parser
from differ.records.types import JSON, UUID, Column, LogicalType

STRING = LogicalType(kind="string")
DECIMAL = LogicalType(kind="decimal")
PRECISION_MAX = 76
NARROW_DIGITS_MAX = 38

# OIDs of built-in types never change; see pg_type.dat in the server's source.
_INTS = {21: 16, 23: 32, 20: 64}
_RAW = {
    16: LogicalType(kind="bool"),
    17: LogicalType(kind="bytes"),
    19: STRING,
    25: STRING,
    1042: STRING,
    1043: STRING,
    701: LogicalType(kind="float", bits=64),
} | {oid: LogicalType(kind="int", bits=bits) for oid, bits in _INTS.items()}
_CAST = {
    26: (LogicalType(kind="int", bits=64), "bigint"),
    700: (LogicalType(kind="float", bits=32), "double precision"),
}
_TEXT = {
    1082: LogicalType(kind="date"),
    1083: LogicalType(kind="time", unit="us"),
    1114: LogicalType(kind="timestamp", unit="us"),
    1184: LogicalType(kind="timestamp", unit="us", zone=True),
}
_BOOL, _BYTEA, _FLOAT4, _FLOAT8, _MONEY, _NUMERIC, _UUID = 16, 17, 700, 701, 790, 1700, 2950
_JSON = (114, 3802)
_JSON_ELEMENTS = (16, 19, 25, 1042, 1043, *_INTS, *_JSON, _FLOAT8)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerType:
    """A type as the server describes it: `element` is the OID of an array's elements, 0 for no array."""

    oid: int
    modifier: int
    element: int
    declared: str


def field_for(name: str, column: str, type_: ServerType, as_text: bool) -> Field:
    """The field of one column; `column` is its quoted name."""
    logical, expression, convert = (STRING, _as_text(column), plain(STRING)) if as_text else _mapping(column, type_)
    return Field(
        column=Column(name=name, type=logical, declared=type_.declared),
        expression=f"{expression} AS {column}",
        convert=convert,
        match=f"{column} = CAST({PARAMETER} AS {type_.declared})",
        bind=unchanged,
        text=_text(column, expression, logical, 0 if as_text else type_.oid),
    )


def _text(column: str, expression: str, logical: LogicalType, oid: int) -> Text:
    """How COPY brings the column; a type whose output is not what a cast to text gives keeps its expression."""
    if oid == _BOOL:
        return Text(expression=column, parse=bools, csv=logical.storage)
    if oid == _BYTEA:
        return Text(expression=column, parse=hex_bytes)
    if oid in _RAW or oid in _CAST:
        # A real as double precision: its own shortest text means another double.
        return Text(expression=expression, parse=parser(logical), csv=logical.storage)
    if oid == _NUMERIC:
        # Arrow's CSV reader makes no decimals of more than 128 bits.
        narrow = logical.precision is not None and logical.precision <= NARROW_DIGITS_MAX
        return Text(expression=column, parse=parser(logical), csv=logical.storage if narrow else None)
    if oid == _UUID or oid in _JSON:
        return Text(expression=column, parse=parser(logical))
    if oid in _TEXT:
        # An instant comes without its zone; reading on makes it one.
        csv = pa.timestamp("us") if logical.zone else logical.storage
        return Text(expression=expression if logical.zone else column, parse=parser(logical), csv=csv)
    return Text(expression=expression, parse=parser(logical))


def _as_text(column: str) -> str:
    return f"CAST({column} AS text)"


def _mapping(column: str, type_: ServerType) -> tuple[LogicalType, str, Convert]:
    """Logical type, SQL expression and conversion."""
    oid = type_.oid
    if oid in _RAW:
        return _RAW[oid], column, plain(_RAW[oid])
    if oid in _CAST:
        logical, target = _CAST[oid]
        return logical, f"CAST({column} AS {target})", plain(logical)
    if oid in _TEXT:
        # Infinity and years beyond four digits do not parse, and neither does BC behind a date; behind a zone it must
        # not be cut off, so the zone (always +00) is.
        zoned = f"replace({_as_text(column)}, '+00', '')" if _TEXT[oid].zone else _as_text(column)
        return _TEXT[oid], zoned, from_text(_TEXT[oid])
    if oid == _NUMERIC:
        logical = _numeric(type_.modifier)
        return logical, _as_text(column), from_text(logical)
    if oid == _MONEY:
        return DECIMAL, f"CAST(CAST({column} AS numeric) AS text)", unconstrained
    if oid == _UUID:
        return UUID, f"uuid_send({column})", plain(UUID)
    if oid in _JSON:
        return JSON, _as_text(column), json_texts
    if type_.element:
        return JSON, _array(column, type_.element), json_texts
    return STRING, _as_text(column), plain(STRING)


def _numeric(modifier: int) -> LogicalType:
    """numeric(p,s) from its type modifier; the scale may be negative or above the precision."""
    if modifier < 4:
        return DECIMAL
    precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
    scale = scale - 0x800 if scale >= 0x400 else scale
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    return LogicalType(kind="decimal", precision=precision, scale=scale) if precision <= PRECISION_MAX else DECIMAL


def _array(column: str, element: int) -> str:
    if element == _FLOAT4:
        column = f"CAST({column} AS double precision[])"
    elif element not in _JSON_ELEMENTS:
        column = f"CAST({column} AS text[])"
    return f"CAST(to_json({column}) AS text)"
