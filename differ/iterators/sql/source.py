"""The plugin class: one source's scan in the order in which the contract calls it.

Invariant: every row of a scan, and of its lookups, comes from the one snapshot that was opened first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from differ.errors import IteratorError, SourceError
from differ.iterators.contract import Context, iterator
from differ.iterators.ranges import KeyRanges, RangeSums
from differ.iterators.sql.errors import mapped
from differ.iterators.sql.fields import schema_of
from differ.iterators.sql.options import Options, nearest
from differ.iterators.sql.paths import FastPath
from differ.iterators.sql.read import Rows
from differ.iterators.sql.relation import Relation, matching, resolve
from differ.iterators.sql.snapshot import Snapshot, open_snapshot, store_name
from differ.iterators.sql.sums import TableSums
from differ.model import Position
from differ.records.types import Schema

LOOKUP_BINDS_MAX = 500


@iterator(name="sql", consistent=True)
class sql:  # noqa: N801  (users write `iterator: sql`)
    """A table or query of a database, read in one consistent snapshot."""

    def __init__(self, ctx: Context) -> None:
        """Connect (unless `ctx.handle` is a snapshot), find columns, types and key.

        Raises ConfigError for bad options, SourceUnavailableError, SourceError for what is not in the database, and
        IteratorError where there is no key.
        """
        self._ctx = ctx
        self._options = Options.parse(ctx)
        self._snapshot = self._shared() or open_snapshot(ctx, self._options)
        try:
            with mapped(ctx.source, f"read the catalogue for {self._subject}"):
                connection, dialect = self._snapshot.connection, self._snapshot.dialect
                relation = resolve(ctx.source, self._options, connection)
                self._fields = dialect.fields(connection, relation, self._options, ctx)
                self.consistent = self._snapshot.consistent and dialect.transactional(connection, relation)
            self.key = self._checked_key(ctx.key or relation.key)
            self._rows = Rows(
                ctx=ctx,
                snapshot=self._snapshot,
                relation=relation,
                fields=self._fields,
                key=self.key,
                batch_rows=self._options.batch_rows or ctx.batch_rows,
                path=self._path(connection, relation),
            )
            self._sums = TableSums(
                ctx=ctx, snapshot=self._snapshot, relation=relation, fields=self._fields, rows=self._rows
            )
        except BaseException:
            self.close()
            raise

    @staticmethod
    def store(ctx: Context) -> str:
        """The database's URL without the password. Raises ConfigError."""
        return store_name(ctx, Options.parse(ctx))

    @staticmethod
    @contextmanager
    def connect(ctx: Context) -> Iterator[Snapshot]:
        """One consistent read that several sources of the same store share, one after the other."""
        snapshot = open_snapshot(ctx, Options.parse(ctx))
        try:
            yield snapshot
        finally:
            snapshot.close()

    def schema(self) -> Schema:
        """Columns and types from the catalogue."""
        return schema_of(self._fields, self.key)

    def splits(self) -> Sequence[Any]:
        """One split: one connection reads the whole relation."""
        return [None]

    def read(self, split: Any) -> Iterator[pa.RecordBatch]:
        """All rows, in batches of at most `batch_rows`; memory is a few batches, whatever the relation's size."""
        if isinstance(split, KeyRanges):
            return self._sums.read(split)
        return self._sums.sampled(self._rows.all())

    def sums(self, like: RangeSums | None) -> RangeSums | str:
        """The checksums of the table's key ranges, or why there are none; see `TableSums.compute`."""
        return self._sums.compute(like)

    def why_no_sums(self) -> str | None:
        """Why the table can have no checksums, None where it can."""
        return self._sums.why_not

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
        """The rows of these keys, from the same snapshot; a statement per 500 key values."""
        by_name = {field.name: field for field in self._fields}
        fields = [by_name[name] for name in self.key]
        size = max(1, LOOKUP_BINDS_MAX // len(fields))
        for start in range(0, len(keys), size):
            wanted = [[key[name] for name in self.key] for key in keys[start : start + size]]
            condition, binds = matching(fields, wanted)
            yield from self._rows.some(condition, binds)

    def position(self) -> Position | None:
        """Where the server stood just before the snapshot, or None where it does not tell."""
        return self._snapshot.position

    def explain(self) -> str:
        """How the rows travel, and why not faster."""
        path = self._rows.path
        return path.name if not isinstance(path, str) else f"rows through SQLAlchemy: {path}"

    def close(self) -> None:
        """Disconnect, unless the snapshot is shared."""
        if self._snapshot is not self._ctx.handle:
            self._snapshot.close()

    def _path(self, connection: sa.Connection, relation: Relation) -> FastPath | str:
        if not self._options.fast:
            return "fast: false"
        return self._snapshot.dialect.path(connection, relation, self._options, self._fields)

    @property
    def _subject(self) -> str:
        return f"table {self._options.table!r}" if self._options.table else "the query"

    def _shared(self) -> Snapshot | None:
        handle = self._ctx.handle
        if handle is None:
            return None
        if not isinstance(handle, Snapshot) or handle.store != self.store(self._ctx):
            raise IteratorError(
                f"scan {self._ctx.source}: it does not read the store that its consistency group opened",
                hint="sources of a group need the same url",
            )
        return handle

    def _checked_key(self, key: tuple[str, ...]) -> tuple[str, ...]:
        names = [field.name for field in self._fields]
        if not key:
            raise IteratorError(
                f"scan {self._ctx.source}: {self._subject} has no primary key to know its rows by",
                hint="name the column or columns that identify a row, as in `key: id`",
            )
        for name in key:
            if name not in names:
                raise SourceError(
                    f"scan {self._ctx.source}: key: there is no column {name!r} in what is read",
                    hint=nearest(name, names),
                )
        return key
