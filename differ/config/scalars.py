"""Durations, sizes, shares and limits: how people write them, and the one unit that the code gets.

    5m, 1h30m, 7d, 250ms, 90      -> seconds (float)
    64MiB, 10GiB, 1GB, 4096       -> bytes (int); KiB is 1024, kB is 1000
    30%, 0.5 %, 0.3               -> share (float from 0 to 1)
    20% or 1000                   -> Limit

Invariant: parsing what `str(Limit)` prints gives an equal limit. Every ValueError says what is expected,
with examples.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h|d|w)\s*)+\Z")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]i?B|B)\Z")
_SIZE_BYTES = {"B": 1} | {
    f"{letter}{binary}B": (1024 if binary else 1000) ** power
    for power, letters in enumerate(("kK", "M", "G", "T"), start=1)
    for letter in letters
    for binary in ("", "i")
}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%\Z")
_NUMBER = re.compile(r"\d+(?:\.\d+)?\Z")
_WHOLE = re.compile(r"[-+]?\d{1,18}\Z")

SHARE_FLOOR_ROWS = 10
"""A share is never exceeded by this many rows or fewer: a small table may lose some."""
SECONDS_MAX = 10 * 365 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on changed rows: a share of the rows (0 to 1), or a plain count; exactly one is set."""

    share: Decimal | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.share is None) == (self.count is None):
            raise ValueError("a limit is a share or a count")

    def exceeded(self, count: int, rows: int) -> bool:
        """Whether `count` rows out of `rows` are too many; a share also needs more than 10 rows."""
        if self.share is None:
            return self.count is not None and count > self.count
        return count > SHARE_FLOOR_ROWS and count > self.share * rows

    def __str__(self) -> str:
        if self.share is None:
            return str(self.count)
        percent = self.share * 100
        text = f"{percent:f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"


def parse_duration(value: Any) -> float:
    """Seconds; at most ten years, so that dates computed from it exist."""
    seconds = _duration(value)
    if seconds is None or not 0 <= seconds <= SECONDS_MAX:
        raise ValueError("expected a duration up to ten years such as 30s, 5m, 1h30m or 7d, or a number of seconds")
    return seconds


def parse_size(value: Any) -> int:
    """Bytes, at least 0."""
    text = _text(value)
    if _NUMBER.match(text):
        text += "B"
    if not (found := _SIZE.match(text)) or len(text) > 24:
        raise ValueError("expected a size such as 64MiB, 10GiB or 1GB, or a number of bytes")
    return int(Decimal(found[1]) * _SIZE_BYTES[found[2]])


def parse_share(value: Any) -> Decimal:
    """A share from 0 to 1, from a percentage or a fraction."""
    text = _text(value)
    if found := _PERCENT.match(text):
        share = Decimal(found[1]) / 100
    else:
        share = Decimal(text) if _NUMBER.match(text) else Decimal(-1)
    if not 0 <= share <= 1 or len(text) > 24:
        raise ValueError("expected a share such as 30%, or a number from 0 to 1")
    return share


def parse_limit(value: Any) -> Limit:
    """A Limit from "20%" or a whole number of rows; a Limit is returned as it is."""
    if isinstance(value, Limit):
        return value
    text = _text(value)
    if _PERCENT.match(text):
        try:
            return Limit(share=parse_share(text))
        except ValueError:
            pass
    elif _WHOLE.match(text) and int(text) >= 0:
        return Limit(count=int(text))
    raise ValueError("expected a share of the rows such as 20%, or a whole number of rows such as 1000")


def parse_whole(value: Any) -> int:
    """A whole number, also as text, which is what `${VAR}` gives."""
    text = _text(value)
    if not _WHOLE.match(text):
        raise ValueError("expected a whole number such as 24")
    return int(text)


def parse_tolerance(value: Any) -> Decimal:
    """A number over 0, exactly as it was written."""
    text = _text(value)
    try:
        number = Decimal(text) if len(text) <= 40 else Decimal("nan")
    except ArithmeticError:
        number = Decimal("nan")
    if not number.is_finite() or number <= 0:
        raise ValueError("expected a number above 0 such as 0.001")
    return number


def _duration(value: Any) -> float | None:
    text = _text(value)
    if len(text) > 40:
        return None
    if _NUMBER.match(text):
        return float(text)
    if not _DURATION.match(text):
        return None
    return math.fsum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))


def _text(value: Any) -> str:
    """Numbers and text as text; everything else as text that no pattern takes."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return "?"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else "?"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if math.isfinite(value) else "?"
    return str(value).strip()
