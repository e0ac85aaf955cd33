"""The sink contract: what differ asks of the code that writes a destination.

There are two kinds. A `StateSink` holds one record for each key, so it is given upserts and deletes, one for a key, in
any order. An `EventSink` holds what happened, so it is given every change in SCN order.

    sink = MySink(context, options)     options: checked by the class's own `Options`
    sink.open()                         connect, create what is missing, take the destination over
    sink.load() -> Checkpoint | None    where the destination stands, if it keeps that (`keeps_checkpoint`)
    sink.apply(upserts, deletes, checkpoint)      or  sink.publish(changes, checkpoint)
    sink.begin_bootstrap(generation) .. apply_bootstrap(rows, checkpoint) .. end_bootstrap(generation, checkpoint)
    sink.close()                        always called, also after a failure

Rules that every sink keeps:

1. When a call returns, what it was given is durable at the destination, and so is the checkpoint. Where they cannot be
   written in one transaction, the checkpoint comes last. A checkpoint of None: write the changes, leave the checkpoint.
2. The same changes may come again, also after later ones (a replay): the final state is that of the last event.
3. A bootstrap replaces. After `end_bootstrap` the destination holds the rows of this generation and nothing that this
   sink's sources wrote before. `begin_bootstrap` of the generation whose checkpoint `load` gave goes on with what was
   loaded; of any other, it throws away what an unfinished one left. `end_bootstrap` may be called again.
4. `open` takes the destination over: where the destination can tell writers apart, whoever opened it before under this
   sink's name is refused from then on with FencedError.
5. Errors: SinkUnavailableError when trying again may help (it is tried for as long as it takes); RefusedError for
   records that the destination will never take; SinkError for what a person has to mend. After any error the same
   instance is used again, or closed and a new one opened: it must reconnect by itself.

All calls of one sink come from one thread at a time. Source: Kafka Connect's SinkTask; Aesop's data layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO, TypeAlias

from differ.config.fields import Section
from differ.errors import SinkError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.model import ChangeEvent, Op
from differ.records.types import LogicalType

Document: TypeAlias = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Change:
    """One change of one key, mapped to what the destination stores. Nobody changes one; frozen, it would take three
    times as long to make, and one is made for every event.

    op: what happened to the record at the destination's end; an update after which the record maps to nothing is a
    delete for a StateSink. key: the key columns under the destination's names, in key order. document: the whole
    mapped record with Python's own values (a json column in BSON's classes), None for a delete; key fields are in it.
    before: the mapped before image, for EventSinks alone. types: logical types of the document's fields, as far as
    they are known (a hook's own fields have none). origin: the event as it came, or the events
    of its batch, of which it is number `row`.

    (stream, scn) is the idempotence key of an event. The rows of a bootstrap are inserts that all have the SCN that
    the bootstrap is pinned at; there it is (stream, scn, source, key).
    """

    stream: str
    source: str
    scn: int
    op: Op
    key: Document
    document: Document | None
    origin: ChangeEvent | Sequence[ChangeEvent] = field(repr=False)
    row: int = 0
    before: Document | None = None
    types: Mapping[str, LogicalType] = field(default_factory=dict)

    @property
    def event(self) -> ChangeEvent:
        """The event as it came. Where nobody asked for one so far, those of its whole batch are made now."""
        return self.origin if isinstance(self.origin, ChangeEvent) else self.origin[self.row]

    @property
    def key_values(self) -> tuple[Any, ...]:
        """The key's values, in key order."""
        return tuple(self.key.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One replacement of the destination's state by the snapshots of `sources` as of `cursor`."""

    id: str
    cursor: Cursor
    sources: tuple[str, ...]

    @property
    def stream(self) -> str:
        """The stream that the snapshots belong to."""
        return self.cursor.stream

    @property
    def scn(self) -> int:
        """The SCN that the snapshots are pinned at."""
        return self.cursor.scn


@dataclass(frozen=True, kw_only=True)
class SinkContext:
    """What a sink is told of its place.

    name: of the sink in scheduler.yaml. sources: that it follows. project: the folder that relative paths start from.
    state: a folder of the sink's own, made by whoever needs it. out: the text stream of a sink that shows its changes,
    where the caller has one.
    """

    name: str
    sources: tuple[str, ...]
    project: Path
    state: Path
    out: TextIO | None = None


class RefusedError(SinkError):
    """The destination will never take some records of the call, for what they hold.

    refused: the records and why, when they are known; every other change of the call was written then, the checkpoint
    was not. Empty: nothing of the call was written, and the caller finds the records by halving.
    """

    code = "RECORD_REFUSED"

    def __init__(self, message: str, *, hint: str | None = None, refused: Sequence[tuple[Change, str]] = ()) -> None:
        super().__init__(message, hint=hint)
        self.refused = tuple(refused)


class Sink:
    """What both kinds have. A subclass sets `Options`, a `Section` whose fields are the sink's options."""

    Options: ClassVar[type[Section]] = Section
    keeps_checkpoint: ClassVar[bool] = False
    """Whether `load` says where the destination stands; else the checkpoint is kept on the relay."""

    def __init__(self, context: SinkContext, options: Any) -> None:
        self.context = context
        self.options = options

    @classmethod
    def check(cls, context: SinkContext, options: Any) -> None:
        """Raise UsageError for options that contradict each other or the sources; connects to nothing."""

    def open(self) -> None:
        """Connect, create what is missing, take the destination over. Called again after a failure."""

    def load(self) -> Checkpoint | None:
        """The checkpoint that the destination holds, None where there is none yet."""
        return None

    def close(self) -> None:
        """Let go of connections. Idempotent; raises nothing."""


class StateSink(Sink, ABC):
    """Holds one record for each key of its sources."""

    keeps_checkpoint = True

    @abstractmethod
    def apply(self, upserts: Sequence[Change], deletes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Replace or create the records of `upserts`, remove those of `deletes`; no key is in both, or twice in one."""

    @abstractmethod
    def begin_bootstrap(self, generation: Generation) -> None:
        """Make ready for the rows of a generation, beside the state that is there."""

    @abstractmethod
    def apply_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Load rows; the same ones may come again. Readers should not see them before the end."""

    @abstractmethod
    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Put the loaded rows in the place of everything that this sink's sources wrote before."""


class EventSink(Sink, ABC):
    """Holds or passes on every change, in SCN order."""

    @abstractmethod
    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Write the changes, which ascend by SCN. Changes of one key must stay in order."""

    def begin_bootstrap(self, generation: Generation) -> None:
        """Told before the rows of a bootstrap; by default nothing is done."""

    def publish_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Write the rows of a bootstrap; by default published like other changes."""
        self.publish(rows, checkpoint)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Told after the last row of a bootstrap; stores the checkpoint where the sink keeps it."""
        self.publish((), checkpoint)
