"""The table of jobs and the times at which they fire; no clock runs here."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from differ.config import load
from differ.schedule import JobSpec, jobs

BERLIN = ZoneInfo("Europe/Berlin")


def specs(folder: Path, text: str) -> list[JobSpec]:
    (folder / "scheduler.yaml").write_text(text)
    return jobs(load(folder, environ={}))


def fires(folder: Path, schedule: str, start: datetime, count: int) -> list[datetime]:
    """The first `count` times at or after `start`, in its time zone."""
    (spec,) = specs(folder, f"sources: {{orders: {{iterator: sql, schedule: {{{schedule}}}}}}}")
    trigger, times, previous, now = spec.trigger(), [], None, start
    for _ in range(count):
        previous = trigger.get_next_fire_time(previous, now)
        now = previous.astimezone(UTC) + timedelta(milliseconds=5)  # a scheduler looks again a moment later, in UTC
        times.append(previous.astimezone(start.tzinfo))
    return times


def test_groups_and_sources_outside_of_groups_are_scheduled(tmp_path: Path) -> None:
    text = """
sources:
  alone: {iterator: sql, schedule: {every: 5m}, timeout: 1m}
  by_hand: {iterator: sql}
  orders: {iterator: sql, timeout: 1m}
  items: {iterator: sql, timeout: 2m}
  users: {iterator: sql, timeout: 2m}
  visits: {iterator: sql}
consistency_groups:
  shop: {sources: [orders, items], schedule: {cron: "@hourly"}}
  web: {sources: [users, visits], schedule: {every: 1h}}
"""
    table = [(spec.kind, spec.name, spec.timeout_seconds) for spec in specs(tmp_path, text)]
    assert table == [
        ("consistency-group", "shop", 180),
        ("consistency-group", "web", None),
        ("source", "alone", 60),
    ]


def test_nothing_is_scheduled_without_a_schedule(tmp_path: Path) -> None:
    text = "sources: {a: {iterator: sql}}\nconsistency_groups: {g: {sources: a}}"
    assert specs(tmp_path, text) == []


def test_a_job_is_a_call_of_differ_scan(tmp_path: Path) -> None:
    text = """
sources: {a: {iterator: sql, schedule: {every: 5m}}, b: {iterator: sql}}
consistency_groups: {g: {sources: b, schedule: {every: 5m}}}
"""
    assert [spec.arguments for spec in specs(tmp_path, text)] == [
        ("scan", "--consistency-group", "g", "--unless-paused", "--json"),
        ("scan", "--source", "a", "--unless-paused", "--json"),
    ]


def test_an_interval_is_even(tmp_path: Path) -> None:
    start = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    times = fires(tmp_path, "every: 6h", start, 5)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=6)}


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 9 * * 1-5", ["Mon 23", "Tue 24", "Wed 25", "Thu 26", "Fri 27", "Mon 30"]),
        ("0 9 * * 0", ["Sun 29", "Sun 06"]),
        ("0 9 * * 7", ["Sun 29", "Sun 06"]),
        ("0 9 * * sat,sun", ["Sat 28", "Sun 29", "Sat 05"]),
        ("0 9 27 * 1", ["Mon 23", "Fri 27", "Mon 30"]),
        ("0 9 27 * *", ["Fri 27", "Sun 27"]),
        ("0 9 1 jan *", ["Fri 01"]),
        ("0 9 29 2 *", ["Tue 29"]),
    ],
)
def test_days_are_those_of_crontab(tmp_path: Path, cron: str, days: list[str]) -> None:
    start = datetime(2026, 11, 23, tzinfo=ZoneInfo("UTC"))  # a Monday
    times = fires(tmp_path, f"cron: '{cron}'", start, len(days))
    assert [time.strftime("%a %d") for time in times] == days
    assert {(time.hour, time.minute) for time in times} == {(9, 0)}


def test_a_daily_time_follows_the_clocks_of_its_zone(tmp_path: Path) -> None:
    start = datetime(2026, 3, 28, tzinfo=ZoneInfo("UTC"))
    times = fires(tmp_path, "cron: '0 9 * * *', timezone: Europe/Berlin", start, 3)
    assert [time.strftime("%d %H:%M") for time in times] == ["28 08:00", "29 07:00", "30 07:00"]


def test_a_time_that_the_clocks_skip_is_run_an_hour_later(tmp_path: Path) -> None:
    start = datetime(2026, 3, 28, tzinfo=ZoneInfo("UTC"))
    times = fires(tmp_path, "cron: '30 2 * * *', timezone: Europe/Berlin", start, 3)
    assert [time.strftime("%d %H:%M") for time in times] == ["28 01:30", "29 01:30", "30 00:30"]


def test_a_time_that_comes_twice_is_run_once(tmp_path: Path) -> None:
    start = datetime(2026, 10, 24, tzinfo=ZoneInfo("UTC"))
    times = fires(tmp_path, "cron: '30 2 * * *', timezone: Europe/Berlin", start, 4)
    assert [time.strftime("%d %H:%M") for time in times] == ["24 00:30", "25 00:30", "26 01:30", "27 01:30"]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)])
def test_every_half_hour_stays_even_when_the_clocks_change(tmp_path: Path, day: datetime) -> None:
    start = day.astimezone(ZoneInfo("UTC"))
    times = fires(tmp_path, "cron: '*/30 * * * *', timezone: Europe/Berlin", start, 12)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=30)}
