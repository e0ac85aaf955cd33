"""The conformance suite of sinks that write events; see `differ.testing.sinks`, which offers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from differ.sinks.contract import Change, EventSink
from differ.testing.destination import DestinationConformance
from differ.testing.feed import GROWN, NESTED, Feed


class EventSinkConformance(DestinationConformance[EventSink]):
    """Subclass it under a name that pytest collects; set `sink`, `make_options` and `read`."""

    replays_once: ClassVar[bool] = False
    """Whether an event that is published twice, soon after, is there once."""

    def read(self, options: Mapping[str, Any]) -> Sequence[tuple[str, Any, Any]]:
        """What the destination was given, in its order: (op, key's value, document or None)."""
        raise NotImplementedError

    def hold(self, changes: Sequence[Change], *, often: bool = False) -> None:
        """The destination holds these changes, in this order. often: some may be there more than once."""
        expected = [(c.op, c.key_values[0], None if c.document is None else self.shown(c.document)) for c in changes]
        found = [(op, key, document) for op, key, document in self.read(self._options)]
        if often and not self.replays_once:
            fold: dict[Any, Any] = {}
            for _, key, document in found:
                fold[key] = document
            last = {key: document for _, key, document in expected}
            assert fold == last
            assert len(found) >= len(expected)
            missing = [change for change in expected if change not in found]
            assert not missing
        else:
            assert found == expected

    def publish(self, sink: EventSink, changes: Sequence[Change], *, checkpoint: bool = True) -> None:
        """Publish changes as the runner does."""
        sink.publish(changes, self.feed.checkpoint(changes[-1].scn) if checkpoint else None)

    def test_publish(self) -> None:
        """Inserts, updates and deletes arrive in order, each with its document."""
        sink = self.opened()
        first = [self.feed.put(key) for key in range(1, 8)]
        second = [self.feed.put(2), self.feed.delete(3), self.feed.put(3), self.feed.put(2)]
        self.publish(sink, first)
        self.publish(sink, second)
        self.hold([*first, *second])

    def test_nothing_to_publish(self) -> None:
        """A checkpoint alone is no event."""
        sink = self.opened()
        sink.publish((), self.feed.checkpoint(50))
        self.hold([])

    def test_checkpoint(self) -> None:
        """A sink that keeps its checkpoint gives it to the next process."""
        if not self.sink.keeps_checkpoint:
            pytest.skip("the checkpoint is kept on the relay")
        first = self.opened()
        assert first.load() is None
        changes = [self.feed.put(1)]
        self.publish(first, changes)
        assert self.opened().load() == self.feed.checkpoint(changes[-1].scn)

    def test_replay(self) -> None:
        """After a crash the same changes come again: none is lost, and they fold to the same state."""
        first = self.opened()
        changes = [self.feed.put(1), self.feed.put(2), self.feed.delete(1), self.feed.put(1)]
        self.publish(first, changes[:3], checkpoint=False)
        second = self.opened()
        self.publish(second, changes)
        self.hold(changes, often=True)

    def test_nulls_and_text(self) -> None:
        """Nulls and difficult texts stay what they are."""
        sink = self.opened()
        texts = [None, '"', "a\tb\n", "Zoë 🦉", "", "null"]
        changes = [self.feed.put(key, name=text) for key, text in enumerate(texts, start=1)]
        self.publish(sink, changes)
        self.hold(changes)

    def test_nested(self) -> None:
        """Lists, structs and documents, empty ones too."""
        feed = self.feed = Feed(NESTED)
        sink = self.opened()
        changes = [feed.put(1), feed.put(2, tags=[], address=None), feed.put(3, tags=None, document={"a": [1, {}]})]
        self.publish(sink, changes)
        self.hold(changes)

    def test_schema_growth(self) -> None:
        """A column that appears later is there from then on."""
        sink = self.opened()
        changes = [self.feed.put(1)]
        self.publish(sink, changes)
        self.feed.columns = GROWN
        more = [self.feed.put(1), self.feed.put(2)]
        self.publish(sink, more)
        self.hold([*changes, *more])

    def test_bootstrap(self) -> None:
        """The rows of a bootstrap arrive, and the stream goes on behind them."""
        for key in range(1, 8):
            self.feed.put(key)
        sink = self.opened()
        generation = self.feed.generation()
        rows: list[Change] = []
        sink.begin_bootstrap(generation)
        for page, checkpoint in self.feed.pages(generation, 2):
            sink.publish_bootstrap(page, checkpoint)
            rows += page
        sink.end_bootstrap(generation, self.feed.checkpoint(generation.scn))
        changes = [self.feed.put(1), self.feed.delete(2)]
        self.publish(sink, changes)
        self.hold([*rows, *changes])
