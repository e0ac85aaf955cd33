"""Mapped documents as what MongoDB stores: each value in the BSON type that holds it.

    int            int64                    date, time, duration   ISO 8601 text: BSON has no such types
    decimal        Decimal128 where it is   timestamp with zone    date: whole milliseconds, what is finer is cut
                   exact, else text         timestamp without      ISO 8601 text: it is no moment
    uuid           binary, subtype 4        json                   every BSON type as it was read

Invariant: nothing is rounded but the moments, and those only where BSON has no room: with `exact` they are texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, DecimalException
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from differ.records.clock import date_text, datetime_text, duration_text, time_text
from differ.records.decimals import normal_decimal
from differ.records.types import LogicalType
from differ.sinks.contract import Document

_INT64 = 2**63


def bson_document(document: Document, types: Mapping[str, LogicalType], *, exact: bool) -> dict[str, Any]:
    """The document with BSON values. exact: moments as texts, with all their digits."""
    return {name: bson_value(value, types.get(name), exact=exact) for name, value in document.items()}


def bson_value(value: Any, type_: LogicalType | None = None, *, exact: bool) -> Any:
    """One value, nested ones as deep as they go."""
    match value:
        case None | bool() | str() | float() | bytes() | Int64() | DatetimeMS():
            return value
        case int():
            return _whole(value, type_)
        case Decimal():
            return _decimal(value)
        case datetime():
            return _moment(value, exact and not _is_json(type_))
        case date():
            return date_text(value)
        case time():
            return time_text(value)
        case timedelta():
            return duration_text(value)
        case Mapping():
            inner = _children(type_)
            return {str(name): bson_value(item, inner.get(name, type_), exact=exact) for name, item in value.items()}
        case list() | tuple():
            item_type = type_.children[0][1] if type_ is not None and type_.kind == "list" else type_
            return [bson_value(item, item_type, exact=exact) for item in value]
        case _:
            return value


def _children(type_: LogicalType | None) -> Mapping[Any, LogicalType]:
    return dict(type_.children) if type_ is not None and type_.kind == "struct" else {}


def _is_json(type_: LogicalType | None) -> bool:
    return type_ is not None and type_.kind == "json"


def _whole(value: int, type_: LogicalType | None) -> Any:
    """In a json value an int is the 32-bit one unless it needs more; in a column all are 64-bit ones."""
    if not -_INT64 <= value < _INT64:
        return _decimal(Decimal(value))
    return value if _is_json(type_) else Int64(value)


def _decimal(value: Decimal) -> Decimal128 | str:
    try:
        made = Decimal128(value)
    except DecimalException:  # more than 34 digits, or an exponent that is too large
        return normal_decimal(value)
    return made if value.is_nan() or made.to_decimal() == value else normal_decimal(value)


def _moment(value: datetime, exact: bool) -> Any:
    if value.tzinfo is None or exact:
        return datetime_text(value)
    # pandas.Timestamp counts nanoseconds beside; the driver wants Python's own class.
    plain = datetime(*value.timetuple()[:6], value.microsecond, tzinfo=value.tzinfo)
    return plain.astimezone(UTC)
