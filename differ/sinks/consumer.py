"""A sink as a consumer: gathers changes to batches, and writes each with the checkpoint after it.

    events -> mapper -> buffer ..... checkpoint due -> last change of a key -> sink.apply(.., checkpoint)
                                                       (a sink of events: all of them, in order)

Invariant: when `on_checkpoint` returns, every change before the checkpoint is at the destination, is a dead letter, or
is counted as unmapped. What is in the buffer was not written, so a rollback only empties it.
Source: Kafka Connect's sink worker; its error tolerance and dead letter queue (KIP-298).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from differ.client.consumer import Answer, Consumer, Retry
from differ.config.sink import SinkSettings
from differ.errors import FencedError, SinkError, SinkUnavailableError
from differ.formats.checkpoint import Checkpoint, StreamCheckpoint
from differ.model import ChangeEvent
from differ.sinks.contract import Change, Generation, Sink
from differ.sinks.destination import destination_of
from differ.sinks.letters import LetterBox
from differ.sinks.mapper import Mapper
from differ.sinks.refusals import Refusals, Refused, Write
from differ.sinks.status import SinkStatus

if TYPE_CHECKING:
    from differ.client.bootstrapping import Bootstrap
    from differ.client.events import Events

log = logging.getLogger(__name__)


class TakenOverError(SinkError):
    """Another process has opened the destination since. Not FencedError, which speaks of the lease on the relay."""


class SinkConsumer(Consumer):
    """Writes one sink; for one run of a client at a time. The sink is opened by `SinkCheckpoints.load`."""

    def __init__(
        self,
        sink: Sink,
        settings: SinkSettings,
        project: Path,
        *,
        box: LetterBox,
        status: SinkStatus | None = None,
    ) -> None:
        """box: where refused records go. Raises ConfigError, SinkError for hooks that cannot be loaded."""
        self.status = status or SinkStatus()
        self._settings, self._box = settings, box
        self._refusals = Refusals(settings.name, settings.refused, box)
        self._destination = destination_of(sink)
        self._mapper = Mapper(settings, project, holds_state=self._destination.holds_state)
        self._buffer: list[Change] = []
        self._refused: list[Refused] = []

    # -- streaming ----------------------------------------------------------------------------------------------------

    def on_events(self, events: Events) -> Answer:
        """Take the changes; the run's pace says when they are written."""
        self._gather(events, bootstrap=False)
        return None

    def on_checkpoint(self, checkpoint: Checkpoint) -> Answer:
        """Write what was gathered, with the checkpoint. Raises Retry while the destination is down."""
        self._write(self._destination.settle(self._buffer), self._destination.write, checkpoint)
        return None

    def on_rollback(self, checkpoint: Checkpoint) -> Answer:
        """What was gathered comes again."""
        self.forget()
        return None

    def on_error(self, error: Exception, event: ChangeEvent | None) -> Answer:
        """End the run: what can be tried again was, and records that are refused were put aside."""
        raise error

    # -- bootstrap ----------------------------------------------------------------------------------------------------

    def on_bootstrap_start(self, bootstrap: Bootstrap) -> Answer:
        """Make the destination ready for a generation, or for the rest of one."""
        self.forget()
        self._try(lambda: self._destination.begin(_generation(bootstrap)))
        return None

    def on_bootstrap_events(self, events: Events) -> Answer:
        """Take the rows, as changes are taken."""
        self._gather(events, bootstrap=True)
        return None

    def on_bootstrap_checkpoint(self, checkpoint: Checkpoint) -> Answer:
        """Load what was gathered, with the checkpoint in the middle of the generation."""
        of_stream = isinstance(checkpoint, StreamCheckpoint)  # behind the last row
        self._write(self._buffer, self._destination.write if of_stream else self._destination.load_rows, checkpoint)
        return None

    def on_bootstrap_end(self, bootstrap: Bootstrap) -> Answer:
        """Load the rest and put the generation in the place of what was there."""
        self._write(self._buffer, self._destination.load_rows, None)
        generation = _generation(bootstrap)
        checkpoint = StreamCheckpoint(cursor=generation.cursor)
        self._try(lambda: self._destination.end(generation, checkpoint))
        self.status.checkpoint = checkpoint
        self.status.bootstraps += 1
        return None

    # -- both ---------------------------------------------------------------------------------------------------------

    def _gather(self, events: Events, *, bootstrap: bool) -> None:
        batch, unmapped = events.batch, self._mapper.unmapped
        self._box.hold(events)
        for made in self._mapper.changes(batch, bootstrap=bootstrap):
            if isinstance(made, Change):
                self._buffer.append(made)
            else:
                event, error = made
                self._refused.append((event, error.message))
        self.status.events += len(events)
        self.status.unmapped += self._mapper.unmapped - unmapped
        self.status.unknown_columns = tuple(self._mapper.unknown_columns())

    def _write(self, changes: list[Change], write: Write, checkpoint: Checkpoint | None) -> None:
        """Write the changes in pieces of at most `batch.events`, the checkpoint with the last one."""
        if self._refused:
            self._refusals.put_aside(self._refused)
            self.status.refused += len(self._refused)
            self._refused = []
        size = self._settings.batch.events
        starts = range(0, len(changes), size) or range(1)
        for start in starts:
            last = start == starts[-1]
            self._write_piece(changes[start : start + size], write, checkpoint if last else None)
        self.forget()
        if checkpoint is not None:
            self.status.checkpoint = checkpoint

    def _write_piece(self, changes: list[Change], write: Write, checkpoint: Checkpoint | None) -> None:
        def accepted() -> None:
            self.status.refused += self._refusals.write(write, changes, checkpoint)

        if changes or checkpoint is not None:
            self._try(accepted)
        if changes:
            self.status.written(changes)

    def _try(self, call: Callable[[], None]) -> None:
        """Call the destination. One that is down is Retry, so that the run waits and looks after its lease meanwhile;
        it goes back to the last checkpoint then, and everything comes again."""
        try:
            call()
        except FencedError as error:
            raise TakenOverError(error.message, hint=error.hint) from error
        except SinkUnavailableError as error:
            self.status.is_down(error)
            raise Retry(error.message) from error
        if (seconds := self.status.is_up()) is not None:
            log.info("sink %s: its destination answers again, after %.0f s", self._settings.name, seconds)

    def forget(self) -> None:
        """Drop what was gathered and not written."""
        self._box.forget()
        self._buffer = []
        self._refused = []


def _generation(bootstrap: Bootstrap) -> Generation:
    return Generation(id=bootstrap.generation, cursor=bootstrap.cursor, sources=tuple(bootstrap.sources))
