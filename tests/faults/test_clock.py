"""Clocks that are set, and clocks that change by themselves: what is committed does not notice, what is due comes once.

Real processes, on a wall clock that the test sets (`wallclock.py`).
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from differ.config import load
from differ.schedule import jobs
from tests.faults.conftest import sized
from tests.faults.wallclock import WallClock

ROOT = Path(__file__).parents[2]
ZONES = [
    "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Havana", "America/Santiago",
    "Africa/Cairo", "Africa/Casablanca", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Chatham", "Antarctica/Troll",
]  # fmt: skip
"""Clocks that change by half an hour and by two, at midnight, to one side of it, and to the other side of the year."""
EXPRESSIONS = {
    # expression: (minutes, hours, days of the week from Monday = 0)
    "30 2 * * *": ([30], [2], range(7)),
    "0 0 * * *": ([0], [0], range(7)),
    "45 23 * * *": ([45], [23], range(7)),
    "5 1 * * sun": ([5], [1], [6]),
    "30 2,3 * * 0-6": ([30], [2, 3], range(7)),
    "*/20 2-3 * * *": ([0, 20, 40], [2, 3], range(7)),
    "0 */2 * * *": ([0], range(0, 24, 2), range(7)),
    "0 * * * *": ([0], range(24), range(7)),
    "*/30 * * * *": ([0, 30], range(24), range(7)),
}
DAY = timedelta(days=1)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """When the clocks of a zone change in a year."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + DAY * number for number in range(366)]
    moved = [day for day in days if day.astimezone(zone).utcoffset() != (day + DAY).astimezone(zone).utcoffset()]
    times = [day + timedelta(minutes=30) * number for day in moved for number in range(1, 49)]
    return [
        t for t in times if t.astimezone(zone).utcoffset() != (t - timedelta(minutes=30)).astimezone(zone).utcoffset()
    ]


def local_times(zone: ZoneInfo, change: datetime, days: int) -> list[tuple[datetime, datetime, bool]]:
    """Every minute around a change with the local time that it has, and whether this is there for the second time; a
    minute that lies as far behind the change as a skipped local time did once more with that time."""
    skipped = change.astimezone(zone).replace(tzinfo=None) - (change - DAY).astimezone(zone).replace(tzinfo=None) - DAY
    found = []
    for number in range(-days * 1440, (days + 1) * 1440):
        time = change + timedelta(minutes=number)
        local = time.astimezone(zone)
        found.append((time, local.replace(tzinfo=None), local.fold == 1))
        if change <= time < change + skipped:
            found.append((time, local.replace(tzinfo=None) - skipped, False))
    return found


@pytest.mark.parametrize("name", ZONES)
def test_no_turn_is_left_out_or_given_twice_when_clocks_change(tmp_path: Path, name: str) -> None:
    """Each local time that comes fires, one that comes again only for expressions of every hour; each that is skipped
    fires as much later as the clocks skip."""
    zone = ZoneInfo(name)
    for change in [change for year in range(2026, 2026 + sized(1, 12)) for change in changes(zone, year)]:
        days = sized(1, 4)
        since, until = change - days * DAY, change + (days + 1) * DAY
        times = local_times(zone, change, days)
        for expression, (minutes, hours, weekdays) in EXPRESSIONS.items():
            text = {"iterator": "sql", "schedule": {"cron": expression, "timezone": name}}
            (tmp_path / "scheduler.yaml").write_text(yaml.safe_dump({"sources": {"orders": text}}))
            (spec,) = jobs(load(tmp_path, environ={}))
            trigger, previous, now = spec.trigger(), None, since
            found = []
            while (previous := trigger.get_next_fire_time(previous, now)) < until:
                now = previous.astimezone(UTC) + timedelta(milliseconds=5)
                found.append(previous.astimezone(UTC))
            wanted = {
                time
                for time, local, again in times
                if local.minute in minutes and local.hour in hours and local.weekday() in weekdays
                if not again or len(hours) == 24
            }
            assert found == sorted(wanted), (expression, change)


class Ticking:
    """A running scheduler; `turns` counts what has begun, by source."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.turns: Counter[str] = Counter()

    def wait_for(self, source: str, count: int = 1) -> None:
        """Wait for so many turns of a source from now on."""
        assert self._process.stdout is not None
        wanted = self.turns[source] + count
        while self.turns[source] < wanted:
            line = self._process.stdout.readline()
            assert line, "the scheduler ended"
            self.turns[line.strip()] += 1

    def seen(self, source: str) -> int:
        """How many turns of a source there were since it was last asked for."""
        return self.turns.pop(source, 0)


@contextmanager
def ticking(folder: Path, clock: WallClock, **schedules: dict[str, str]) -> Iterator[Ticking]:
    sources = {name: {"iterator": "sql", "schedule": schedule} for name, schedule in schedules.items()}
    (folder / "scheduler.yaml").write_text(yaml.safe_dump({"sources": sources}))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.ticking", str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | clock.environment,
    )  # fmt: skip
    try:
        yield Ticking(process)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_an_interval_is_time_that_passes_whatever_the_clock_says(tmp_path: Path, clock: WallClock) -> None:
    with ticking(tmp_path, clock, often={"every": "1s"}, seldom={"every": "1h"}) as scheduler:
        scheduler.wait_for("often", 2)
        assert scheduler.seen("seldom") == 1
        for hours in (-1, 1.9, -24 * 3650, 24 * 3650):
            clock.move_to_offset(timedelta(hours=hours))
            scheduler.wait_for("often", 2)
        assert scheduler.seen("seldom") == 0


def test_a_time_of_day_comes_once_when_the_clock_is_set(tmp_path: Path, clock: WallClock) -> None:
    steps = [
        # the day of a month, the time that it is set to, the turns that come then
        (10, "08:59:59", {"daily", "hourly"}),
        (10, "08:59:58", set()),  # it does not come again
        (10, "12:30:00", {"hourly"}),  # three were passed over
        (15, "12:30:00", {"daily", "hourly"}),  # and more
        (1, "08:59:59", set()),  # the time before was wrong: the next turns are an hour and a day away, as they were
        (2, "08:59:59", {"daily", "hourly"}),
    ]
    clock.set(datetime(2031, 7, 10, 8, tzinfo=UTC))
    schedules = {"daily": {"cron": "0 9 * * *"}, "hourly": {"cron": "0 * * * *"}, "often": {"every": "1s"}}
    with ticking(tmp_path, clock, **schedules) as scheduler:
        scheduler.wait_for("often")
        for day, text, turns in steps:
            clock.set(datetime.fromisoformat(f"2031-07-{day:02d}T{text}Z"))
            for name in turns:
                if not scheduler.turns[name]:
                    scheduler.wait_for(name)
            scheduler.wait_for("often", 3)
            assert {name: scheduler.seen(name) for name in ("daily", "hourly")} == {
                name: int(name in turns) for name in ("daily", "hourly")
            }, (day, text)


def test_scns_and_their_order_take_no_notice(tmp_path: Path, clock: WallClock, seed: int) -> None:
    for number in range(sized(1, 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.clockwork", str(folder), str(seed + number), str(sized(25, 200))],
            capture_output=True, text=True, cwd=ROOT, env=os.environ | clock.environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 0
