"""Cron expressions as crontab(5) has them: minute, hour, day of month, month, day of week.

Checked here, without a scheduler's library, so that `differ config check` stays quick and an error names
the field. Two traps that this form avoids: some libraries number the week from Monday where cron's 0 and 7
are Sunday, so days of the week are given out as names; and where both days are restricted, cron means
either, which `either_day` tells.

Invariant: every expression that `parse_cron` takes fires again and again (29 February: every leap year).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,3}))?\Z", re.ASCII)
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """The values at which an expression fires, ascending; `days_of_week` are names from "sun" to "sat"."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    days_of_week: tuple[str, ...]
    either_day: bool


def parse_cron(text: str) -> Cron:
    """Parse five fields or a macro such as @daily; ValueError names the field that is wrong."""
    fields = _MACROS.get(text.strip(), text).split()
    if len(fields) != 5:
        raise ValueError(
            "expected a cron expression of five fields (minute hour day month weekday) such as '*/5 * * * *'"
        )
    minutes = _values("minute", fields[0], 0, 59)
    hours = _values("hour", fields[1], 0, 23)
    days = _values("day of month", fields[2], 1, 31)
    months = _values("month", fields[3], 1, 12, MONTHS)
    weekdays = sorted({day % 7 for day in _values("day of week", fields[4], 0, 7, DAYS)})
    either_day = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either_day and min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"cron expression {text!r} never fires: no such month has day {min(days)}")
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        days_of_week=tuple(DAYS[day] for day in weekdays),
        either_day=either_day,
    )


def _values(name: str, field: str, low: int, high: int, names: tuple[str, ...] = ()) -> tuple[int, ...]:
    """All values of one field; the position of a name in `names` counts from `low`."""
    values: set[int] = set()
    for part in field.split(","):
        found = _PART.match(part)
        if not found:
            raise ValueError(f"cron {name}: {part!r} is not *, a value, a range such as 1-5, or a step such as */5")
        first, last = low, high
        if not found["all"]:
            first = _value(name, found["first"], low, high, names)
            last = _value(name, found["last"], low, high, names) if found["last"] else first
            if found["step"] and not found["last"]:
                last = high
        step = int(found["step"] or 1)
        if first > last or step < 1:
            raise ValueError(f"cron {name}: {part!r} names no value")
        values.update(range(first, last + 1, step))
    return tuple(sorted(values))


def _value(name: str, text: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and low <= int(text) <= high):
        raise ValueError(f"cron {name}: {text!r} is not between {low} and {high}")
    return int(text)
