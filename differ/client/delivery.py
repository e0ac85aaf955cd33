"""Give events to a consumer's callbacks, one chunk after another, and say how it went.

A `Chunk` remembers how far it was delivered, so that the run can look up several times a second and go on in its
middle. Invariant: `chunk.done` events were processed; what failed, and what comes after it, is not among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from differ.client.consumer import Answer, Consumer, Next, Retry, Skip, Stop, overrides
from differ.client.events import Events
from differ.formats.batch import EventBatch
from differ.formats.cursor import Cursor
from differ.formats.events import change_events
from differ.model import ChangeEvent, Window

SLICE_SECONDS = 0.2
"""After so long the run looks up: told to stop, another assignment, a checkpoint due?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """The callbacks of one road, of the stream or of a bootstrap. `prefix` is how their names begin.

    batched: `events` is the consumer's own, and is given whole batches; else `event` is called for each.
    """

    prefix: str
    event: Callable[[ChangeEvent], Answer]
    events: Callable[[Events], Answer]
    batched: bool
    window_start: Callable[[Window], Answer] | None
    window_end: Callable[[Window], Answer] | None
    checkpoint: Callable[[Any], Answer]
    rollback: Callable[[Any], Answer]


def stream_callbacks(consumer: Consumer) -> Callbacks:
    """Those for events of the stream."""
    return Callbacks(
        prefix="on_",
        event=consumer.on_event,
        events=consumer.on_events,
        batched=overrides(consumer, "on_events"),
        window_start=consumer.on_window_start,
        window_end=consumer.on_window_end,
        checkpoint=consumer.on_checkpoint,
        rollback=consumer.on_rollback,
    )


def bootstrap_callbacks(consumer: Consumer) -> Callbacks:
    """Those for rows of a bootstrap."""
    return Callbacks(
        prefix="on_bootstrap_",
        event=consumer.on_bootstrap_event,
        events=consumer.on_bootstrap_events,
        batched=overrides(consumer, "on_bootstrap_events"),
        window_start=None,
        window_end=None,
        checkpoint=consumer.on_bootstrap_checkpoint,
        rollback=consumer.on_bootstrap_rollback,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A callback that failed. event: at fault, where that is known; events: how many it was given, when it is not.
    told: the consumer was told of it already, and it was counted."""

    callback: str
    error: Exception
    event: ChangeEvent | None = None
    events: int = 0
    told: bool = False


class FailedError(Exception):
    """Callbacks failed; the run goes back to the last checkpoint, or ends."""

    def __init__(self, *failures: Failure) -> None:
        super().__init__(failures)
        self.failures = failures


class Chunk:
    """Some events of one source and window on their way to the callbacks."""

    def __init__(self, batch: EventBatch, cursor: Cursor) -> None:
        self.batch, self.cursor = batch, cursor
        self.done = 0
        self.events: Iterator[ChangeEvent] = change_events(batch)

    @property
    def left(self) -> int:
        """How many events are still to be processed."""
        return len(self.batch) - self.done

    @property
    def last_scn(self) -> int:
        """The SCN of the last event that was processed; there must be one."""
        return self.batch.first_scn + int(self.batch.events.column("ordinal")[self.done - 1].as_py())

    def part(self, offset: int, length: int) -> Events:
        """Some of the events as a batch of their own."""
        batch = self.batch.slice(offset, length)
        return Events(batch, self.cursor.at(batch.first_scn + int(batch.events.column("ordinal")[-1].as_py())))


class Deliverer(Protocol):
    """Who makes the calls: the run's own thread, or workers."""

    def deliver(self, chunk: Chunk, callbacks: Callbacks) -> Answer:
        """Deliver some of what is left of the chunk, for about SLICE_SECONDS; CHECKPOINT and STOP are handed on.

        Raises FailedError; then the rest of the chunk is not delivered.
        """

    def call(self, callback: str, function: Callable[..., Answer], *arguments: object) -> Answer:
        """Make one other call. Raises FailedError."""

    def close(self) -> None:
        """End threads, if there are any."""


class Inline:
    """Calls from the run's own thread: fastest, and without a time limit."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def deliver(self, chunk: Chunk, callbacks: Callbacks) -> Answer:
        """See `Deliverer`. A batched consumer is given all that is left of the chunk, as it was cut."""
        if not callbacks.batched:
            return each(chunk, callbacks, self._clock() + SLICE_SECONDS, self._clock)
        return whole(chunk, callbacks)

    def call(self, callback: str, function: Callable[..., Answer], *arguments: object) -> Answer:
        """See `Deliverer`."""
        return guarded(callback, function, *arguments)

    def close(self) -> None:
        """There are no threads."""


def each(chunk: Chunk, callbacks: Callbacks, deadline: float, clock: Callable[[], float]) -> Answer:
    """Call `event` for one event after another until the deadline, an answer or a failure."""
    call = callbacks.event
    done = chunk.done
    event: ChangeEvent | None = None
    try:
        for event in chunk.events:
            answer = call(event)
            done += 1
            if answer is not None and answer is not Next.SKIP:
                if answer is Next.RETRY:
                    raise Retry("the callback answered RETRY")
                if not isinstance(answer, Next):
                    raise TypeError(f"the callback returned {type(answer).__name__}, not None or a Next")
                return answer
            if clock() >= deadline:
                return None
    except Skip:
        done += 1
    except Stop:
        done += 1
        return Next.STOP
    except Exception as error:
        raise FailedError(Failure(callback=callbacks.prefix + "event", error=error, event=event)) from error
    finally:
        chunk.done = done
    return None


def whole(chunk: Chunk, callbacks: Callbacks) -> Answer:
    """Call `events` with what is left of the chunk."""
    events = chunk.part(chunk.done, chunk.left)
    name = callbacks.prefix + "events"
    try:
        answer = guarded(name, callbacks.events, events)
    except FailedError as failed:
        (failure,) = failed.failures
        event = next(iter(events)) if len(events) == 1 else None
        raise FailedError(
            Failure(callback=name, error=failure.error, event=event, events=len(events))
        ) from failure.error
    chunk.done = len(chunk.batch)
    return answer


def guarded(callback: str, function: Callable[..., Answer], *arguments: object) -> Answer:
    """Call, and tell an answer from a failure: what may be returned may also be raised."""
    try:
        answer: object = function(*arguments)
    except Skip:
        return Next.SKIP
    except Stop:
        return Next.STOP
    except FailedError:  # Of a call made inside this one, which is named already.
        raise
    except Exception as error:
        raise FailedError(Failure(callback=callback, error=error)) from error
    if answer is Next.RETRY:
        raise FailedError(Failure(callback=callback, error=Retry("the callback answered RETRY")))
    if answer is None or isinstance(answer, Next):
        return answer
    cause = TypeError(f"the callback returned {type(answer).__name__}, not None or a Next")
    raise FailedError(Failure(callback=callback, error=cause))
