"""Start cycles when scheduler.yaml says so, each in a child process of its own.

    jobs(settings) ── one JobSpec for each source (outside groups) and group that has a schedule
          │
    Scheduler ── APScheduler fires ──> jitter ──> a free place ──> python -m differ scan ... ──> its log, its exit code
                                                                       │ past timeout + grace, or at the end
                                                                       └── SIGTERM, then SIGKILL

A plugin that hangs, leaks or dies takes only its child down, and a child frees all its memory by ending. What the cycle
itself may do (locks, pauses, guards) is decided in the child, so `differ scan` by hand or by cron works beside this.

Invariants: a job never overlaps itself; no more than `executor.workers` children run at once; turns that were missed
are made up for by one; when `stop` returns, no child is left.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Literal

from differ.config.cron import parse_cron
from differ.errors import redact

if TYPE_CHECKING:
    from differ.config import ScheduleSettings, Settings

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "differ")
"""-P: a folder called `differ` beside the user must not be imported in our place."""
GRACE_SECONDS = 30.0
LEFT_BEHIND_SECONDS = 2.0
THREADS_MAX = 256
"""A turn waits in a thread; past this many, turns wait for those."""
LINE_BYTES_MAX = 16 * 1024
_ALL_DAYS = 7
_OUTCOMES = {
    0: (logging.INFO, "finished"),
    1: (logging.ERROR, "crashed"),  # Python's own code; nobody asked for --fail-if-changed
    2: (logging.ERROR, "refused: usage or configuration"),
    3: (logging.ERROR, "failed"),
    4: (logging.WARNING, "is held by a guard; see 'differ status'"),
    5: (logging.ERROR, "found corruption; run 'differ check'"),
    6: (logging.INFO, "skipped: another writer holds the source"),
    130: (logging.WARNING, "was interrupted"),
}


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


class Scheduler:
    """Runs the jobs of a project until it is stopped; once stopped it does not start again.

    command: what runs a child instead of this Python's `differ`; the arguments of the job are added.
    grace_seconds: how long a child may outlive its timeout, and how long one has to end after SIGTERM.
    """

    def __init__(
        self, settings: Settings, *, command: Sequence[str] = COMMAND, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._jobs = jobs(settings)
        self._project = str(settings.project)
        self._command = tuple(command)
        self._grace_seconds = grace_seconds
        self._changed = threading.Condition()  # guards the three below
        self._places = _places(settings)
        self._children: set[_Child] = set()
        self._waiting_or_running = 0
        self._stopping = threading.Event()
        self._timer: Any = None

    def start(self) -> None:
        """Begin to schedule, in threads of its own. A job with an interval has its first turn at once."""
        from apscheduler.events import EVENT_JOB_MAX_INSTANCES
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        if not self._jobs:
            logger.warning("schedule: no source or consistency group has a schedule")
        self._timer = BackgroundScheduler(
            timezone="UTC", executors={"default": ThreadPoolExecutor(max(THREADS_MAX, len(self._jobs)))}
        )
        self._timer.add_listener(self._log_overlap, EVENT_JOB_MAX_INSTANCES)
        for spec in self._jobs:
            self._add(spec, is_new=True)
        self._timer.start()
        logger.info("schedule: %d jobs, %d at once", len(self._jobs), self._places)

    def reload(self, settings: Settings) -> None:
        """Give turns as these settings say from now on; what runs goes on, and unchanged jobs keep their next turn."""
        before = {spec.id: spec for spec in self._jobs}
        self._jobs = jobs(settings)
        with self._changed:
            self._places = _places(settings)
            self._changed.notify_all()
        for gone in before.keys() - {spec.id for spec in self._jobs}:
            self._timer.remove_job(gone)
        for spec in self._jobs:
            if before.get(spec.id) != spec:
                self._add(spec, is_new=spec.id not in before)
        logger.info("schedule: %d jobs, %d at once", len(self._jobs), self._places)

    def status(self) -> dict[str, int]:
        """jobs: what has a schedule; running: the cycles that run now."""
        return {"jobs": len(self._jobs), "running": len(self._children)}

    def _add(self, spec: JobSpec, *, is_new: bool) -> None:
        """Schedule a job, in place of the one of its name. A new one with an interval has its first turn at once."""
        first = {"next_run_time": datetime.now(UTC)} if is_new and spec.schedule.every_seconds is not None else {}
        self._timer.add_job(
            self._turn,
            spec.trigger(),
            args=(spec,),
            id=spec.id,
            replace_existing=True,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
            **first,
        )

    def stop(self) -> None:
        """Start nothing any more, pass SIGTERM to the children, and wait; idempotent.

        Takes `grace_seconds` at most, and as long again where a child had to be killed.
        """
        self._stopping.set()
        if self._timer is not None and self._timer.running:
            self._timer.shutdown(wait=False)
        with self._changed:
            self._changed.notify_all()
            running = list(self._children)
        for child in running:
            child.terminate()
        with self._changed:
            if not self._changed.wait_for(self._is_idle, timeout=self._grace_seconds):
                for child in self._children:
                    child.kill()
            self._changed.wait_for(self._is_idle, timeout=self._grace_seconds)

    def pause(self) -> None:
        """Give no turn until `resume`; running children go on. Idempotent."""
        self._timer.pause()

    def resume(self) -> None:
        """Give turns again; those that were missed are made up for by one. Idempotent."""
        self._timer.resume()

    def _is_idle(self) -> bool:
        return self._waiting_or_running == 0

    def _log_overlap(self, event: Any) -> None:
        logger.info(
            "scan %s: the last turn is still running, or waits for a free worker; this one is skipped",
            event.job_id.split(" ")[1],
        )

    def _turn(self, spec: JobSpec) -> None:
        """One turn of a job, in a thread of the pool."""
        with self._changed:
            self._waiting_or_running += 1
        try:
            if not self._stopping.wait(random.uniform(0, spec.schedule.jitter_seconds)):
                self._run(spec)
        except OSError as cause:
            logger.error("scan %s: the child could not be started: %s", spec.name, cause)
        finally:
            with self._changed:
                self._waiting_or_running -= 1
                self._changed.notify_all()

    def _run(self, spec: JobSpec) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or len(self._children) < self._places)
            if self._stopping.is_set():
                return
            child = _Child(spec.name, (*self._command, *spec.arguments, "--project", self._project))
            self._children.add(child)
        try:
            child.finish(spec.timeout_seconds, self._grace_seconds)
        finally:
            with self._changed:
                self._children.remove(child)
                self._changed.notify_all()


class _Child:
    """One running `differ scan`, the leader of a session of its own."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        logger.info("scan %s: started, process %d", name, self._process.pid)
        pipes = (self._process.stdout, self._process.stderr)
        self._readers = [self._read(pipe) for pipe in pipes if pipe is not None]

    def finish(self, timeout_seconds: float | None, grace_seconds: float) -> None:
        """Wait for the end, past timeout and grace bring it about, and log how it was."""
        limit = None if timeout_seconds is None else timeout_seconds + grace_seconds
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            logger.error("scan %s: still running %.0f s after its timeout; ending it", self._name, grace_seconds)
            self.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        code = self._process.wait()
        self._read_to_the_end()
        self._log_end(code)

    def terminate(self) -> None:
        """Ask the child to end; it rolls its cycle back."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child and whatever it started, at once; its cycle is as if it had never been."""
        if self._process.poll() is None:
            logger.error("scan %s: does not end, killing it", self._name)
            self._kill_session()

    def _read(self, pipe: IO[bytes]) -> threading.Thread:
        """Log a pipe's lines in a thread, redacted, so that a child never waits for us to read."""

        def log_lines() -> None:
            with pipe:
                while line := pipe.readline(LINE_BYTES_MAX):
                    text = redact(line.decode("utf-8", "replace").rstrip())
                    if (told := _told(text)) is not None:
                        level = logging.ERROR if told.startswith("error: ") else logging.INFO
                        logger.log(level, "%s: %s", self._name, told)

        thread = threading.Thread(target=log_lines, name=f"log of {self._name}", daemon=True)
        thread.start()
        return thread

    def _read_to_the_end(self) -> None:
        """What the child left running in its session may hold the pipes open for ever; then it is ended as well."""
        deadline = time.monotonic() + LEFT_BEHIND_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        if any(reader.is_alive() for reader in self._readers):
            logger.warning("scan %s: ended, but left processes behind; killing them", self._name)
            self._kill_session()

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _log_end(self, code: int) -> None:
        seconds = time.monotonic() - self._started
        if code in (-signal.SIGTERM, -signal.SIGINT):
            level, outcome = _OUTCOMES[130]
        elif code < 0:
            level, outcome = logging.ERROR, f"died of {_signal_name(-code)}"
        else:
            level, outcome = _OUTCOMES.get(code, (logging.ERROR, f"ended with the unknown exit code {code}"))
        logger.log(level, "scan %s: %s after %.1f s", self._name, outcome, seconds)


def _told(line: str) -> str | None:
    """A child's line as a person reads it; None for the JSON of an error, which stderr tells in words."""
    try:
        body = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return line
    if not isinstance(body, dict):
        return line
    if set(body) == {"error"}:
        return None
    if not {"source", "cycle", "status", "rows"} <= set(body):
        return line
    told = f"{body['source']} cycle {body['cycle']} {body['status']}"
    if body["rows"] is not None:
        told += f", {body['rows']} rows +{body.get('inserts')} ~{body.get('updates')} -{body.get('deletes')}"
    if body.get("scn_first") is not None:
        told += f", SCN {body['scn_first']}..{body['scn_last']}"
    notes = [*(body.get("schema_changes") or ()), *filter(None, [body.get("reason"), body.get("error")])]
    return "; ".join([told, *map(str, notes)])


def _signal_name(number: int) -> str:
    names = {item.value: item.name for item in signal.Signals}
    return names.get(number, f"signal {number}")


def _places(settings: Settings) -> int:
    """How many children may run at once."""
    workers = settings.executor.workers
    return (os.cpu_count() or 1) if workers == "auto" else workers


def _listed(values: Sequence[int | str]) -> str:
    return ",".join(map(str, values))
