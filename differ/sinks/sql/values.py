"""Python's values as a database's driver takes them, by the column that they go to, many rows at a time.

A json value (and a list, map or struct) is written as JSON text, as events have it. Into a column of text everything
else goes as its ISO or decimal text, so a table made by hand may hold texts where the source has none.

Invariant: a value is written exactly, or the record is refused; nothing is rounded, cut or turned into null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from differ.records.types import LogicalType
from differ.sinks.plain import canonical_json, plain_value
from differ.sinks.sql.types import JSON_KINDS

Convert = Callable[[Any], Any]
DIGITS_EXACT_DOUBLE = 15
_INT64 = 2**63
_NULL = frozenset({type(None)})


class UnfitError(Exception):
    """A value that the column cannot hold; the writer makes the record's refusal of it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """What makes a driver's values of the values for one column. as_is: classes that it takes as they are."""

    convert: Convert
    as_is: frozenset[type] = frozenset()

    def column(self, values: list[Any]) -> list[Any]:
        """The values of many rows, null for null. Raises UnfitError. No call a value where they are of `as_is`."""
        if self.as_is.issuperset(set(map(type, values)) - _NULL):
            return values
        convert = self.convert
        return [None if value is None else convert(value) for value in values]


def adapter(column: Any, type_: LogicalType | None, dialect: str, *, key: bool) -> Adapter:
    """The adapter for `column` (a SQLAlchemy type)."""
    json_like = type_ is not None and type_.kind in JSON_KINDS
    if isinstance(column, sa.JSON) or (json_like and isinstance(column, sa.String) and not key):
        return Adapter(lambda value: canonical_json(plain_value(value, type_)))
    if isinstance(column, sa.String | sa.Enum):
        return Adapter(_key_text) if json_like else Adapter(_text, frozenset({str}))
    if isinstance(column, sa.Uuid):
        return Adapter(_same if dialect == "postgresql" else str)
    if isinstance(column, sa.Float):
        return Adapter(_float_of(dialect), frozenset({float} if dialect == "postgresql" else ()))
    if isinstance(column, sa.Numeric):
        if dialect == "postgresql" and column.scale is None:
            return Adapter(_number, frozenset({int, float, Decimal}))
        return Adapter(_decimal_of(dialect, column.scale))
    if isinstance(column, sa.DateTime | sa.Date | sa.Time | sa.Interval | postgresql.INTERVAL):
        return Adapter(_moment_of(dialect, column))
    for kind, convert in _BY_CLASS:
        if isinstance(column, kind):
            return Adapter(convert)
    return Adapter(lambda value: canonical_json(plain_value(value, type_)) if isinstance(value, dict | list) else value)


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    """ISO, decimal or JSON text; a text is itself."""
    if isinstance(value, str):
        return str(value)
    plain = plain_value(value)
    if isinstance(plain, str):
        return plain
    return canonical_json(plain)


def _key_text(value: Any) -> str:
    """The JSON text of a key value, in which no two json values are alike."""
    from differ.records.extended_json import key_value
    from differ.records.json_values import canonical_text

    return canonical_json(key_value(canonical_text(value)))


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, str):
        return value.encode()
    raise UnfitError(f"a {type(value).__name__} into a binary column")


def _float_of(dialect: str) -> Convert:
    holds_all = dialect == "postgresql"

    def convert(value: Any) -> Any:
        number = _number(value)
        if isinstance(number, Decimal):
            double = float(number)
            if number.is_finite() and Decimal(repr(double)) != number:
                raise UnfitError("a decimal with more digits than a double has")
            number = double
        if isinstance(number, int) and int(float(number)) != number:
            raise UnfitError("a whole number with more digits than a double has")
        if not holds_all and not math.isfinite(number) and not (dialect == "sqlite" and math.isinf(number)):
            raise UnfitError(f"{number} into a column that has no such number")
        return number

    return convert


def _decimal_of(dialect: str, scale: int | None) -> Convert:
    """MariaDB rounds in silence to its column's scale; SQLite makes a double of it."""

    def convert(value: Any) -> Any:
        number = _number(value)
        exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
        if not exact.is_finite():
            if dialect == "postgresql":
                return number
            raise UnfitError(f"{exact} into a column that has no such number")
        _, digits, exponent = exact.as_tuple()
        if scale is not None and isinstance(exponent, int) and -exponent > scale and exact != round(exact, scale):
            raise UnfitError(f"a number with more than {scale} digits after the point")
        if dialect == "sqlite":
            if len(digits) > DIGITS_EXACT_DOUBLE:
                raise UnfitError("a number of so many digits into a column that holds doubles; declare it TEXT")
            return str(exact)
        return exact

    return convert


def _number(value: Any) -> int | float | Decimal:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float | Decimal):
        return value
    to_decimal = getattr(value, "to_decimal", None)
    if to_decimal is not None:
        made: Decimal = to_decimal()
        return made
    raise UnfitError(f"a {type(value).__name__} into a column of numbers")


def _integer(value: Any) -> int:
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    number = _number(value)
    if not math.isfinite(number) or number != int(number):
        raise UnfitError("a number that is not whole into a column of whole numbers")
    if not -_INT64 <= number < _INT64:
        raise UnfitError("a whole number beyond 64 bits")
    return int(number)


def _moment_of(dialect: str, column: Any) -> Convert:
    """Dates and times; without a zone in the column, an instant is written in UTC."""
    as_text = dialect == "sqlite"
    zone = bool(getattr(column, "timezone", False))

    def convert(value: Any) -> Any:
        if type(value) is datetime and value.tzinfo is None and not as_text:
            return value
        if not isinstance(value, datetime | date | time | timedelta):
            if isinstance(value, str) and dialect in ("postgresql", "sqlite"):
                return value
            raise UnfitError(f"a {type(value).__name__} into a column of times")
        if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
            raise UnfitError("a time with nanoseconds into a column of microseconds")
        if as_text:
            return _text(value)
        if isinstance(value, datetime) and value.tzinfo is not None and not (zone and dialect == "postgresql"):
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    return convert


_BY_CLASS: tuple[tuple[type, Convert], ...] = (
    (sa.ARRAY, _same),
    (postgresql.ARRAY, _same),
    (sa.LargeBinary, _bytes),
    (postgresql.BYTEA, _bytes),
    (sa.BINARY, _bytes),
    (sa.VARBINARY, _bytes),
    (mysql.TINYBLOB, _bytes),
    (mysql.MEDIUMBLOB, _bytes),
    (mysql.LONGBLOB, _bytes),
    (sa.Integer, _integer),
    (sa.Boolean, _same),
)
