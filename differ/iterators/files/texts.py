"""Find the narrowest type that gives every text of a CSV column back as it was written.

A type is taken only when each value, converted and written again in the column's one format, is the same text. So
`007`, `+1`, `1e5`, ` 1`, `1.0` beside `1`, or `2024-02-30` make a column of strings, and nothing is guessed:

    int         whole numbers without sign plus, leading zeros or -0, within 64 bits
    decimal     numbers that all have the same count of digits after the point: 19.90
    float       numbers that are the shortest text of a double: 0.1, 1.5, 20.25; all or none of the whole ones end in .0
    bool        true and false, in one spelling
    date        2024-02-29
    timestamp   2024-02-29T10:00:00 with T or space, up to 9 digits of a second, and Z, +00:00 or nothing, all alike

A column without any value is a string. Invariant: found over a whole column, the type does not depend on how the
column was cut into batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from differ.records.types import BOOL, DATE, FLOAT, INT, STRING, TIMESTAMP, LogicalType

_WHOLE = r"^(0|-?[1-9][0-9]{0,18})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_NEGATIVE_ZERO = r"^-0(\.0*)?$"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = re.compile(rf"^{_DATE}([T ])[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(\.[0-9]{{1,9}})?(Z|\+00:00)?$")
DECIMAL_DIGITS = 38
"""The precision of each decimal that is found: one that follows the longest value would change with every
longer one.
"""
_SPELLINGS = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))


class TextColumn:
    """What the texts of one column may still be; feed it all of them, then ask for `type`."""

    def __init__(self) -> None:
        self._left: dict[str, Callable[[pa.Array], bool]] | None = None
        self._scale = 0
        self._pattern, self._timestamp = "", TIMESTAMP
        self._spelling: tuple[str, str] = _SPELLINGS[0]
        self._point_zero: bool | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing but a string is left, so that more texts change nothing."""
        return self._left is not None and not self._left

    def feed(self, texts: pa.Array) -> None:
        """Look at some more texts; nulls say nothing."""
        texts = texts.drop_null()
        if not len(texts) or self.settled:
            return
        if self._left is None:
            self._left = self._begin(texts[0].as_py())
        for name in [name for name, fits in self._left.items() if not fits(texts)]:
            del self._left[name]

    @property
    def type(self) -> LogicalType:
        """The first of the types that fits all texts so far."""
        for name in self._left or {}:
            match name:
                case "int":
                    return INT
                case "decimal":
                    return LogicalType(kind="decimal", precision=DECIMAL_DIGITS, scale=self._scale)
                case "float":
                    return FLOAT
                case "bool":
                    return BOOL
                case "date":
                    return DATE
                case _:
                    return self._timestamp
        return STRING

    def _begin(self, text: str) -> dict[str, Callable[[pa.Array], bool]]:
        """The tests that the first text lets a column hope for."""
        if re.match(_NUMBER, text):
            self._scale = len(text.partition(".")[2])
            decimal = {"decimal": self._is_decimal} if 1 <= self._scale <= DECIMAL_DIGITS else {}
            return {"int": _is_int} | decimal | {"float": self._is_float}
        for spelling in _SPELLINGS:
            if text in spelling:
                self._spelling = spelling
                return {"bool": self._is_bool}
        if re.match(f"^{_DATE}$", text):
            return {"date": _is_date}
        if moment := _MOMENT.match(text):
            separator, fraction, zone = moment.groups(default="")
            digits = max(len(fraction) - 1, 0)
            tail = rf"\.[0-9]{{{digits}}}" if digits else ""
            self._pattern = rf"^{_DATE}{separator}[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}{tail}{re.escape(zone)}$"
            self._timestamp = replace(TIMESTAMP, unit="us" if digits <= 6 else "ns", zone=bool(zone))
            return {"timestamp": self._is_timestamp}
        return {}

    def _is_decimal(self, texts: pa.Array) -> bool:
        pattern = rf"^-?(0|[1-9][0-9]*)\.[0-9]{{{self._scale}}}$"
        if not _all(pc.match_substring_regex(texts, pattern)):
            return False
        return _returns(texts, pa.decimal128(DECIMAL_DIGITS, self._scale))

    def _is_float(self, texts: pa.Array) -> bool:
        plain = pc.and_not(pc.match_substring_regex(texts, _NUMBER), pc.match_substring_regex(texts, _NEGATIVE_ZERO))
        if not _all(plain):
            return False
        point_zero = pc.match_substring_regex(texts, r"\.0$")
        whole = pc.match_substring_regex(texts, r"^-?[0-9]+$")
        styles = {True} if pc.any(point_zero).as_py() else set()
        styles |= {False} if pc.any(whole).as_py() else set()
        styles |= set() if self._point_zero is None else {self._point_zero}
        if len(styles) > 1:
            return False
        self._point_zero = next(iter(styles), None)
        return _returns(pc.replace_substring_regex(texts, r"\.0$", ""), pa.float64())

    def _is_bool(self, texts: pa.Array) -> bool:
        return _all(pc.is_in(texts, value_set=pa.array(self._spelling)))

    def _is_timestamp(self, texts: pa.Array) -> bool:
        if not _all(pc.match_substring_regex(texts, self._pattern)):
            return False
        plain = pc.replace_substring_regex(texts, r"(Z|\+00:00)$", "")
        spaced = pc.replace_substring(plain, "T", " ")
        # Written again, a moment has all digits of its unit: compare only as many as the texts have.
        try:
            again = pc.cast(pc.cast(spaced, pa.timestamp(self._timestamp.unit)), pa.string())
        except pa.ArrowInvalid:
            return False
        length = pc.max(pc.binary_length(spaced)).as_py()
        return _all(pc.equal(pc.utf8_slice_codeunits(again, 0, length), spaced))


def _is_int(texts: pa.Array) -> bool:
    return _all(pc.match_substring_regex(texts, _WHOLE)) and _returns(texts, pa.int64())


def _is_date(texts: pa.Array) -> bool:
    return _all(pc.match_substring_regex(texts, f"^{_DATE}$")) and _returns(texts, pa.date32())


def _returns(texts: pa.Array, type_: pa.DataType) -> bool:
    """Whether the texts come back from the type unchanged."""
    try:
        return _all(pc.equal(pc.cast(pc.cast(texts, type_), pa.string()), texts))
    except pa.ArrowInvalid:
        return False


def _all(mask: pa.BooleanArray) -> bool:
    return bool(pc.all(mask).as_py())
