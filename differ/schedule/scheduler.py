"""The scheduler: turns by APScheduler, a bounded number of children, an end that leaves none behind."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from differ.schedule.child import COMMAND, Child
from differ.schedule.jobs import JobSpec, jobs

if TYPE_CHECKING:
    from differ.config import Settings

logger = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
THREADS_MAX = 256
"""A turn waits in a thread; past this many, turns wait for those."""


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
        self._children: set[Child] = set()
        self._waiting_or_running = 0
        self._stopping = threading.Event()
        self._timer: Any = None

    def start(self) -> None:
        """Begin to schedule, in threads of its own. A job with an interval has its first turn at once."""
        from apscheduler.events import EVENT_JOB_MAX_INSTANCES
        from apscheduler.executors.pool import ThreadPoolExecutor

        from differ.schedule.timer import Timer

        if not self._jobs:
            logger.warning("schedule: no source or consistency group has a schedule")
        self._timer = Timer(executors={"default": ThreadPoolExecutor(max(THREADS_MAX, len(self._jobs)))})
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
            child = Child(spec.name, (*self._command, *spec.arguments, "--project", self._project))
            self._children.add(child)
        try:
            child.finish(spec.timeout_seconds, self._grace_seconds)
        finally:
            with self._changed:
                self._children.remove(child)
                self._changed.notify_all()


def _places(settings: Settings) -> int:
    """How many children may run at once."""
    workers = settings.executor.workers
    return (os.cpu_count() or 1) if workers == "auto" else workers
