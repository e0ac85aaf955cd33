"""What is scanned by schedule, and when: the part of the scheduler that is pure.

Invariant: a source is scanned by one job at most, its own or its group's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from differ.config.cron import parse_cron

if TYPE_CHECKING:
    from differ.config import ScheduleSettings, Settings

_ALL_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One source or consistency group that is scanned by schedule; `timeout_seconds` of the whole cycle, or None."""

    kind: Literal["source", "consistency-group"]
    name: str
    schedule: ScheduleSettings
    timeout_seconds: float | None

    @property
    def id(self) -> str:
        """What the job is called among all: a source and a group may share a name."""
        return f"{self.kind} {self.name}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What `differ` is called with, without the project."""
        return ("scan", f"--{self.kind}", self.name, "--unless-paused", "--json")

    def trigger(self) -> Any:
        """A new APScheduler trigger without jitter; the days of a cron expression mean what crontab(5) says."""
        from apscheduler.triggers.combining import OrTrigger
        from apscheduler.triggers.cron import CronTrigger
        from apscheduler.triggers.interval import IntervalTrigger

        if self.schedule.cron is None:
            return IntervalTrigger(seconds=self.schedule.every_seconds, timezone="UTC")
        cron = parse_cron(self.schedule.cron)
        times = {
            "minute": _listed(cron.minutes),
            "hour": _listed(cron.hours),
            "month": _listed(cron.months),
            "timezone": self.schedule.timezone,
        }
        days = {"day": _listed(cron.days)}
        weekdays = {"day_of_week": _listed(cron.days_of_week)} if len(cron.days_of_week) < _ALL_DAYS else {}
        if cron.either_day and weekdays:
            return OrTrigger([CronTrigger(**times, **days), CronTrigger(**times, **weekdays)])
        return CronTrigger(**times, **days, **weekdays)


def jobs(settings: Settings) -> list[JobSpec]:
    """What is to be scheduled, in the file's order: groups with a schedule, then sources. Pure.

    A source's own schedule counts unless it is in a group that has one; a scan of a grouped source scans its group.
    """
    found: list[JobSpec] = []
    for group in settings.consistency_groups.values():
        if group.schedule is not None:
            timeouts = [settings.source(name).timeout_seconds for name in group.sources]
            known = [seconds for seconds in timeouts if seconds is not None]
            whole = sum(known) if len(known) == len(timeouts) else None
            spec = JobSpec(kind="consistency-group", name=group.name, schedule=group.schedule, timeout_seconds=whole)
            found.append(spec)
    for source in settings.sources.values():
        owner = settings.group_of(source.name)
        if source.schedule is not None and (owner is None or owner.schedule is None):
            spec = JobSpec(
                kind="source", name=source.name, schedule=source.schedule, timeout_seconds=source.timeout_seconds
            )
            found.append(spec)
    return found


def _listed(values: Sequence[int | str]) -> str:
    return ",".join(map(str, values))
