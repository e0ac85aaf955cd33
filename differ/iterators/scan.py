"""One reading of a source: whatever its iterator yields, as storage-typed batches of one schema.

Where the iterator declares its schema, batches stream through and must fit it. Where it does not, they are put aside
first, in Arrow files, until all types are known: only so do equal records get equal bytes whatever the batches are cut
like. All methods of a scan are called in one thread, the reader's.

Invariant: every batch has exactly `schema.arrow`, but that text columns may be dictionary-encoded, and no null in its
key.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from differ.errors import ConfigError, DifferError, IteratorError, SourceError
from differ.iterators.contract import Context, IteratorSpec, Reader
from differ.iterators.ranges import KeyRanges, RangeSums
from differ.model import Position
from differ.records.arrow import schema_from_arrow
from differ.records.columns import ColumnRules
from differ.records.convert import convert_array
from differ.records.fingerprints import check_keys
from differ.records.normalize import fit, to_batches
from differ.records.storing import spelled_out
from differ.records.types import NULL, Column, LogicalType, Schema
from differ.records.unify import unify
from differ.storage.files import storage_errors

_MAY_BE_TOO_SMALL = ("float", "timestamp", "duration")
log = logging.getLogger(__name__)
Settle = Callable[[Schema, Collection[str]], Schema]


class Scan:
    """A scan of one source. `settle` maps the schema that was found, with the names of the columns whose types are not
    up to it (declared, masked, or too small for what came), to the one to use.

    pinned: the schema of the last committed cycle, which an empty source without declared types keeps.
    """

    def __init__(
        self,
        spec: IteratorSpec,
        ctx: Context,
        rules: ColumnRules,
        *,
        spill: Path,
        settle: Settle,
        pinned: Schema | None,
    ) -> None:
        self._spec, self._ctx, self._rules = spec, ctx, rules
        self._pinned = pinned
        self._spill = spill
        self._settle = settle
        self._reader: Reader | None = None
        self._raw_schema: Schema | None = None
        self.rows = 0
        self.schema: Schema | None = None
        self.consistent = False
        self.only: KeyRanges | None = None
        """Where only some key ranges are to be read: these. Set before `batches`."""

    def open(self) -> None:
        """Make the plugin's reader; raises what it raises, as one of differ's errors."""
        with self._plugin_errors():
            self._reader = self._spec.open(self._ctx)
            self.consistent = self._reader.consistent
            if not self._reader.key:
                raise IteratorError(
                    f"scan {self._ctx.source}: nobody says what the key is",
                    hint=f"set 'key:' of source {self._ctx.source!r}, or give @iterator(key=...)",
                )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All batches of the source; `schema` is known once the first was given, or none will be.

        Raises IteratorError when the scan gave another number of rows than the plugin expected.
        """
        reader = self._required()
        with self._plugin_errors():
            declared = reader.schema()
        yield from self._declared(declared) if declared is not None else self._found()
        expected = self._ctx.expected_rows
        if self.only is None and expected is not None and expected != self.rows:
            raise IteratorError(
                f"scan {self._ctx.source}: it gave {self.rows} rows, and its iterator expected {expected}",
                hint="the read ended short or the count is of another moment; nothing was committed",
            )

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> list[pa.RecordBatch] | None:
        """The records of these keys that exist now, or None where the plugin cannot look keys up."""
        reader = self._required()
        with self._plugin_errors():
            found = reader.lookup(keys)
            if found is None:
                return None
            return [self._shaped(piece, self._raw()) for piece in self._pieces(found, self._raw().types)]

    def position(self) -> Position | None:
        """Where the server stood."""
        with self._plugin_errors():
            return self._required().position()

    def sums(self, like: RangeSums | None) -> RangeSums | str:
        """Checksums of key ranges now, or why there are none.

        like: those of the last committed state. Given before the first batch; they compare with what the scan will read
        only where that has the schema of this state.
        """
        reader = self._required()
        with self._plugin_errors():
            if not self.consistent:
                return "it reads no one consistent state"
            if like is not None:
                declared = reader.schema()
                if declared is None:
                    return "its types are found from all rows"
                self._use(declared, declared.names)
                if self.schema != self._pinned:
                    return "the schema changed"
            return reader.sums(like)

    def close(self) -> None:
        """Let the plugin go; safe to call when `open` failed."""
        if self._reader is not None:
            with self._plugin_errors():
                self._reader.close()

    def _declared(self, declared: Schema) -> Iterator[pa.RecordBatch]:
        self._check_rules(declared)
        self._use(declared, declared.names)
        for batch in self._read_all(self._raw().types, dictionaries=True):
            yield self._shaped(batch, self._raw())

    def _found(self) -> Iterator[pa.RecordBatch]:
        with _Aside(self._spill) as aside:
            found: Schema | None = None
            for batch in self._read_all(self._spec.types, dictionaries=False):
                schema = schema_from_arrow(batch.schema)
                found = schema if found is None else unify(found, schema, source=self._ctx.source)
                aside.add(batch)
            if found is None:
                found = self._nothing_found(self._required().key)
            else:
                self._check_rules(found)
            self._use(found, self._spec.types)
            outgrown = aside.outgrown(found.types, self._raw().types)
            if outgrown:
                self._use(found, {*self._spec.types, *outgrown})
            for batch in aside:
                yield self._shaped(batch, self._raw())

    def _check_rules(self, found: Schema) -> None:
        names = [*found.names, *sorted(self._ctx.columns_seen - set(found.names))]
        self._rules.check(names, self._ctx.source, first=self._ctx.previous is None)

    def _nothing_found(self, key: Sequence[str]) -> Schema:
        """The schema of an empty source: what was pinned, or the key columns of declared or unknown types."""
        keys = tuple(Column(name=name, type=self._spec.types.get(name, NULL)) for name in key)
        return self._pinned or Schema(columns=keys)

    def _use(self, found: Schema, fixed: Collection[str]) -> None:
        key = self._required().key
        missing = [name for name in key if name not in found.types]
        if missing:
            raise SourceError(
                f"scan {self._ctx.source}: its key names column {missing[0]!r}, which the source does not have",
                hint=f"it has: {', '.join(found.names)}",
            )
        hidden = [name for name in key if name in self._rules.exclude]
        if hidden:
            raise SourceError(
                f"scan {self._ctx.source}: columns.exclude names {hidden[0]!r}, which is part of the key",
                hint="a key has to be stored: mask it with 'hmac', or choose another key",
            )
        found = found.with_key(key)
        settled = self._settle(self._rules.schema(found), {*fixed, *self._rules.mask})
        self.schema = settled
        # What the plugin yields still has the columns that rules take away or mask, under their own types.
        by_name = {column.name: column for column in found.columns}
        touched = [by_name[n] for n in found.names if n in self._rules.mask or n in self._rules.exclude]
        kept = tuple(column for column in settled.columns if column.name not in self._rules.mask)
        self._raw_schema = Schema(columns=(*kept, *touched), key=key)

    def _shaped(self, batch: pa.RecordBatch, raw: Schema) -> pa.RecordBatch:
        assert self.schema is not None  # noqa: S101
        fitted = fit(batch, raw, source=self._ctx.source)
        shaped = fitted if raw.names == self.schema.names and not self._rules.mask else None
        if shaped is None:
            shaped = self._rules.apply(spelled_out(fitted, raw.arrow), raw, self.schema)
        check_keys(shaped, self.schema, source=self._ctx.source)
        self.rows += shaped.num_rows
        return shaped

    def _read_all(self, types: Mapping[str, LogicalType], *, dictionaries: bool) -> Iterator[pa.RecordBatch]:
        reader = self._required()
        with self._plugin_errors():
            for split in [self.only] if self.only is not None else reader.splits():
                yield from self._pieces(reader.read(split), types, dictionaries=dictionaries)

    def _pieces(
        self, batches: Iterable[Any], types: Mapping[str, LogicalType], *, dictionaries: bool = False
    ) -> Iterator[pa.RecordBatch]:
        rows = self._ctx.batch_rows
        for batch in batches:
            self._ctx.check_cancelled()
            if _is_nothing(batch):
                continue
            yield from to_batches(batch, source=self._ctx.source, types=types, rows=rows, dictionaries=dictionaries)

    def _raw(self) -> Schema:
        assert self._raw_schema is not None  # noqa: S101
        return self._raw_schema

    def _required(self) -> Reader:
        assert self._reader is not None  # noqa: S101
        return self._reader

    @contextmanager
    def _plugin_errors(self) -> Iterator[None]:
        try:
            yield
        except (DifferError, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Elsewhere no signal raises it: the plugin does.
            log.debug("iterator %s of %s", self._spec.name, self._ctx.source, exc_info=True)
            where = _where(error)
            raise IteratorError(
                f"scan {self._ctx.source}: iterator {self._spec.name!r} raised {type(error).__name__}{where}: {error}",
                hint="mend the plugin or its options; nothing was committed",
            ) from error


def _is_nothing(batch: Any) -> bool:
    """Whether it is a batch without rows and columns: an empty page, which says nothing of the schema."""
    if isinstance(batch, list | tuple):
        return not batch
    return getattr(batch, "shape", None) == (0, 0)


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/iterators/" in frame.filename]
    plugin = [frame for frame in frames if "/differ/iterators/" not in frame.filename]
    return f" at {Path(plugin[-1].filename).name} line {plugin[-1].lineno}" if plugin else ""


class _Aside:
    """Batches of varying types in Arrow files, a new file whenever the types change; walked in the order added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []
        self._sink: pa.OSFile | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Put a batch aside."""
        with storage_errors("write", self._folder):
            if self._writer is None or not batch.schema.equals(self._schema, check_metadata=True):
                self._finish()
                path = self._folder / f"aside-{len(self._files):05d}.arrows"
                self._files.append(path)
                self._sink = pa.OSFile(str(path), mode="wb")
                self._schema = batch.schema
                self._writer = pa.ipc.new_stream(self._sink, batch.schema)
            self._writer.write_batch(batch)
            self.rows += batch.num_rows

    def outgrown(self, found: Mapping[str, LogicalType], final: Mapping[str, LogicalType]) -> set[str]:
        """The columns with a value that has no exact form in the column's final type: a large int where floats were,
        a far moment where nanoseconds were. Reads the batches again, only where such a column is."""
        asked = {n for n, t in found.items() if t.layout != final[n].layout and final[n].kind in _MAY_BE_TOO_SMALL}
        names: set[str] = set()
        for batch in self if asked else ():
            types = schema_from_arrow(batch.schema).types
            for name in asked - names:
                if convert_array(batch.column(name), types[name], final[name])[1].any():
                    names.add(name)
        return names

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._finish()
        for path in self._files:
            with storage_errors("read", path), pa.ipc.open_stream(pa.memory_map(str(path))) as reader:
                yield from reader

    def _finish(self) -> None:
        if self._writer is not None and self._sink is not None:
            writer, sink = self._writer, self._sink
            self._writer = self._sink = None
            with storage_errors("write", self._folder):
                writer.close()
                sink.close()

    def __enter__(self) -> _Aside:
        return self

    def __exit__(self, *details: object) -> None:
        self._finish()
        for path in self._files:
            path.unlink(missing_ok=True)


def column_rules(exclude: Sequence[str], mask: Mapping[str, str | None], mask_key: str | None) -> ColumnRules:
    """The rules of a source's settings; raises ConfigError when a keyed mask has no key."""
    if "hmac" in mask.values() and not mask_key:
        raise ConfigError("columns.mask: hmac needs a key", hint="set the environment variable DIFFER_MASK_KEY")
    return ColumnRules(exclude=frozenset(exclude), mask=dict(mask), mask_key=(mask_key or "").encode())
