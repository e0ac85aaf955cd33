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

from differ.schedule.child import COMMAND
from differ.schedule.jobs import JobSpec, jobs
from differ.schedule.scheduler import Scheduler

__all__ = ["COMMAND", "JobSpec", "Scheduler", "jobs"]
