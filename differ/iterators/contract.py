"""The iterator contract: what differ asks of the code that reads a source.

An iterator is a function or a class in a file of the project's `iterators/` (or behind the entry-point group
`differ.iterators`), marked by `@iterator`. A function takes the context and yields batches. A class is made with the
context once per scan, and may offer more; only `read` is required:

    class Orders:
        def __init__(self, ctx): ...
        def schema(self) -> Schema | None        # declared types: batches stream, and must fit them
        def splits(self) -> Sequence[Any]        # parts that neither overlap nor miss; each is read once
        def read(self, split) -> Iterable[Batch]
        def lookup(self, keys) -> Iterable[Batch]    # the records of these keys that still exist (list of dicts)
        def position(self) -> Position | None    # where the server stood, asked after the scan
        def sums(self, like) -> RangeSums | str  # checksums of key ranges now, or why there are none; see ranges.py
        def why_no_sums(self) -> str | None      # why there can be none, None where there can
        def explain(self) -> str | None          # how the records are read, for `differ scan --explain`
        def close(self) -> None                  # always called, also after a failure

A batch is a `pyarrow.RecordBatch` or `Table`, a pandas `DataFrame`, or a list of dicts; it should stay under
`ctx.batch_rows`. All methods of one scan are called from one thread.

`sums` serves `scan: checksum`: it is asked before reading, with the sums of the state that the scan is compared with,
and then `read` may be called with a `KeyRanges` instead of a split; or after all splits were read, with None.

Sources of one store can be read in one consistent state: a class that offers `store(ctx)` (a hashable name of what it
reads) and `connect(ctx)` (a context manager for one consistent read) is handed what `connect` gave as `ctx.handle`;
sources of a consistency group, which must agree on `store`, share one handle.

Source: the iterators of Flipkart's Aesop pull producer; splits after Hadoop's InputFormat.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, overload

from differ.errors import InterruptedScanError, IteratorError
from differ.model import Position, PreviousCommit
from differ.records.types import LogicalType, Schema

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from differ.iterators.ranges import RangeSums

NO_SUMS = "its iterator makes no checksums"
Batch: TypeAlias = "pyarrow.RecordBatch | pyarrow.Table | pandas.DataFrame | Sequence[Mapping[str, Any]]"


@dataclass(kw_only=True)
class Context:
    """What a scan tells its iterator; made anew for each scan.

    source: the source's name. options: its `options` from scheduler.yaml, secrets resolved. key: the configured key,
    empty when the iterator is to say. project: the project's folder, which relative paths start from.
    batch_rows: how many rows a batch should hold at most. previous: the last committed cycle, or None before the first.
    columns_excluded, columns_seen: an iterator that leaves excluded columns out by itself asks `keep`, which notes what
    the store has. handle: what `connect` gave. logger: one of the source's own.
    range_rows: where checksums are wanted, how many rows a key range should hold.
    """

    source: str
    options: Mapping[str, Any]
    project: str = "."
    key: tuple[str, ...] = ()
    columns_excluded: tuple[str, ...] = ()
    columns_seen: set[str] = field(default_factory=set)
    batch_rows: int = 65_536
    previous: PreviousCommit | None = None
    handle: Any = None
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("differ.iterators"))
    cancelled: threading.Event = field(default_factory=threading.Event)
    expected_rows: int | None = None
    range_rows: int | None = None

    def keep(self, names: Iterable[str]) -> list[str]:
        """Those of the store's columns that are not excluded, in their order."""
        seen = list(names)
        self.columns_seen.update(seen)
        return [name for name in seen if name not in self.columns_excluded]

    def expect_rows(self, count: int) -> None:
        """Declare how many rows the scan must give; one that ends with another number commits nothing."""
        self.expected_rows = count

    def check_cancelled(self) -> None:
        """Raise InterruptedScanError once the scan was cancelled or timed out; cheap, call it in long loops."""
        if self.cancelled.is_set():
            raise InterruptedScanError(f"scan {self.source}: cancelled")


class Reader(Protocol):
    """What differ calls during one scan, whatever shape the plugin has; see the module's docstring."""

    key: tuple[str, ...]
    consistent: bool

    def schema(self) -> Schema | None:
        """The declared schema, or None: then types are found from all the batches before comparing."""

    def splits(self) -> Sequence[Any]:
        """What to call `read` with, one call each."""

    def read(self, split: Any) -> Iterable[Batch]:
        """The batches of one split."""

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterable[Batch] | None:
        """The records of these keys that exist now, or None where the plugin offers no lookup."""

    def position(self) -> Position | None:
        """Where the server stood at the scan, where it can be known."""

    def sums(self, like: RangeSums | None) -> RangeSums | str:
        """Checksums of key ranges, of the width of `like` where it is given, or why there are none."""

    def why_no_sums(self) -> str | None:
        """Why there can be no checksums, None where there can."""

    def explain(self) -> str | None:
        """How the records are read and why so, in a few words, where the plugin tells; reads none."""

    def close(self) -> None:
        """Let go of what the scan holds; called exactly once."""


