"""MariaDB's and MySQL's types as logical types, and how each is selected so that nothing is lost.

| MariaDB                            | becomes                | selected as                                       |
|------------------------------------|------------------------|---------------------------------------------------|
| TINYINT .. BIGINT, YEAR            | int8 to int64          | BOOLEAN is TINYINT(1) and cannot be told from it  |
| BIGINT UNSIGNED                    | decimal(20,0)          |                                                   |
| BIT(n)                             | int64; 64: decimal(20,0) | UNSIGNED                                        |
| DECIMAL(p,s)                       | decimal(p,s)           |                                                   |
| FLOAT; DOUBLE                      | float32; float64       | FLOAT: DOUBLE, or it is rounded to six digits     |
| CHAR, VARCHAR, TEXT, ENUM, SET     | string                 |                                                   |
| BINARY, VARBINARY, BLOB            | bytes                  |                                                   |
| GEOMETRY and its kinds             | bytes                  | four bytes of SRID, then WKB, as it is stored     |
| DATE; DATETIME                     | date; timestamp[us]    | text                                              |
| TIMESTAMP                          | timestamp[us,UTC]      | text, in a session whose time zone is UTC         |
| TIME                               | duration[us]           | text: it may be negative, or over a day           |
| JSON                               | json                   | MariaDB's is LONGTEXT with CHECK(json_valid(..))  |
| UUID, INET4, INET6, all others     | uuid; string           | text                                              |

What is sent packed (see `mariadb_packed`) is the server's text of the column, but for FLOAT and BIT, which keep what
they are selected as; bytes, JSON, GEOMETRY and texts that may be long are never packed.

Zero dates ('0000-00-00', '2024-00-00') have no place in a date: a RecordError names the column; `as_text` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from differ.iterators.sql.fields import (
    PARAMETER,
    Convert,
    Field,
    Text,
    from_text,
    json_texts,
    parsed,
    plain,
    unchanged,
    uuid_bytes,
)
from differ.iterators.sql.texts import durations, parser
from differ.records.types import JSON, UUID, Column, LogicalType

STRING = LogicalType(kind="string")
BYTES = LogicalType(kind="bytes")
UNSIGNED_64 = LogicalType(kind="decimal", precision=20, scale=0)

_INT_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 32, "int": 32, "integer": 32, "bigint": 64, "year": 16}
_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
_BLOBS = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_SHAPES = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
)  # fmt: skip
_FROM_TEXT = {
    "date": LogicalType(kind="date"),
    "datetime": LogicalType(kind="timestamp", unit="us"),
    "timestamp": LogicalType(kind="timestamp", unit="us", zone=True),
}

# Field types and flags of the client protocol; https://mariadb.com/kb/en/result-set-packets/
_KINDS = {
    0: "decimal", 1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 6: "null", 7: "timestamp",
    8: "bigint", 9: "mediumint", 10: "date", 11: "time", 12: "datetime", 13: "year", 14: "date", 15: "text",
    16: "bit", 17: "timestamp", 18: "datetime", 19: "time", 245: "json", 246: "decimal", 247: "text", 248: "text",
    249: "blob", 250: "blob", 251: "blob", 252: "blob", 253: "text", 254: "text", 255: "geometry",
}  # fmt: skip
_UNSIGNED_FLAG = 32

_UTF8 = ("utf8mb4", "utf8mb3", "utf8", "ascii")
UTF8_BYTES_MAX = 4
"""Of one character, and of what one byte of another character set becomes."""
SHORT_BYTES_MAX = 260
"""The text of a number (DECIMAL(65,30), INT(255) ZEROFILL), a moment, a UUID or a network address is no longer."""
_SIZES = {"tinytext": 255, "text": 65_535}
_SHORT = (*_INT_BITS, "decimal", "numeric", "float", "double", "bit", "time", "uuid", "inet4", "inet6", *_FROM_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerType:
    """A column's type: the first word of its declaration, and what it says in brackets and behind.

    charset: of a text, "" where it is not known. bytes_max: how long a text can be, None where that is not known.
    """

    kind: str
    declared: str
    unsigned: bool = False
    precision: int = 0
    scale: int = 0
    charset: str = ""
    bytes_max: int | None = None


def from_declared(declared: str, collation: str | None) -> ServerType:
    """Read a declaration such as `decimal(10,2) unsigned`; a column without collation is no text."""
    match = re.match(r"(\w+)(?:\((\d+)(?:,(\d+))?\))?", declared)
    kind, precision, scale = (match[1].lower(), int(match[2] or 0), int(match[3] or 0)) if match else (declared, 0, 0)
    if kind in _TEXTS and collation is None:
        kind = "blob"
    return ServerType(
        kind=kind,
        declared=declared,
        unsigned="unsigned" in declared.lower(),
        precision=precision,
        scale=scale,
        charset=(collation or "").partition("_")[0],
        bytes_max=_size(kind, declared, precision),
    )


def _size(kind: str, declared: str, characters: int) -> int | None:
    if kind in ("char", "varchar"):
        return characters * UTF8_BYTES_MAX
    # A value of ENUM or SET is part of its declaration.
    return len(declared.encode()) if kind in ("enum", "set") else _SIZES.get(kind)


def from_metadata(code: int, length: int, decimals: int, flags: int) -> ServerType:
    """Read the description of a result's column."""
    kind = _KINDS.get(code, "text")
    unsigned = bool(flags & _UNSIGNED_FLAG)
    precision, scale, declared = 0, 0, kind
    if kind == "decimal":
        # The length counts the digits, the point and the sign.
        scale = decimals
        precision = length - (1 if scale else 0) - (0 if unsigned else 1)
        declared = f"decimal({precision},{scale})"
    elif kind == "bit":
        precision, declared = length, f"bit({length})"
    return ServerType(
        kind=kind,
        declared=f"{declared} unsigned" if unsigned else declared,
        unsigned=unsigned,
        precision=precision,
        scale=scale,
        bytes_max=length,
    )


