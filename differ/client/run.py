"""One run of a consumer: from `on_start` to `on_stop`, over bootstraps and the stream, for as long as it takes.

    begin      where do I stand, and what is my own?          (positions)
    no checkpoint            -> bootstrap, or a place of the stream that is stored first
    a bootstrap's checkpoint -> go on with it                 (bootstrapping)
    a stream's checkpoint    -> follow the stream             (loop, road)
    SCN_TOO_OLD and others   -> bootstrap, where that is allowed
    the assignment changed   -> begin

Invariants: `on_stop` is called once if `on_start` returned; a place to start at is stored before anything is read, so
that a crash before the first checkpoint skips nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from differ.client.consumer import Answer, Consumer
from differ.client.deadletters import DeadLetters
from differ.client.delivery import Deliverer, FailedError, Inline, guarded, stream_callbacks
from differ.client.loop import Ended, Loop, Pace, halted
from differ.client.positions import Assignment, Positions
from differ.client.reading import Selection, place
from differ.client.retries import Backoff, Retries
from differ.client.road import stream_road
from differ.client.transport import Transport
from differ.client.troubles import Troubles
from differ.client.workers import Pool
from differ.errors import (
    DifferError,
    FencedError,
    RelayUnavailableError,
    ScnAheadError,
    ScnTooOldError,
    StreamChangedError,
)
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.model import ChangeEvent

log = logging.getLogger(__name__)

Start = Literal["bootstrap", "oldest", "head"] | int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run was asked to do; see `Client.run`."""

    name: str
    selection: Selection
    start: Start = "bootstrap"
    may_bootstrap: bool = True
    until_head: bool = False
    workers: int = 1
    retries: Retries = field(default_factory=Retries)
    pace: Pace = field(default_factory=Pace)
    dead_letters: DeadLetters | None = None


class Run:
    """Runs one consumer. `go` is called once; `stop` may be set by any thread or signal handler."""

    def __init__(
        self, consumer: Consumer, transport: Transport, positions: Positions, plan: Plan, stop: threading.Event
    ) -> None:
        self.consumer, self.transport, self.positions = consumer, transport, positions
        self.plan, self.stop = plan, stop
        self.troubles = Troubles(
            plan.name, plan.retries, plan.dead_letters, on_error=self._on_error, on_hang=self._on_hang
        )
        self.deliverer = self._deliverer()
        self.loop = Loop(
            positions=positions,
            deliverer=self.deliverer,
            troubles=self.troubles,
            pace=plan.pace,
            backoff=Backoff(plan.retries, stop),
            stop=stop,
        )

    def go(self) -> None:
        """Run until the head (`until_head`), until told to stop, or until something ends it, which is raised."""
        try:
            self._call("on_start", self.consumer.on_start)
            try:
                self._travel()
            except BaseException as error:
                self._stop_after(error)
                raise
            self._call("on_stop", self.consumer.on_stop)
        finally:
            self.deliverer.close()
            self.transport.close()

    def _travel(self) -> None:
        try:
            while (assignment := self.positions.begin()) is not None:
                try:
                    ended = self._follow(assignment)
                except FailedError as failed:  # Storing a place to start at; everything else is dealt with before.
                    raise failed.failures[0].error from None
                except FencedError as error:
                    log.info("%s: %s", self.plan.name, error)
                    continue
                if ended is not Ended.CHANGED:
                    return
        except RelayUnavailableError:
            if not self.stop.is_set():
                raise
        finally:
            self.positions.close()

    def _follow(self, assignment: Assignment) -> Ended:
        checkpoint = assignment.checkpoint
        if checkpoint is None and self.plan.start != "bootstrap":
            checkpoint = self._place(assignment)
        while True:
            if not isinstance(checkpoint, StreamCheckpoint):
                ended = self._bootstrap(assignment, checkpoint)
                if ended is not Ended.ROAD:
                    return ended
                assert isinstance(self.loop.stored, StreamCheckpoint)  # noqa: S101
                checkpoint = self.loop.stored
            try:
                return self._stream(assignment, checkpoint)
            except (ScnTooOldError, ScnAheadError, StreamChangedError) as error:
                if not self.plan.may_bootstrap:
                    raise
                log.warning("%s: %s; bootstrapping", self.plan.name, error)
                checkpoint = None

    def _place(self, assignment: Assignment) -> Checkpoint:
        """The place to start at, stored."""
        backoff = Backoff(self.plan.retries, self.stop)
        cursor = place(self.transport, self.selection(assignment), self.plan.start, backoff=backoff)
        self.loop.store(StreamCheckpoint(cursor=cursor))
        return StreamCheckpoint(cursor=cursor)

    def _stream(self, assignment: Assignment, checkpoint: StreamCheckpoint) -> Ended:
        road = stream_road(
            self.transport,
            self.selection(assignment),
            stream_callbacks(self.consumer),
            self.plan.retries,
            until_head=self.plan.until_head,
            own=assignment.own,
        )
        return self.loop.travel(road, checkpoint)

    def _bootstrap(self, assignment: Assignment, checkpoint: BootstrapCheckpoint | None) -> Ended:
        """ROAD when the bootstrap is complete and the stream's checkpoint behind it is stored."""
        from differ.client.bootstrapping import bootstrap

        return bootstrap(self, assignment, checkpoint)

    def selection(self, assignment: Assignment) -> Selection:
        """What is read for an assignment: the plan's selection, in its partitions."""
        plan = self.plan.selection
        return Selection(sources=plan.sources, ops=plan.ops, partition=assignment.partitions)

    # -- callbacks ---------------------------------------------------------------------------------------------------

    def _deliverer(self) -> Deliverer:
        retries = self.plan.retries
        if self.plan.workers == 1 and retries.callback_seconds is None:
            return Inline()
        return Pool(
            self.plan.workers,
            self.plan.pace.batch_events,
            budget_seconds=retries.callback_seconds,
            hung=self.troubles.hung,
        )

    def _call(self, name: str, function: Callable[..., object], *arguments: object) -> Answer:
        """A callback that is not tried again: its failure ends the run."""
        try:
            return self.deliverer.call(name, function, *arguments)  # type: ignore[arg-type]
        except FailedError as failed:
            cause = failed.failures[0].error
            if isinstance(cause, DifferError):
                raise cause from None
            raise halted(failed) from cause

    def _on_error(self, error: Exception, event: ChangeEvent | None) -> Answer:
        return self._call("on_error", self.consumer.on_error, error, event)

    def _on_hang(self, error: Exception, event: ChangeEvent | None) -> Answer:
        """From the run's thread, as the consumer's own hangs."""
        try:
            return guarded("on_error", self.consumer.on_error, error, event)
        except FailedError as failed:
            raise halted(failed) from failed.failures[0].error

    def _stop_after(self, error: BaseException) -> None:
        """Call `on_stop` after an error, which matters more than what `on_stop` may raise."""
        try:
            self._call("on_stop", self.consumer.on_stop)
        except DifferError as second:
            log.error("%s: %s, after %r", self.plan.name, second, error)
