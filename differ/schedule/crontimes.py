"""At which moments a cron expression fires, also where the clocks of its time zone change. Pure.

What is there of the local times that an expression names fires at each of them once:

- one that the clocks skip, as far behind the gap as it lies in it: 02:30 of a skipped hour at 03:30;
- one that comes twice, the first time. An expression of every hour of the day fires both times, so it stays even.

Source: cron(8) of Debian, which tells daily jobs from hourly ones in the same way; PEP 495 (fold).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from differ.config.cron import DAYS, Cron

_HOURS = 24
_SHIFT_MAX = timedelta(hours=3)
"""No clocks are set by more than this."""


def of_every_hour(cron: Cron) -> bool:
    """Whether the expression stays even when clocks change, because it names every hour of the day."""
    return len(cron.hours) == _HOURS


def next_time(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    """The first moment after `after` (both with a zone) at which the expression fires, in UTC.

    Looks through the days one by one, and through the local times of some six hours around the moment it finds.
    """
    found: datetime | None = None
    folds = (0, 1) if of_every_hour(cron) else (0,)
    for local in _local_times(cron, after.astimezone(zone).replace(tzinfo=None) - _SHIFT_MAX):
        if found is not None and local > found.astimezone(zone).replace(tzinfo=None) + _SHIFT_MAX:
            return found
        for fold in folds:
            moment = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            is_there = fold == 0 or moment.astimezone(zone).replace(tzinfo=None) == local
            if is_there and moment > after and (found is None or moment < found):
                found = moment
    raise AssertionError("a cron expression fires for ever")


def _local_times(cron: Cron, since: datetime) -> Iterator[datetime]:
    """The local times that the expression names, ascending, from the hour of `since` on, without an end."""
    day = since.date()
    while True:
        if _is_day(cron, day):
            for hour in cron.hours:
                if day > since.date() or hour >= since.hour:
                    yield from (datetime(day.year, day.month, day.day, hour, minute) for minute in cron.minutes)  # noqa: DTZ001
        day += timedelta(days=1)


def _is_day(cron: Cron, day: date) -> bool:
    if day.month not in cron.months:
        return False
    by_month, by_week = day.day in cron.days, DAYS[day.isoweekday() % 7] in cron.days_of_week
    return (by_month or by_week) if cron.either_day else (by_month and by_week)
