"""APScheduler's timer on a machine whose clock is set, or which sleeps.

APScheduler counts everything on the wall clock and sleeps until the next turn. Here it looks again every second, and

- an interval is time that passes: when the clock is set, its next turn moves along;
- a cron expression follows the clock that is set. What was passed over is made up for by one turn. Where the clock goes
  back, turns that were given are not given again, but past CORRECTION: then the time before was wrong. An expression of
  every hour has its next turn at the first time that is no sooner than it would have been.

Source: cron(8) of Debian.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from differ.config.cron import Cron
from differ.schedule.crontimes import next_time, of_every_hour

LOOK_SECONDS = 1.0
STEP = timedelta(seconds=1)
"""A clock that is further away than this from where the time that passed would have it was set."""
OVERDUE = timedelta(minutes=1)
CORRECTION = timedelta(hours=3)


class CronTimes(BaseTrigger):  # type: ignore[misc]
    """When a cron expression fires in a time zone."""

    def __init__(self, cron: Cron, timezone: str) -> None:
        self._cron = cron
        self._zone = ZoneInfo(timezone)
        self.even = of_every_hour(cron)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first time after the previous one; at first, from now on."""
        after = previous if previous is not None else now - timedelta(microseconds=1)
        return next_time(self._cron, self._zone, after).astimezone(self._zone)


class Timer(BackgroundScheduler):  # type: ignore[misc]
    """A BackgroundScheduler that notices when the clock is set."""

    def __init__(self, **options: object) -> None:
        super().__init__(timezone="UTC", **options)
        self._seen = _now()

    def _process_jobs(self) -> float:
        """Give the turns that are due; returns after how many seconds to look again."""
        seen, self._seen = self._seen, _now()
        wall, passed = (self._seen[i] - seen[i] for i in (0, 1))
        self._keep_up(self._seen[0], wall - passed)
        seconds: float | None = super()._process_jobs()
        return LOOK_SECONDS if seconds is None else min(seconds, LOOK_SECONDS)

    def _keep_up(self, now: datetime, step: timedelta) -> None:
        """Move next turns that are not where they belong. step: by how much the clock was set since the last look."""
        is_set = abs(step) > STEP
        for job in self.get_jobs():
            due = job.next_run_time
            if due is None:
                continue
            wanted = due
            if is_set and not isinstance(job.trigger, CronTimes):
                wanted = due + step
            elif is_set and step < timedelta(0) and due > now and (job.trigger.even or step < -CORRECTION):
                wanted = job.trigger.get_next_fire_time(None, max(now, due + step))
            if wanted < now - OVERDUE:
                wanted = now  # so that nobody counts all the turns that were missed, one by one
            if wanted != due:
                self.modify_job(job.id, next_run_time=wanted)


def _now() -> tuple[datetime, datetime]:
    """The wall clock, and a clock that nobody sets and that runs on while the machine sleeps, from its own zero."""
    while True:
        before, wall, after = _passed(), datetime.now(UTC), _passed()
        if after - before < STEP / 10:  # else something came between the two
            return wall, after


def _passed() -> datetime:
    return datetime.fromtimestamp(time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)), UTC)
