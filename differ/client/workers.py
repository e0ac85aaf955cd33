"""Worker threads: a chunk is shared out by the partition hash of its keys, and all are waited for before the next.

    chunk -> part of worker 0, part of worker 1, ...  -> all done -> next chunk

So a key's events always come in order, one at a time, and whatever was handed out is processed when a window ends or a
checkpoint is stored. How much is handed out follows the callbacks' pace, about SLICE_SECONDS' worth.

A watch is kept on the callbacks where they have a time budget. Python cannot end a thread: a callback that passes its
budget is reported, and reported again for each further budget; when it returns late, it counts as failed. No other
callback is made beside one that hangs. Invariant: a part is done, or its failure is raised.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from differ.client.consumer import Answer, Next
from differ.client.delivery import SLICE_SECONDS, Callbacks, Chunk, FailedError, Failure, each, guarded, whole
from differ.model import ChangeEvent
from differ.records.views import fixed_values

ROWS_FIRST = 16
"""So many events each worker is handed first; then more, as long as they are quick."""
JOIN_SECONDS = 10.0
"""So long the end of a run waits for a callback that is under way."""
TICKS = 4
"""So many times within a callback's budget the watch looks."""

Job = Callable[[], Answer]
Results: TypeAlias = "queue.SimpleQueue[tuple[_Worker, Answer | FailedError]]"


