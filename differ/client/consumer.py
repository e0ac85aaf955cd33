"""A consumer: the callbacks that a run makes, and the answers that steer it.

    on_start
      on_bootstrap_start  on_bootstrap_events*  on_bootstrap_checkpoint*  on_bootstrap_end       only when it bootstraps
      on_window_start  on_events*  on_window_end  on_checkpoint                                  again and again
      on_error  on_rollback                                                                      when a callback fails
    on_stop

A callback returns None, or a `Next`; or raises. What it raises is taken as "this failed": the run goes back to the last
stored checkpoint and delivers again from there, so every callback must bear to be called again for the same events.
Idempotence key: (`event.stream`, `event.scn`); while bootstrapping also the source and the key.

Invariant: everything delivered before a checkpoint was processed when `on_checkpoint` is called for it.
Source: Databus' DatabusCombinedConsumer and ConsumerCallbackResult.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from differ.errors import UsageError
from differ.formats.checkpoint import Checkpoint
from differ.model import ChangeEvent, Window

if TYPE_CHECKING:
    from differ.client.bootstrapping import Bootstrap
    from differ.client.events import Events


class Next(enum.Enum):
    """What a callback may answer; None goes on."""

    CHECKPOINT = "checkpoint"
    """Store a checkpoint now, after this event."""
    SKIP = "skip"
    """Leave it out: an event or batch (as if processed), the rest of a window (from `on_window_start`), a
    checkpoint (from `on_checkpoint`: it is not stored), a failed event (from `on_error`: it is not tried again)."""
    RETRY = "retry"
    """Not now: go back to the last checkpoint and try again after the back-off, as often as it takes."""
    STOP = "stop"
    """Store a checkpoint after this event and end the run."""


class Skip(Exception):  # noqa: N818
    """Raised instead of returning `Next.SKIP`."""


class Retry(Exception):  # noqa: N818
    """Raised instead of returning `Next.RETRY`, as when what the consumer writes to is down; counts as no attempt."""


class Stop(Exception):  # noqa: N818
    """Raised instead of returning `Next.STOP`."""


class Reject(Exception):  # noqa: N818
    """Raised where these events can never be processed, whatever is tried: they become dead letters at once.

    events: with the reason for each. May be raised by any callback, also for events that it was given before.
    """

    def __init__(self, events: Sequence[tuple[ChangeEvent, str]]) -> None:
        super().__init__("; ".join(sorted({reason for _, reason in events})))
        self.events = tuple(events)


Answer = Next | None


class Consumer:
    """Base of consumers: override what is needed. Callbacks are called from one thread at a time, unless the run has
    several workers: then `on_event` and `on_events` come from several threads, each key always in order."""

    def on_start(self) -> None:
        """Called once before everything else. What it raises ends the run, without `on_stop`."""

    def on_stop(self) -> None:
        """Called once at the end, however the run ends, if `on_start` returned."""

    def on_window_start(self, window: Window) -> Answer:
        """The first event of a window is next. Called again for a window that is resumed in its middle."""

    def on_event(self, event: ChangeEvent) -> Answer:
        """Process one event."""

    def on_events(self, events: Events) -> Answer:
        """Process a batch of one source's events inside one window. Override this one to work on Arrow or pandas;
        by default `on_event` is called for each."""
        for event in events:
            answer = self.on_event(event)
            if answer not in (None, Next.SKIP):
                return answer
        return None

    def on_window_end(self, window: Window) -> Answer:
        """All events of the window that pass the filters were processed."""

    def on_checkpoint(self, checkpoint: Checkpoint) -> Answer:
        """Called before a checkpoint is stored: make durable whatever came before it."""

    def on_rollback(self, checkpoint: Checkpoint) -> Answer:
        """Forget what came after this checkpoint and is not durable: it comes again."""

    def on_error(self, error: Exception, event: ChangeEvent | None) -> Answer:
        """A callback failed; `event` where it is known which one was at fault. What this raises ends the run."""

    def on_bootstrap_start(self, bootstrap: Bootstrap) -> Answer:
        """A bootstrap begins, or is resumed: rows of all sources come, and replace what was there before."""

    def on_bootstrap_event(self, event: ChangeEvent) -> Answer:
        """One row of a snapshot, as an insert; by default given to `on_event`."""
        return self.on_event(event)

    def on_bootstrap_events(self, events: Events) -> Answer:
        """Rows of one source's snapshot; by default `on_bootstrap_event` is called for each."""
        for event in events:
            answer = self.on_bootstrap_event(event)
            if answer not in (None, Next.SKIP):
                return answer
        return None

    def on_bootstrap_checkpoint(self, checkpoint: Checkpoint) -> Answer:
        """As `on_checkpoint`, while bootstrapping; by default given to it."""
        return self.on_checkpoint(checkpoint)

    def on_bootstrap_rollback(self, checkpoint: Checkpoint) -> Answer:
        """As `on_rollback`, while bootstrapping; by default given to it."""
        return self.on_rollback(checkpoint)

    def on_bootstrap_end(self, bootstrap: Bootstrap) -> Answer:
        """All rows came. What is held of these sources and was not among them is gone from the source: remove it."""


def overrides(consumer: Consumer, name: str) -> bool:
    """Whether the consumer has its own form of a callback."""
    own = getattr(consumer, name)
    return getattr(own, "__func__", own) is not getattr(Consumer, name)


def check_consumer(consumer: object, name: str) -> None:
    """Raises UsageError for what is no consumer, or has a method that is almost named as a callback.

    A callback whose name is mistyped would never be called, and every event count as processed.
    """
    if isinstance(consumer, type):
        raise UsageError(f"run consumer {name}: {consumer.__name__} is a class", hint=f"give {consumer.__name__}(...)")
    if not isinstance(consumer, Consumer):
        raise UsageError(f"run consumer {name}: {type(consumer).__name__} is no Consumer", hint="subclass Consumer")
    callbacks = {known for known in vars(Consumer) if known.startswith("on_")}
    for own in sorted(dir(consumer)):
        if own in callbacks or not own.startswith("on") or not callable(getattr(type(consumer), own, None)):
            continue
        near = difflib.get_close_matches(own.lower(), callbacks, n=1, cutoff=0.85)
        if near:
            raise UsageError(
                f"run consumer {name}: {own} is no callback and would never be called",
                hint=f"did you mean {near[0]}? A method of your own wants another name",
            )
