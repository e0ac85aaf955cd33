"""Both kinds of sink behind one face, so that the consumer need not ask which one it writes.

Invariant: nothing but the contract's methods is called, each with what the contract says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from differ.errors import SinkError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.sinks.contract import Change, EventSink, Generation, Sink, StateSink
from differ.sinks.net import last_of_keys


class Destination(Protocol):
    """What the consumer asks of a sink. Each call may raise what the contract says."""

    holds_state: bool

    def settle(self, changes: Sequence[Change]) -> list[Change]:
        """What is to be written of changes that ascend by SCN, in the order of writing."""

    def write(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Write what `settle` gave, or a part of it."""

    def begin(self, generation: Generation) -> None:
        """A bootstrap begins or goes on."""

    def load_rows(self, rows: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Rows of a bootstrap."""

    def end(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """The bootstrap is complete."""


def destination_of(sink: Sink) -> Destination:
    """The face of a sink. Raises SinkError for a class that is of neither kind."""
    if isinstance(sink, StateSink):
        return _State(sink)
    if isinstance(sink, EventSink):
        return _Events(sink)
    raise SinkError(f"sink {sink.context.name}: {type(sink).__name__} is neither a StateSink nor an EventSink")


class _State:
    holds_state = True

    def __init__(self, sink: StateSink) -> None:
        self._sink = sink
        self.begin, self.end = sink.begin_bootstrap, sink.end_bootstrap

    def settle(self, changes: Sequence[Change]) -> list[Change]:
        upserts, deletes = last_of_keys(changes)
        return deletes + upserts

    def write(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        upserts = [change for change in changes if change.document is not None]
        deletes = [change for change in changes if change.document is None]
        self._sink.apply(upserts, deletes, checkpoint)

    def load_rows(self, rows: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        self._sink.apply_bootstrap(rows, _of_bootstrap(checkpoint))


class _Events:
    holds_state = False

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.begin, self.end, self.write = sink.begin_bootstrap, sink.end_bootstrap, sink.publish

    def settle(self, changes: Sequence[Change]) -> list[Change]:
        return list(changes)

    def load_rows(self, rows: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        self._sink.publish_bootstrap(rows, _of_bootstrap(checkpoint))


def _of_bootstrap(checkpoint: Checkpoint | None) -> BootstrapCheckpoint | None:
    if isinstance(checkpoint, StreamCheckpoint):
        raise SinkError("load rows of a bootstrap: a checkpoint of the stream came in its middle")
    return checkpoint