class Pool:
    """Calls from `workers` threads. hung: told of each budget that a callback overran; raises to end the run."""

    def __init__(
        self,
        workers: int,
        rows: int,
        *,
        budget_seconds: float | None,
        hung: Callable[[Failure], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows_max, self._rows = rows, ROWS_FIRST
        self._budget, self._hung, self._clock = budget_seconds, hung, clock
        self._workers = [_Worker(number) for number in range(workers)]
        self._is_given_up = False

    def deliver(self, chunk: Chunk, callbacks: Callbacks) -> Answer:
        """See `Deliverer`. What the parts answer is handed on when all of them are done: STOP before CHECKPOINT."""
        rows = chunk.left
        if not callbacks.batched:
            rows = min(rows, self._rows * len(self._workers))
        given = chunk.part(chunk.done, rows)
        abort = threading.Event()
        began = self._clock()
        jobs: dict[_Worker, Job] = {}
        owners = fixed_values(given.batch.events.column("partition")) % np.uint64(len(self._workers))
        for worker in self._workers:
            mask = owners == worker.number
            if mask.any():
                part = Chunk(given.batch.take(pa.array(mask)), given.cursor)
                jobs[worker] = _delivery(worker, part, callbacks, abort)
        answers = self._run(jobs, abort)
        chunk.done += rows
        self._pace(self._clock() - began)
        return next((one for one in (Next.STOP, Next.CHECKPOINT) if one in answers), None)

    def call(self, callback: str, function: Callable[..., Answer], *arguments: object) -> Answer:
        """See `Deliverer`; the first worker calls. After a hang ended the run, its own thread does."""
        if self._is_given_up:
            return guarded(callback, function, *arguments)
        worker = self._workers[0]

        def job() -> Answer:
            worker.at(callback, None)
            return guarded(callback, function, *arguments)

        (answer,) = self._run({worker: job}, threading.Event())
        return answer

    def close(self) -> None:
        """End the threads; one that hangs is left behind."""
        for worker in self._workers:
            worker.jobs.put(None)
        for worker in self._workers:
            if not (worker.busy and self._is_given_up):
                worker.thread.join(JOIN_SECONDS)

    def _run(self, jobs: dict[_Worker, Job], abort: threading.Event) -> list[Answer]:
        """Let each worker do its job and wait for all. Raises FailedError with all failures."""
        results: Results = queue.SimpleQueue()
        watches = {worker: _Watch(worker, self._clock()) for worker in jobs}
        for worker, job in jobs.items():
            worker.busy = True
            worker.jobs.put((job, results))
        try:
            return self._wait(watches, results, abort)
        except BaseException:
            abort.set()  # Ctrl-C reaches the run's thread alone; the workers end after the event at hand.
            raise

    def _wait(self, watches: dict[_Worker, _Watch], results: Results, abort: threading.Event) -> list[Answer]:
        answers: list[Answer] = []
        failures: list[Failure] = []
        while watches:
            try:
                worker, result = results.get(timeout=self._budget / TICKS if self._budget else None)
            except queue.Empty:
                for watch in watches.values():
                    if (late := watch.late(self._clock(), self._budget or 0.0)) is not None:
                        abort.set()
                        self._report(late)
                continue
            watch = watches.pop(worker)
            if watch.last_late is not None:
                failures.append(watch.last_late)
            elif isinstance(result, FailedError):
                failures += result.failures
            else:
                answers.append(result)
            if failures:
                abort.set()
        if failures:
            raise FailedError(*failures)
        return answers

    def _report(self, late: Failure) -> None:
        self._is_given_up = True
        self._hung(late)
        self._is_given_up = False

    def _pace(self, seconds: float) -> None:
        if seconds < SLICE_SECONDS / 2:
            self._rows = min(self._rows * 2, self._rows_max)
        elif seconds > SLICE_SECONDS * 2:
            self._rows = max(self._rows // 2, ROWS_FIRST)


class _Worker:
    """A thread that does one job after another. Only the watch reads what it writes while it is busy."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.jobs: queue.SimpleQueue[tuple[Job, Results] | None] = queue.SimpleQueue()
        self.busy = False
        self.calls = 0
        self.callback = ""
        self.event: ChangeEvent | None = None
        self.thread = threading.Thread(target=self._work, name=f"differ-worker-{number}", daemon=True)
        self.thread.start()

    def at(self, callback: str, event: ChangeEvent | None) -> None:
        """Say which call comes next."""
        self.callback, self.event = callback, event
        self.calls += 1

    def _work(self) -> None:
        while (given := self.jobs.get()) is not None:
            job, results = given
            result: Answer | FailedError
            try:
                result = job()
            except FailedError as failed:
                result = failed
            except BaseException as error:  # SystemExit in a callback must not end the thread in silence.
                cause = error if isinstance(error, Exception) else RuntimeError(f"the callback raised {error!r}")
                result = FailedError(Failure(callback=self.callback, error=cause, event=self.event))
            self.busy = False
            results.put((self, result))


@dataclass(slots=True)
class _Watch:
    """How long a worker has been at the same call."""

    worker: _Worker
    since: float
    calls: int = -1
    overran: int = 0
    last_late: Failure | None = None

    def late(self, now: float, budget: float) -> Failure | None:
        """A failure for each budget that the worker's present call overran."""
        if self.worker.calls != self.calls:
            self.calls, self.since, self.overran = self.worker.calls, now, 0
        if now - self.since < budget * (self.overran + 1):
            return None
        self.overran += 1
        error = TimeoutError(f"{self.worker.callback} has not returned for {now - self.since:.3g} seconds")
        failure = Failure(callback=self.worker.callback, error=error, event=self.worker.event)
        self.last_late = replace(failure, told=True)
        return failure


def _delivery(worker: _Worker, part: Chunk, callbacks: Callbacks, abort: threading.Event) -> Job:
    """A worker's share of a chunk: all of it, unless another one's share failed."""
    event, events = callbacks.event, callbacks.events

    def tracked_event(one: ChangeEvent) -> Answer:
        worker.at(callbacks.prefix + "event", one)
        return event(one)

    def tracked_events(some: object) -> Answer:
        worker.at(callbacks.prefix + "events", None)
        return events(some)  # type: ignore[arg-type]

    tracked = replace(callbacks, event=tracked_event, events=tracked_events)

    def job() -> Answer:
        answers = set()
        while part.left and not abort.is_set():
            if callbacks.batched:
                answers.add(whole(part, tracked))
            else:
                answers.add(each(part, tracked, 1.0, lambda: float(abort.is_set())))
        return next((one for one in (Next.STOP, Next.CHECKPOINT) if one in answers), None)

    return job
