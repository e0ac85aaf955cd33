"""The column types that the sink creates for logical types, one table a database.

    logical            PostgreSQL         MariaDB, MySQL            SQLite       others
    bool               BOOLEAN            BOOLEAN                   BOOLEAN      BOOLEAN
    int                BIGINT             BIGINT                    BIGINT       BIGINT
    float              DOUBLE PRECISION   DOUBLE                    DOUBLE       DOUBLE PRECISION
    decimal(p,s)       NUMERIC            DECIMAL(65,s) or text     TEXT         NUMERIC(38,s) or text
    decimal            NUMERIC            text                      TEXT         text
    string             TEXT               LONGTEXT                  TEXT         text
    bytes              BYTEA              LONGBLOB                  BLOB         BLOB
    date               DATE               DATE                      DATE         DATE
    time[us]           TIME               TIME(6)                   TIME         text
    duration[us]       INTERVAL           text                      TEXT         text
    timestamp[us]      TIMESTAMP          DATETIME(6)               TIMESTAMP    text
    timestamp[us,UTC]  TIMESTAMPTZ        DATETIME(6) in UTC        TIMESTAMP    text
    nanoseconds        text (ISO 8601), everywhere
    uuid               UUID               CHAR(36)                  TEXT         text
    list, map, struct, json   JSONB       JSON                      TEXT         text

PostgreSQL's NUMERIC has no scale here on purpose: one with a scale rounds in silence when the source's scale grows.
SQLite's TEXT keeps digits
that its numeric columns would make a double of. MariaDB compares keys of text by bytes (`utf8mb4_nopad_bin`), as
sources do: 'a', 'A' and 'a ' are three keys.

Invariant: a column of the type holds every value of the logical type, or the writer refuses the record.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from differ.records.types import STRING, LogicalType

JSON_KINDS = frozenset({"list", "map", "struct", "json"})
MY_PRECISION_MAX, MY_SCALE_MAX = 65, 30
SQL_PRECISION_MAX = 38

Type = Any
"""A SQLAlchemy type; its classes are generic in ways that say nothing here."""


def column_type(type_: LogicalType, dialect: sa.Dialect, *, key: bool, key_length: int) -> Type:
    """The type of a new column. key: of a primary key, where some databases take no long text."""
    if type_.unit == "ns":
        type_ = STRING
    match dialect.name:
        case "postgresql":
            return _postgresql(type_, key)
        case "mysql" | "mariadb":
            return _mariadb(type_, dialect, key, key_length)
        case "sqlite":
            return _SQLITE.get(type_.kind, sa.Text())
        case _:
            return _generic(type_, key, key_length)


_SQLITE: dict[str, Type] = {
    "bool": sa.Boolean(),
    "int": sa.BigInteger(),
    "float": sa.Double(),
    "bytes": sa.LargeBinary(),
    "date": sa.Date(),
    "time": sa.Time(),
    "timestamp": sa.TIMESTAMP(),
}
_POSTGRESQL: dict[str, Type] = {
    "bool": sa.Boolean(),
    "int": sa.BigInteger(),
    "float": sa.Double(),
    "decimal": sa.Numeric(),
    "bytes": postgresql.BYTEA(),
    "date": sa.Date(),
    "time": sa.Time(),
    "duration": postgresql.INTERVAL(),
    "uuid": sa.Uuid(),
}
_MARIADB: dict[str, Type] = {
    "bool": sa.Boolean(),
    "int": sa.BigInteger(),
    "float": mysql.DOUBLE(),
    "date": sa.Date(),
    "time": mysql.TIME(fsp=6),
    "timestamp": mysql.DATETIME(fsp=6),
    "uuid": mysql.CHAR(36, charset="ascii", collation="ascii_bin"),
}
_GENERIC: dict[str, Type] = {
    "bool": sa.Boolean(),
    "int": sa.BigInteger(),
    "float": sa.Double(),
    "date": sa.Date(),
}


def _postgresql(type_: LogicalType, key: bool) -> Type:
    if type_.kind == "timestamp":
        return postgresql.TIMESTAMP(timezone=type_.zone)
    if type_.kind in JSON_KINDS and not key:
        return postgresql.JSONB()
    return _POSTGRESQL.get(type_.kind, sa.Text())


def _mariadb(type_: LogicalType, dialect: sa.Dialect, key: bool, key_length: int) -> Type:
    if type_.kind in _MARIADB:
        return _MARIADB[type_.kind]
    if _fits(type_, MY_PRECISION_MAX, MY_SCALE_MAX):
        return mysql.DECIMAL(MY_PRECISION_MAX, type_.scale)
    if type_.kind == "bytes":
        return mysql.VARBINARY(key_length) if key else mysql.LONGBLOB()
    if type_.kind in JSON_KINDS and not key:
        return mysql.JSON()
    collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    if key:
        return mysql.VARCHAR(key_length, charset="utf8mb4", collation=collation)
    return mysql.LONGTEXT(charset="utf8mb4", collation=collation)


def _generic(type_: LogicalType, key: bool, key_length: int) -> Type:
    if type_.kind in _GENERIC:
        return _GENERIC[type_.kind]
    if _fits(type_, SQL_PRECISION_MAX, SQL_PRECISION_MAX):
        return sa.Numeric(SQL_PRECISION_MAX, type_.scale)
    if type_.kind == "bytes" and not key:
        return sa.LargeBinary()
    return sa.String(key_length) if key else sa.Text()


def _fits(type_: LogicalType, precision_max: int, scale_max: int) -> bool:
    """Whether a decimal type has a precision and scale that the database has columns for."""
    if type_.kind != "decimal" or type_.precision is None or type_.scale is None:
        return False
    return type_.precision <= precision_max and type_.scale <= scale_max