@dataclass(frozen=True, kw_only=True)
class IteratorSpec:
    """A marked plugin: the target itself and what its author said of it.

    key: default key columns. consistent: whether absence from a scan proves a delete (one consistent state).
    types: logical types of some or all columns, for what cannot be seen from the values.
    """

    name: str
    target: Callable[[Context], Any]
    key: tuple[str, ...] = ()
    consistent: bool = False
    types: Mapping[str, LogicalType] = field(default_factory=dict)

    def store(self, ctx: Context) -> Hashable | None:
        """The name of the store that this source reads, or None where the plugin cannot share a read."""
        store = getattr(self.target, "store", None)
        return store(ctx) if store is not None else None

    def connect(self, ctx: Context) -> AbstractContextManager[Any]:
        """Open one consistent read, to be given to every context of a group as `handle`."""
        connect = getattr(self.target, "connect", None)
        return connect(ctx) if connect is not None else nullcontext()

    def open(self, ctx: Context) -> Reader:
        """Make the reader of one scan. Raises whatever the plugin's constructor raises."""
        if isinstance(self.target, type):
            return _ClassReader(self, self.target(ctx), ctx)
        return _FunctionReader(self, ctx)


class _FunctionReader:
    """A plugin function as a reader with one split."""

    def __init__(self, spec: IteratorSpec, ctx: Context) -> None:
        self._spec, self._ctx = spec, ctx
        self.key = ctx.key or spec.key
        self.consistent = spec.consistent

    def schema(self) -> Schema | None:
        return None

    def splits(self) -> Sequence[Any]:
        return [None]

    def read(self, split: Any) -> Iterable[Batch]:
        batches = self._spec.target(self._ctx)
        if not isinstance(batches, Iterable):
            raise IteratorError(
                f"scan {self._ctx.source}: iterator {self._spec.name!r} returned {type(batches).__name__}",
                hint="yield batches: record batches, tables, data frames or lists of dicts",
            )
        return batches

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterable[Batch] | None:
        return None

    def position(self) -> Position | None:
        return None

    def sums(self, like: RangeSums | None) -> RangeSums | str:
        return NO_SUMS

    def why_no_sums(self) -> str | None:
        return NO_SUMS

    def explain(self) -> str | None:
        return None

    def close(self) -> None:
        return None


class _ClassReader:
    """A plugin class as a reader; what it does not offer has the default."""

    def __init__(self, spec: IteratorSpec, plugin: Any, ctx: Context) -> None:
        if not callable(getattr(plugin, "read", None)):
            raise IteratorError(
                f"scan {ctx.source}: iterator class {spec.name!r} has no method read(split)",
                hint="see docs/write-an-iterator.md",
            )
        self._plugin = plugin
        declared = getattr(plugin, "key", None)
        self.key = ctx.key or ((declared,) if isinstance(declared, str) else tuple(declared or ())) or spec.key
        self.consistent = bool(getattr(plugin, "consistent", spec.consistent))

    def schema(self) -> Schema | None:
        schema: Schema | None = self._optional("schema")
        return schema

    def splits(self) -> Sequence[Any]:
        splits = self._optional("splits")
        return [None] if splits is None else list(splits)

    def read(self, split: Any) -> Iterable[Batch]:
        batches: Iterable[Batch] = self._plugin.read(split)
        return batches

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterable[Batch] | None:
        found: Iterable[Batch] | None = self._optional("lookup", keys)
        return found

    def position(self) -> Position | None:
        position: Position | None = self._optional("position")
        return position

    def sums(self, like: RangeSums | None) -> RangeSums | str:
        found: RangeSums | str | None = self._optional("sums", like)
        return NO_SUMS if found is None else found

    def why_no_sums(self) -> str | None:
        if not hasattr(self._plugin, "sums"):
            return NO_SUMS
        reason: str | None = self._optional("why_no_sums")
        return reason

    def explain(self) -> str | None:
        told: str | None = self._optional("explain")
        return told

    def close(self) -> None:
        self._optional("close")

    def _optional(self, name: str, *args: Any) -> Any:
        method = getattr(self._plugin, name, None)
        return None if method is None else method(*args)


T = TypeVar("T", bound=Callable[..., Any])


@overload
def iterator(target: T, /) -> T: ...


@overload
def iterator(
    *,
    key: str | Sequence[str] = (),
    consistent: bool = False,
    types: Mapping[str, LogicalType | str] | None = None,
    name: str | None = None,
) -> Callable[[T], T]: ...


def iterator(
    target: Callable[[Context], Any] | None = None,
    *,
    key: str | Sequence[str] = (),
    consistent: bool = False,
    types: Mapping[str, LogicalType | str] | None = None,
    name: str | None = None,
) -> Any:
    """Mark a function or class as an iterator; usable bare or with arguments.

    key: one column or several. consistent: True only if one scan reads one consistent state, so that absence proves
    a delete. types: logical types by column, by the names in docs/formats/events.md: "json", "decimal(10,2)",
    "timestamp[us,UTC]".
    """
    from differ.records.names import parse_type

    def mark(marked: Callable[[Context], Any]) -> Callable[[Context], Any]:
        spec = IteratorSpec(
            name=name or marked.__name__,
            target=marked,
            key=(key,) if isinstance(key, str) else tuple(key),
            consistent=consistent,
            types={
                column: parse_type(value) if isinstance(value, str) else value
                for column, value in (types or {}).items()
            },
        )
        marked.__differ_iterator__ = spec  # type: ignore[attr-defined]
        return marked

    return mark if target is None else mark(target)
