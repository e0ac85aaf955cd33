"""Texts as values of a declared type: what a store or file gives as text only because it has no better type.

uuid     32 hex digits with or without hyphens         decimal  any decimal number
date     YYYY-MM-DD       time  HH:MM:SS[.ffffff]      timestamp  ISO 8601; with a zone exactly when the type has one
int, float, bool, duration  as `str` and `PT1.5S` write them

Invariant: a text that is no exact value of the type is marked, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from differ.errors import RecordError
from differ.records.clock import parse_duration
from differ.records.numbers import exact_number
from differ.records.types import LogicalType
from differ.records.views import flags

_DECIMAL_TEXT = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^(NaN|-?Infinity)$"
_HEX_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_PLAIN_INT = re.compile(r"[+-]?[0-9]+")


def parse_texts(texts: pa.StringArray, type_: LogicalType) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The texts as storage of `type_`, null where a text is no exact value, and the mask of those.

    Vectorised for decimals; one Python call a distinct text for the others.
    """
    if type_.kind == "decimal":
        parsed = _decimals(texts, type_)
    else:
        encoded = texts.dictionary_encode()
        values = [_parse(text, type_) for text in encoded.dictionary.to_pylist()]
        parsed = pa.array(values, type_.storage).take(encoded.indices)
    wrong = pc.and_(texts.is_valid(), parsed.is_null())
    return parsed, flags(wrong)


def _decimals(texts: pa.StringArray, type_: LogicalType) -> pa.Array:
    sound = pc.if_else(pc.match_substring_regex(texts, _DECIMAL_TEXT), texts, pa.scalar(None, pa.string()))
    if type_.precision is None:
        return sound
    try:
        return sound.cast(type_.storage)
    except pa.ArrowInvalid:
        # Some text has too many digits, is NaN, or has trailing zeros past the scale: decide one by one.
        numbers = [None if text is None else exact_number(Decimal(text), type_) for text in sound.to_pylist()]
        return pa.array(numbers, type_.storage)


def _parse(text: str, type_: LogicalType) -> Any:
    parser = _PARSERS.get(type_.kind)
    if parser is None:
        return None
    try:
        return parser(text, type_)
    except (ValueError, InvalidOperation, RecordError, OverflowError):
        return None


def _uuid(text: str, _type: LogicalType) -> bytes | None:
    return UUID(text).bytes if _HEX_UUID.fullmatch(text) else None


def _moment(text: str, type_: LogicalType) -> Any:
    if type_.unit == "ns":
        import pandas

        moment: datetime = pandas.Timestamp(text)
    else:
        fraction = re.search(r"\.(\d+)", text)
        if fraction and len(fraction[1].rstrip("0")) > 6:
            return None
        moment = datetime.fromisoformat(text)
    if (moment.tzinfo is not None) != type_.zone:
        return None
    return moment.astimezone(UTC) if type_.zone else moment


def _time(text: str, type_: LogicalType) -> Any:
    clock, _, fraction = text.partition(".")
    if len(fraction) > (9 if type_.unit == "ns" else 6) or (fraction and not fraction.isdecimal()):
        return None
    whole = time.fromisoformat(clock)
    if whole.tzinfo is not None:
        return None
    seconds = (whole.hour * 60 + whole.minute) * 60 + whole.second
    digits = 9 if type_.unit == "ns" else 6
    return seconds * 10**digits + int(fraction.ljust(digits, "0") or 0)


_PARSERS: dict[str, Callable[[str, LogicalType], Any]] = {
    "bool": lambda text, _type: {"true": True, "false": False}.get(text.lower()),
    "int": lambda text, type_: exact_number(int(text), type_) if _PLAIN_INT.fullmatch(text) else None,
    "float": lambda text, _type: float(text),
    "uuid": _uuid,
    "date": lambda text, _type: date.fromisoformat(text),
    "time": _time,
    "timestamp": _moment,
    "duration": lambda text, _type: parse_duration(text),
}