def field_for(name: str, column: str, type_: ServerType, as_text: bool) -> Field:
    """The field of one column; `column` is its quoted name."""
    logical, expression, convert = (STRING, _as_text(column), plain(STRING)) if as_text else _mapping(column, type_)
    return Field(
        column=Column(name=name, type=logical, declared=type_.declared),
        expression=f"{expression} AS {column}",
        convert=convert,
        match=f"{expression if logical.kind == 'float' else column} = {PARAMETER}",
        bind=_binds(logical, as_text),
        text=None if as_text else _text(column, expression, type_, logical),
    )


def _text(column: str, expression: str, type_: ServerType, logical: LogicalType) -> Text | None:
    """How the column is packed as UTF-8, or None for what may hold any byte or be long."""
    kind = type_.kind
    if kind in _SHORT:
        kept = kind in ("float", "double", "bit", "uuid", "inet4", "inet6")
        return Text(expression=expression if kept else column, parse=parser(logical), bytes_max=SHORT_BYTES_MAX)
    if kind not in _TEXTS or not type_.charset or type_.bytes_max is None:
        return None
    if type_.charset in _UTF8:
        return Text(expression=column, parse=parser(logical), bytes_max=type_.bytes_max)
    converted = f"CONVERT({column} USING utf8mb4)"
    return Text(expression=converted, parse=parser(logical), bytes_max=type_.bytes_max * UTF8_BYTES_MAX)


def _as_text(column: str) -> str:
    return f"CAST({column} AS CHAR)"


def _binds(logical: LogicalType, as_text: bool) -> Callable[[Any], Any]:
    if logical.kind == "duration":
        return _clock_text
    return str if as_text or logical.kind in ("string", "uuid") else unchanged


def _clock_text(value: timedelta) -> str:
    """A duration as the server writes TIME; drivers drop its fraction."""
    micros = value // timedelta(microseconds=1)
    seconds, fraction = divmod(abs(micros), 1_000_000)
    sign = "-" if micros < 0 else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"


def _mapping(column: str, type_: ServerType) -> tuple[LogicalType, str, Convert]:
    """Logical type, SQL expression and conversion."""
    kind = type_.kind
    if kind in _INT_BITS:
        return _integer(column, type_)
    if kind == "bit":
        wide = UNSIGNED_64 if type_.precision > 63 else LogicalType(kind="int", bits=64)
        return wide, f"CAST({column} AS UNSIGNED)", plain(wide)
    if kind in ("decimal", "numeric"):
        logical = LogicalType(kind="decimal", precision=type_.precision, scale=type_.scale)
        return logical, column, plain(logical)
    if kind in ("float", "double"):
        logical = LogicalType(kind="float", bits=32 if kind == "float" else 64)
        return logical, f"CAST({column} AS DOUBLE)", plain(logical)
    if kind in _FROM_TEXT:
        return _FROM_TEXT[kind], _as_text(column), from_text(_FROM_TEXT[kind])
    if kind == "time":
        logical = LogicalType(kind="duration", unit="us")
        return logical, _as_text(column), parsed(durations)
    if kind in _BLOBS or kind in _SHAPES:
        return BYTES, column, plain(BYTES)
    if kind == "json":
        return JSON, _as_text(column), json_texts
    if kind == "uuid":
        return UUID, _as_text(column), uuid_bytes
    return STRING, column if kind in ("char", "varchar", "text") else _as_text(column), plain(STRING)


def _integer(column: str, type_: ServerType) -> tuple[LogicalType, str, Convert]:
    bits = _INT_BITS[type_.kind]
    if type_.unsigned and bits == 64:
        return UNSIGNED_64, column, plain(UNSIGNED_64)
    # An unsigned one needs the next width; so does YEAR, which is unsigned in all but name.
    logical = LogicalType(kind="int", bits=min(64, bits * 2) if type_.unsigned and type_.kind != "year" else bits)
    return logical, column, plain(logical)
