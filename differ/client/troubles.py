"""What to do about a callback that failed: wait and try again, find out which event is at fault, give it up, or halt.

    Retry, or a transient error       not the event's fault: again after the back-off, as often as it takes
    Reject                            these events are given up at once
    anything else, the event known    counted; given up after `attempts`
    anything else, of n events        replayed in smaller and smaller spans until one event is left, then counted
    window callbacks and others       counted; after `attempts` the run halts

An event that is given up becomes a dead letter when the replay meets it, before anything after it is delivered; without
a dead-letter file the run halts. Invariants: nothing is given up without a letter or an explicit SKIP; an event that
was given up is not delivered again by this run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from differ.client.consumer import Answer, Next, Reject, Retry
from differ.client.deadletters import DeadLetters, error_text
from differ.client.delivery import Failure
from differ.client.events import Events
from differ.client.retries import Retries
from differ.errors import ConsumerError, DifferError
from differ.formats.batch import EventBatch
from differ.formats.checkpoint import Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.formats.events import change_events
from differ.formats.table import key_text
from differ.model import ChangeEvent

log = logging.getLogger(__name__)

Identity = tuple[str, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condemned:
    """An event that is given up: why, and after how many attempts. letter: False when the consumer said SKIP."""

    error: Exception
    attempts: int
    letter: bool


class Troubles:
    """The failures of one run since its last checkpoint. For the run's own thread.

    on_error: tells the consumer, and hands on its answer; on_hang: tells it beside a callback that hangs.
    """

    def __init__(
        self,
        consumer: str,
        retries: Retries,
        dead_letters: DeadLetters | None,
        *,
        on_error: Callable[[Exception, ChangeEvent | None], Answer],
        on_hang: Callable[[Exception, ChangeEvent | None], Answer],
    ) -> None:
        self._consumer, self._retries, self._dead_letters = consumer, retries, dead_letters
        self._on_error, self._on_hang = on_error, on_hang
        self._attempts: dict[Identity | str, int] = {}
        self._condemned: dict[Identity, Condemned] = {}
        self._written: set[Identity] = set()
        self.span: int | None = None
        """How many events may be delivered before a checkpoint is stored; None for no limit."""

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """A checkpoint was stored: what came before it is over. A narrowed span widens again.

        While bootstrapping nothing tells which events came before it, so what was given up is kept in mind.
        """
        until = checkpoint.cursor.scn if isinstance(checkpoint, StreamCheckpoint) else -1

        def is_over(name: Identity | str) -> bool:
            return isinstance(name, str) or name[1] <= until

        self._attempts = {name: count for name, count in self._attempts.items() if not is_over(name)}
        self._condemned = {name: found for name, found in self._condemned.items() if not is_over(name)}
        self._written = {name for name in self._written if not is_over(name)}
        if self.span is not None:
            self.span = self.span * 2 if self.span < 65_536 else None

    def judge(self, failure: Failure, delivered: int, last: ChangeEvent | None) -> bool | Next:
        """Tell the consumer and decide. True: wait before the replay; False: replay at once; STOP: end the run.

        delivered: events since the last checkpoint; last: the one, when there is one. Raises ConsumerError to halt.
        """
        error, event = failure.error, failure.event
        of_events = event is None and failure.callback.endswith(("_events", "_checkpoint"))
        events = (failure.events or delivered) if of_events else 0
        if events == 1:
            event = last
        answer = None if failure.told or isinstance(error, Retry) else self._on_error(error, event)
        if isinstance(error, Retry):
            log.warning("%s: %s is tried again: %s", self._consumer, failure.callback, error)
        else:
            log.warning("%s: %s failed%s: %s", self._consumer, failure.callback, _at(event), error_text(error))
        if answer is Next.STOP:
            return Next.STOP
        if answer is Next.SKIP and event is not None:
            self._condemned[identity(event)] = Condemned(error=error, attempts=0, letter=False)
            return False
        if isinstance(error, Reject):
            for one, _ in error.events:
                self._give_up(one, failure, attempts=self._counted(identity(one)))
            return False
        if isinstance(error, Retry) or (isinstance(error, DifferError) and error.transient):
            return True
        if event is None and events > 1 and self.span != 1:
            self.span = max(1, min(events, self.span or events) // 2)
            return True
        if event is None:
            if self._counted(failure.callback) >= self._retries.attempts:
                raise self._halt(failure, None, self._retries.attempts)
            return True
        attempts = self._counted(identity(event)) if not failure.told else self._attempts.get(identity(event), 0)
        if attempts < self._retries.attempts:
            return True
        self._give_up(event, failure, attempts)
        return False

    def hung(self, failure: Failure) -> None:
        """A callback overran its budget once more; raises ConsumerError when that was once too often."""
        event = failure.event
        attempts = self._counted(failure.callback if event is None else identity(event))
        self._on_hang(failure.error, event)
        log.warning("%s: %s%s", self._consumer, error_text(failure.error), _at(event))
        if attempts >= self._retries.attempts:
            raise ConsumerError(
                f"consumer {self._consumer}: {error_text(failure.error)}{_at(event)}; its thread was left behind",
                hint="Python cannot end a thread: mend the callback, and start the consumer anew",
            ) from failure.error

    def sift(self, batch: EventBatch, cursor: Cursor) -> EventBatch:
        """The batch without what was given up; letters are written for those of it that had none.

        Cost: nothing while nothing is given up.
        """
        if not self._condemned:
            return batch
        keep = np.ones(len(batch), dtype=np.bool_)
        for row, event in enumerate(change_events(batch)):
            name = identity(event)
            found = self._condemned.get(name)
            if found is None:
                continue
            keep[row] = False
            if found.letter and name not in self._written:
                assert self._dead_letters is not None  # noqa: S101
                events = Events(batch.slice(row, 1), cursor.at(event.scn))
                self._dead_letters.add(self._consumer, events, found.error, found.attempts)
                self._written.add(name)
        return batch if keep.all() else batch.take(pa.array(keep))

    def _give_up(self, event: ChangeEvent, failure: Failure, attempts: int) -> None:
        if self._dead_letters is None:
            raise self._halt(failure, event, attempts)
        self._condemned[identity(event)] = Condemned(error=failure.error, attempts=attempts, letter=True)

    def _halt(self, failure: Failure, event: ChangeEvent | None, attempts: int) -> ConsumerError:
        times = "once" if attempts == 1 else f"{attempts} times"
        halted = ConsumerError(
            f"consumer {self._consumer}: {failure.callback} failed {times}{_at(event)}: {error_text(failure.error)}",
            hint="mend the consumer and start it again, it goes on at its last checkpoint"
            + ("" if event is None else "; or give it dead letters"),
        )
        halted.__cause__ = failure.error
        return halted

    def _counted(self, name: Identity | str) -> int:
        self._attempts[name] = self._attempts.get(name, 0) + 1
        return self._attempts[name]


def identity(event: ChangeEvent) -> Identity:
    """What tells an event from all others, also among the rows of a bootstrap, which share one SCN."""
    return event.stream, event.scn, event.source, repr(event.key)


def _at(event: ChangeEvent | None) -> str:
    if event is None:
        return ""
    row = f", key {key_text(event.key)}" if event.baseline else ""  # All rows of a bootstrap have one SCN.
    return f" at SCN {event.scn} of {event.source}{row}"
