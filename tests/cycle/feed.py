"""What the test project's plugin reads: rows held in memory, handed out as a test asks for.

The plugin lies in a project's `iterators/` folder like anybody's; it finds its feed here by the option `feed`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from differ.iterators import Context
from differ.model import Position
from differ.records.types import Schema

PLUGIN = '''
from differ.iterators import iterator
from tests.cycle.feed import Reading


@iterator(types={types!r})
class feed(Reading):
    """Reads what a test put into `FEEDS`."""
'''


@dataclass
class Feed:
    """batches: what is yielded, by split; a callable is asked with the context, and may do anything."""

    splits: Sequence[Iterable[Any] | Callable[[Context], Iterable[Any]]] = ((),)
    key: tuple[str, ...] = ("id",)
    consistent: bool = True
    lookup: Callable[[Sequence[Mapping[str, Any]]], Iterable[Any]] | None = None
    position: Position | None = None
    schema: Schema | None = None
    expected: int | None = None


FEEDS: dict[str, Feed] = {}


class Reading:
    """One scan of a feed."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._feed = FEEDS[ctx.options["feed"]]
        self.key = self._feed.key
        self.consistent = self._feed.consistent
        if self._feed.expected is not None:
            ctx.expect_rows(self._feed.expected)

    def schema(self) -> Schema | None:
        return self._feed.schema

    def splits(self) -> Sequence[Any]:
        return range(len(self._feed.splits))

    def read(self, split: int) -> Iterable[Any]:
        batches = self._feed.splits[split]
        return batches(self._ctx) if callable(batches) else batches

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterable[Any] | None:
        return None if self._feed.lookup is None else self._feed.lookup(keys)

    def position(self) -> Position | None:
        return self._feed.position
