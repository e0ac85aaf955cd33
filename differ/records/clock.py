"""ISO 8601 texts of moments, dates, times of day and durations: the one way they are written, everywhere.

A fraction of a second is written without trailing zeros, and not at all when it is zero, so that the text does not
depend on the unit a column is kept in. Instants end in Z; what has no zone has none. A duration is -PT1.5S: a sign,
then seconds; days and months are not used, since their length is not fixed.

Invariant: equal values give equal texts and different values different ones.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from differ.errors import RecordError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(-?)PT(\d+)(?:\.(\d{1,6}))?S")


def datetime_text(value: datetime) -> str:
    """A datetime (also a pandas.Timestamp, with nanoseconds): in UTC with Z where it has a zone."""
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(UTC), "Z"
    nanos = value.microsecond * 1000 + int(getattr(value, "nanosecond", 0))
    return f"{value.isoformat()[:19]}{_fraction(nanos)}{zone}"


def date_text(value: date) -> str:
    """YYYY-MM-DD."""
    return f"{value.year:04d}-{value.month:02d}-{value.day:02d}"


def time_text(value: time) -> str:
    """HH:MM:SS and the fraction. Raises RecordError for a time of day with a zone, which is no moment."""
    if value.tzinfo is not None:
        raise RecordError("a time of day with a time zone has no exact form")
    return f"{value:%H:%M:%S}{_fraction(value.microsecond * 1000)}"


def duration_text(value: timedelta) -> str:
    """-PT1.5S; of a pandas.Timedelta with its nanoseconds."""
    # Both classes count whole microseconds in the same three fields; pandas' own has nanoseconds beside them.
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return duration_text_of_nanos(micros * 1000 + int(getattr(value, "nanoseconds", 0)))


def duration_text_of_nanos(nanos: int) -> str:
    """The text of a duration of so many nanoseconds."""
    seconds, rest = divmod(abs(nanos), 1_000_000_000)
    return f"{'-' if nanos < 0 else ''}PT{seconds}{_fraction(rest)}S"


def parse_duration(text: str) -> timedelta:
    """The inverse of `duration_text` for whole microseconds. Raises RecordError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise RecordError(f"{text[:60]!r} is no duration such as PT1.5S")
    sign, seconds, fraction = match.groups()
    length = timedelta(seconds=int(seconds), microseconds=int((fraction or "").ljust(6, "0")))
    return -length if sign else length


def _fraction(nanos: int) -> str:
    return f".{nanos:09d}".rstrip("0") if nanos else ""
