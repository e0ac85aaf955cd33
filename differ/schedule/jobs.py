"""What is scanned by schedule, and when: the part of the scheduler that is pure.

Invariant: a source is scanned by one job at most, its own or its group's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from differ.config.cron import parse_cron

if TYPE_CHECKING:
    from differ.config import ScheduleSettings, Settings


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
        """A new APScheduler trigger, without jitter."""
        from apscheduler.triggers.interval import IntervalTrigger

        from differ.schedule.timer import CronTimes

        if self.schedule.cron is None:
            return IntervalTrigger(seconds=self.schedule.every_seconds, timezone="UTC")
        return CronTimes(parse_cron(self.schedule.cron), self.schedule.timezone)


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
