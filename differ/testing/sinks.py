"""The conformance suites of sinks, as classes for pytest: one subclass, and every rule is a test of its own.

    class TestMySink(StateSinkConformance):
        sink = MySink

        def make_options(self, folder):            # of a destination that is new and empty for each test
            return {"path": str(folder / "place")}

        def read(self, options):                   # what the destination holds now, one document a record
            return [...]

        def shown(self, document):                 # how the destination gives a document back, where it is another
            return document

Replay, crashes, deletes, nulls, nested values, schema growth, bootstraps: after each, the destination holds what the
source holds. A sink that writes events has `EventSinkConformance`, whose `read` gives events. The changes are made by a
`Feed`, which is also of use in tests of your own.

Source: restic's backend suite; Jepsen's way of holding a final state against a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from differ.errors import FencedError
from differ.formats.checkpoint import BootstrapCheckpoint
from differ.sinks.contract import Change, Document, StateSink
from differ.sinks.net import last_of_keys
from differ.testing.destination import DestinationConformance
from differ.testing.events import EventSinkConformance
from differ.testing.feed import GROWN, NESTED, PLAIN, Feed

__all__ = ["EventSinkConformance", "Feed", "StateSinkConformance"]


class StateSinkConformance(DestinationConformance[StateSink]):
    """Subclass it under a name that pytest collects; set `sink`, `make_options` and `read`."""

    def read(self, options: Mapping[str, Any]) -> Iterable[Document]:
        """Every record that the destination holds of the source `orders`, in any order."""
        raise NotImplementedError

    def hold(self) -> None:
        """The destination's state is the feed's."""
        found = _sorted(self.read(self._options))
        assert found == _sorted(self.shown(row) for row in self.feed.rows.values())

    def write(self, sink: StateSink, changes: Sequence[Change], *, checkpoint: bool = True) -> None:
        """Apply changes as the runner does."""
        upserts, deletes = last_of_keys(changes)
        sink.apply(upserts, deletes, self.feed.checkpoint(changes[-1].scn) if checkpoint else None)

    def bootstrap(self, sink: StateSink, *, pages: int = 2) -> None:
        """Replace the destination's state by the feed's."""
        generation = self.feed.generation()
        sink.begin_bootstrap(generation)
        for rows, checkpoint in self.feed.pages(generation, pages):
            sink.apply_bootstrap(rows, checkpoint)
        sink.end_bootstrap(generation, self.feed.checkpoint(generation.scn))

    # -- streaming --------------------------------------------------------------------------------------------

    def test_new_destination_has_no_checkpoint(self) -> None:
        """Nothing is known before anything was written."""
        assert self.opened().load() is None

    def test_apply(self) -> None:
        """Inserts, updates and deletes give the source's state, and the checkpoint is there."""
        sink = self.opened()
        self.write(sink, [self.feed.put(key) for key in range(1, 8)])
        self.hold()
        changes = [self.feed.put(2), self.feed.delete(3), self.feed.put(9), self.feed.put(3), self.feed.delete(4)]
        self.write(sink, changes)
        self.hold()
        assert sink.load() == self.feed.checkpoint(changes[-1].scn)

    def test_checkpoint_alone(self) -> None:
        """A checkpoint moves also where nothing changed for the sink."""
        sink = self.opened()
        self.write(sink, [self.feed.put(1)])
        sink.apply((), (), self.feed.checkpoint(50))
        assert sink.load() == self.feed.checkpoint(50)
        self.hold()

    def test_replay(self) -> None:
        """The same changes again change nothing."""
        sink = self.opened()
        first = [self.feed.put(key) for key in range(1, 5)]
        second = [self.feed.put(1), self.feed.delete(2), self.feed.put(7)]
        self.write(sink, first)
        self.write(sink, second)
        self.write(sink, second)
        self.hold()

    def test_late_replay(self) -> None:
        """Everything from the beginning, one change at a time and long after: the state converges."""
        sink = self.opened()
        changes = [self.feed.put(1), self.feed.put(2), self.feed.delete(1), self.feed.put(2), self.feed.put(1)]
        changes += [self.feed.delete(1), self.feed.put(3)]
        self.write(sink, changes)
        for change in changes:
            self.write(sink, [change])
        self.hold()

    def test_delete_of_what_is_not_there(self) -> None:
        """A delete that comes twice is no error."""
        sink = self.opened()
        gone = [self.feed.put(1), self.feed.delete(1)]
        self.write(sink, gone)
        self.write(sink, gone[1:])
        self.hold()

    # -- crashes ----------------------------------------------------------------------------------------------

    def test_reopened(self) -> None:
        """Another process finds the checkpoint and goes on."""
        first = self.opened()
        changes = [self.feed.put(key) for key in range(1, 5)]
        self.write(first, changes)
        first.close()
        second = self.opened()
        assert second.load() == self.feed.checkpoint(changes[-1].scn)
        self.write(second, [self.feed.put(1), self.feed.delete(2)])
        self.hold()

    def test_crash_before_the_checkpoint(self) -> None:
        """What was written without its checkpoint is written again, and nothing is twice or stale."""
        first = self.opened()
        before = [self.feed.put(key) for key in range(1, 5)]
        self.write(first, before)
        lost = [self.feed.put(1), self.feed.delete(2), self.feed.put(2), self.feed.put(8), self.feed.delete(8)]
        self.write(first, lost, checkpoint=False)
        second = self.opened()
        assert second.load() == self.feed.checkpoint(before[-1].scn)
        self.write(second, lost)
        self.hold()

    def test_late_writer(self) -> None:
        """Whoever opened before is refused, where the destination can tell."""
        if not self.refuses_late_writers:
            pytest.skip("the destination cannot tell writers apart, and says so")
        first = self.opened()
        self.write(first, [self.feed.put(1)])
        second = self.opened()
        self.write(second, [self.feed.put(1), self.feed.put(2)])
        old = self.feed.rows[1]
        stale = self.feed.put(1)
        with pytest.raises(FencedError):
            self.write(first, [stale])
        self.feed.rows[1] = old
        self.hold()

    # -- values -----------------------------------------------------------------------------------------------

    def test_nulls(self) -> None:
        """A null is a null, also where a value stood before."""
        sink = self.opened()
        self.write(sink, [self.feed.put(1), self.feed.put(2)])
        self.write(sink, [self.feed.put(1, name=None, total=None, at=None), self.feed.put(3, name="")])
        self.hold()

    def test_text(self) -> None:
        """Quotes, line breaks, separators and all of Unicode stay what they are."""
        sink = self.opened()
        texts = ['"', "'", "\\", "\\N", "a\tb", "a\nb\r\n", ",;|", "%s :x {y}", "Zoë 🦉", "null", " a ", "\\.", ""]
        self.write(sink, [self.feed.put(key, name=text) for key, text in enumerate(texts, start=1)])
        self.hold()

    def test_nested(self) -> None:
        """Lists, structs and documents, empty ones too."""
        if not self.nested:
            pytest.skip("the destination holds no nested values, and says so")
        feed = self.feed = Feed(NESTED)
        sink = self.opened()
        changes = [feed.put(1), feed.put(2, tags=[], address=None), feed.put(3, tags=None, document={"a": [1, {}]})]
        self.write(sink, changes)
        self.write(sink, [feed.put(1, tags=["x"], document={"b": None}), feed.put(2, address={"city": "", "zip": 0})])
        self.hold()

    def test_schema_growth(self) -> None:
        """A column that appears later is written for the records that have it."""
        sink = self.opened()
        self.write(sink, [self.feed.put(1), self.feed.put(2)])
        self.feed.columns = GROWN
        self.write(sink, [self.feed.put(2), self.feed.put(3), self.feed.put(4, grade=None)])
        self.feed.rows[1] = dict.fromkeys(GROWN) | self.feed.rows[1]
        self.hold_grown()

    def hold_grown(self) -> None:
        """As `hold`; a field that a record does not have may be missing or null at the destination."""
        full = dict.fromkeys(GROWN)
        found = _sorted(full | dict(row) for row in self.read(self._options))
        assert found == _sorted(full | dict(self.shown(row)) for row in self.feed.rows.values())

    # -- bootstrap --------------------------------------------------------------------------------------------

    def test_bootstrap(self) -> None:
        """An empty destination is filled, and the stream goes on behind it."""
        for key in range(1, 8):
            self.feed.put(key)
        sink = self.opened()
        self.bootstrap(sink)
        self.hold()
        assert sink.load() == self.feed.checkpoint()
        self.write(sink, [self.feed.put(1), self.feed.delete(2), self.feed.put(99)])
        self.hold()

    def test_bootstrap_of_nothing(self) -> None:
        """An empty source empties the destination."""
        sink = self.opened()
        self.write(sink, [self.feed.put(1), self.feed.put(2)])
        self.feed.delete(1)
        self.feed.delete(2)
        self.bootstrap(sink)
        self.hold()

    def test_bootstrap_replaces(self) -> None:
        """Rows that are not in the snapshots go, also those of an older stream."""
        sink = self.opened()
        self.write(sink, [self.feed.put(key) for key in range(1, 8)])
        self.feed.renew()
        for key in range(5, 12):
            self.feed.put(key)
        for key in (1, 2, 3, 4, 6):
            self.feed.rows.pop(key, None)
        self.bootstrap(sink)
        self.hold()
        assert sink.load() == self.feed.checkpoint()

    def test_bootstrap_resumed(self) -> None:
        """A crash in the middle: another process goes on at the checkpoint, with a page that comes twice."""
        first = self.opened()
        self.write(first, [self.feed.put(key) for key in range(1, 12)])
        self.feed.delete(1)
        generation = self.feed.generation()
        pages = list(self.feed.pages(generation, 3))
        first.begin_bootstrap(generation)
        first.apply_bootstrap(*pages[0])
        first.apply_bootstrap(pages[1][0], None)
        second = self.opened()
        stood = second.load()
        assert isinstance(stood, BootstrapCheckpoint)
        assert stood == pages[0][1]
        second.begin_bootstrap(generation)
        for page in pages[1:]:
            second.apply_bootstrap(*page)
        second.end_bootstrap(generation, self.feed.checkpoint(generation.scn))
        self.hold()
        second.end_bootstrap(generation, self.feed.checkpoint(generation.scn))
        self.hold()

    def test_bootstrap_given_up(self) -> None:
        """Another generation begins before the first came to its end: nothing of the first is left."""
        sink = self.opened()
        for key in range(1, 8):
            self.feed.put(key)
        generation = self.feed.generation()
        sink.begin_bootstrap(generation)
        sink.apply_bootstrap(*next(iter(self.feed.pages(generation, 1))))
        for key in (1, 2, 3):
            self.feed.delete(key)
        again = self.opened()
        self.bootstrap(again)
        self.hold()

    def test_bootstrap_twice(self) -> None:
        """A second bootstrap, of other rows, replaces the first."""
        sink = self.opened()
        for key in range(1, 5):
            self.feed.put(key)
        self.bootstrap(sink)
        for key in range(1, 4):
            self.feed.delete(key)
        self.feed.put(77)
        self.bootstrap(sink)
        self.hold()


def _sorted(documents: Iterable[Any]) -> list[Any]:
    return sorted((dict(document) for document in documents), key=lambda document: repr(document[next(iter(PLAIN))]))
