"""Dead letters of a sink, given to it again: only while nobody else writes it, and never over newer state.

    lease of the sink -> its checkpoint -> what the stream says of the letters' keys since -> superseded, or written

Invariant: a letter whose key has a later event at or below the sink's checkpoint is not written; the destination has
that later event. Letters are settled when they were written, or are superseded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from differ.client.client import Client
from differ.client.deadletters import DeadLetter, DeadLetters, chosen
from differ.client.events import Events
from differ.client.membership import Membership
from differ.client.transport import Transport
from differ.config.problems import suggestion
from differ.config.sink import RefusedSettings, SinkSettings
from differ.errors import BusyError, ScnTooOldError, SinkError, StreamChangedError, UsageError
from differ.formats.batch import EventBatch
from differ.formats.checkpoint import Checkpoint, StreamCheckpoint
from differ.formats.partitions import VIRTUAL
from differ.records.keytext import key_texts
from differ.sinks.checkpoints import SinkCheckpoints
from differ.sinks.consumer import SinkConsumer
from differ.sinks.letters import LetterBox
from differ.sinks.registry import make_sink
from differ.sinks.runner import consumer_name, context_of, relay_token

if TYPE_CHECKING:
    from differ.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkReplay:
    """How a replay went, by the letters' numbers. superseded: settled without being written, and by which SCN."""

    done: tuple[int, ...]
    superseded: Mapping[int, int | None]
    failed: Mapping[int, str]


def replay_letters(
    settings: Settings, name: str, box: DeadLetters, numbers: Collection[int] | None = None
) -> SinkReplay:
    """Give letters (None: all that wait) to their sink again, oldest first, by the mapping of today.

    Raises UsageError for an unknown sink or number, BusyError while the sink runs somewhere, RelayError, SinkError.
    """
    sink = settings.sinks.get(name)
    if sink is None:
        raise UsageError(f"unknown sink {name!r}", hint=suggestion(name, settings.sinks))
    letters = chosen(box.pending(), numbers, box.path)
    transport = Transport(settings.relay.reach, token=relay_token(settings))
    try:
        with _lease(transport, sink):
            return _Replay(settings, sink, transport, box).run(letters)
    finally:
        transport.close()


@contextmanager
def _lease(transport: Transport, sink: SinkSettings) -> Iterator[None]:
    seat = Membership(transport, consumer_name(sink.name), sources=sink.sources, exclusive=True)
    seat.join()
    try:
        if len(seat.share.tokens) < VIRTUAL:
            raise BusyError(
                f"replay dead letters: sink {sink.name} runs",
                hint=f"run 'differ modules stop sinks.{sink.name}', replay, and start it again",
            )
        yield
    finally:
        seat.leave()


class _Replay:
    def __init__(self, settings: Settings, sink: SinkSettings, transport: Transport, box: DeadLetters) -> None:
        self._settings, self._settings_of_sink, self._transport, self._box = settings, sink, transport, box
        self._sink = make_sink(sink, context_of(settings, sink))

    def run(self, letters: Sequence[DeadLetter]) -> SinkReplay:
        try:
            name = consumer_name(self._settings_of_sink.name)
            store = SinkCheckpoints(self._sink, self._transport, name, loaded=lambda checkpoint: None)
            checkpoint = store.load()
            if not isinstance(checkpoint, StreamCheckpoint):
                raise SinkError(
                    f"replay dead letters: sink {self._settings_of_sink.name} has not come to the end of a bootstrap",
                    hint="let it run first; a bootstrap brings the sources' whole state, and most letters with it",
                )
            superseded, failed = self._superseded(letters, checkpoint)
            left = [one for one in letters if one.number not in superseded and one.number not in failed]
            done, more = self._write(left, checkpoint)
            if superseded:
                self._box.drop(superseded)
            return SinkReplay(done=done, superseded=superseded, failed=failed | more)
        finally:
            self._sink.close()

    def _superseded(
        self, letters: Sequence[DeadLetter], checkpoint: StreamCheckpoint
    ) -> tuple[dict[int, int | None], dict[int, str]]:
        """Which letters have a later event (None: all of another stream's), and of which it cannot be told."""
        superseded: dict[int, int | None] = {}
        failed: dict[int, str] = {}
        waiting: dict[str, dict[str, list[DeadLetter]]] = defaultdict(lambda: defaultdict(list))
        for letter in letters:
            if letter.stream != checkpoint.cursor.stream:
                superseded[letter.number] = None
            else:
                (text,) = _texts(letter.events().batch).to_pylist()
                waiting[letter.source][text].append(letter)
        for source, keys in waiting.items():
            own = [letter for found in keys.values() for letter in found]
            try:
                last = self._last_scns(source, set(keys), min(one.scn for one in own), checkpoint.cursor.scn)
            except (ScnTooOldError, StreamChangedError) as error:
                told = f"it cannot be told whether a later event was written: {error.message}"
                failed |= {letter.number: told for letter in own}
                continue
            for text, found in keys.items():
                superseded |= {one.number: last[text] for one in found if last.get(text, 0) > one.scn}
        return superseded, failed

    def _last_scns(self, source: str, keys: set[str], since: int, until: int) -> dict[str, int]:
        """The SCN of the last event of each key after `since` and not after `until`. Reads them all."""
        client = Client(self._settings.relay.reach, token=relay_token(self._settings))
        wanted = pa.array(sorted(keys), pa.string())
        last: dict[str, int] = {}
        for events in client.batches([source], since=since):
            texts = _texts(events.batch)
            mask = pc.is_in(texts, value_set=wanted)
            if pc.any(mask).as_py():
                scns = events.batch.take(mask).scns
                last |= {
                    text: scn for text, scn in zip(texts.filter(mask).to_pylist(), scns, strict=True) if scn <= until
                }
            if events.cursor.scn >= until:
                break
        return last

    def _write(self, letters: Sequence[DeadLetter], checkpoint: Checkpoint) -> tuple[tuple[int, ...], dict[int, str]]:
        """Write letters one by one, each with the sink's present checkpoint."""
        if not letters:
            return (), {}
        settings = self._settings_of_sink.model_copy(update={"refused": RefusedSettings(action="halt")})
        consumer = _Once(
            self._sink,
            settings,
            self._settings.project,
            box=LetterBox(self._box, settings.name),
        )
        replayed = self._box.replay(consumer, [one.number for one in letters], checkpoints=_Standing(checkpoint))
        return replayed.done, dict(replayed.failed)


class _Once(SinkConsumer):
    """What one letter left in the buffer when it failed is not written with the next."""

    def on_events(self, events: Events) -> None:
        self.forget()
        super().on_events(events)


class _Standing:
    """The checkpoint that the sink has, and keeps."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def load(self) -> Checkpoint:
        return self._checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """It did not move."""


def _texts(batch: EventBatch) -> pa.StringArray:
    return key_texts(batch.images("key"), batch.key_schema)
