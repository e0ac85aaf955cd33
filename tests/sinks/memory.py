"""Sinks that write to a place in this process, which tests look into, take down and let refuse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from differ.config.fields import Section
from differ.errors import FencedError, SinkUnavailableError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.sinks.contract import Change, EventSink, Generation, RefusedError, SinkContext, StateSink

PLACES: dict[str, "Place"] = {}
Key = tuple[str, str]


@dataclass
class Place:
    """A destination. refuses: whether it never takes a change. fault: called before each call, and may raise."""

    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    loading: dict[Key, dict[str, Any]] = field(default_factory=dict)
    generation: str | None = None
    completed: str | None = None
    checkpoint: Checkpoint | None = None
    epoch: int = 0
    events: list[Change] = field(default_factory=list)
    down: bool = False
    attempts: int = 0
    writes: list[int] = field(default_factory=list)
    refuses: Callable[[Change], bool] = lambda change: False
    names_refused: bool = False
    fault: Callable[[str], None] = lambda call: None

    def state(self, source: str) -> list[dict[str, Any]]:
        return [row for (name, _), row in sorted(self.rows.items()) if name == source]


class Options(Section):
    """The options of both."""

    place: str


class _Memory:
    Options: ClassVar[type[Section]] = Options
    context: SinkContext
    options: Options

    @property
    def place(self) -> Place:
        return PLACES.setdefault(self.options.place, Place())

    def open(self) -> None:
        self._try("open", ())
        self.place.epoch += 1
        self.epoch = self.place.epoch

    def _try(self, call: str, changes: Sequence[Change]) -> None:
        place = self.place
        place.attempts += 1
        if place.down:
            raise SinkUnavailableError(f"{call}: the place is down")
        place.fault(call)
        if call != "open" and self.epoch != place.epoch:
            raise FencedError(f"{call}: another has opened it since")
        refused = [(change, "it is ugly") for change in changes if place.refuses(change)]
        if refused and not place.names_refused:
            raise RefusedError(f"{call}: {len(refused)} are ugly")
        self.refused = refused

    def _told(self) -> None:
        if self.refused:
            raise RefusedError("some are ugly", refused=self.refused)


class Memory(_Memory, StateSink):
    """Rows by source and key."""

    def load(self) -> Checkpoint | None:
        self._try("load", ())
        return self.place.checkpoint

    def apply(self, upserts: Sequence[Change], deletes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        self._try("apply", [*deletes, *upserts])
        keys = [_key(change) for change in [*deletes, *upserts]]
        assert len(set(keys)) == len(keys), "a key twice in one call"
        for change in deletes:
            self.place.rows.pop(_key(change), None)
        bad = {id(change) for change, _ in self.refused}
        self.place.rows |= {_key(c): dict(c.document or {}) for c in upserts if id(c) not in bad}
        self.place.writes.append(len(keys))
        self._told()
        self.place.checkpoint = checkpoint or self.place.checkpoint
        self.place.fault("applied")

    def begin_bootstrap(self, generation: Generation) -> None:
        self._try("begin", ())
        if self.place.generation != generation.id:
            self.place.loading, self.place.generation = {}, generation.id

    def apply_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        self._try("load rows", rows)
        bad = {id(change) for change, _ in self.refused}
        self.place.loading |= {_key(row): dict(row.document or {}) for row in rows if id(row) not in bad}
        self._told()
        self.place.checkpoint = checkpoint or self.place.checkpoint
        self.place.fault("loaded")

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        self._try("end", ())
        if self.place.completed != generation.id:
            kept = {key: row for key, row in self.place.rows.items() if key[0] not in generation.sources}
            self.place.rows = kept | self.place.loading
            self.place.loading, self.place.generation, self.place.completed = {}, None, generation.id
            self.place.checkpoint = checkpoint
        self.place.fault("ended")


class MemoryEvents(_Memory, EventSink):
    """Every change, in the order in which it came."""

    def publish(self, changes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        self._try("publish", changes)
        bad = {id(change) for change, _ in self.refused}
        self.place.events += [change for change in changes if id(change) not in bad]
        self._told()
        self.place.fault("published")


def _key(change: Change) -> Key:
    return change.source, repr(change.key_values)
