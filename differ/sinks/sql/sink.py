"""The sink itself: the contract's calls, each one transaction of the destination.

    apply           touch(epoch, checkpoint) -> deletes -> upserts -> COMMIT
    apply_bootstrap the same, into loading tables that readers do not see
    end_bootstrap   touch -> DELETE all -> INSERT from the loading tables -> COMMIT -> drop them

Rows and checkpoint are committed together: effectively once, also when the process dies at any line. After an error the
connection is thrown away and the next call makes another. Invariant: nothing is committed under an epoch that has
ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import sqlalchemy as sa

from differ.config.fields import Section
from differ.errors import SinkError, UsageError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.sinks.contract import Change, Document, Generation, RefusedError, SinkContext, StateSink
from differ.sinks.places import by_source, told_apart
from differ.sinks.sql.book import NAME_CHARACTERS, Book
from differ.sinks.sql.connect import engine_of, parse_url
from differ.sinks.sql.errors import mapped
from differ.sinks.sql.mariadb import MariaDBWriter
from differ.sinks.sql.options import SqlOptions
from differ.sinks.sql.postgresql import PostgreSQLWriter
from differ.sinks.sql.sqlite import SQLiteWriter
from differ.sinks.sql.tables import Layout, Tables
from differ.sinks.sql.values import UnfitError
from differ.sinks.sql.writer import Rows, Writer

WRITERS: dict[str, type[Writer]] = {
    "postgresql": PostgreSQLWriter,
    "mysql": MariaDBWriter,
    "mariadb": MariaDBWriter,
    "sqlite": SQLiteWriter,
}


class SqlSink(StateSink):
    """Writes tables; bound to one thread at a time."""

    Options: ClassVar[type[Section]] = SqlOptions
    options: SqlOptions

    def __init__(self, context: SinkContext, options: SqlOptions) -> None:
        super().__init__(context, options)
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._writer: Writer | None = None
        self._tables: Tables | None = None
        self._book = Book(context.name, options.checkpoints, options.schema_)
        self._epoch = 0

    @classmethod
    def check(cls, context: SinkContext, options: SqlOptions) -> None:
        """Raise UsageError for a url that is none, and when two sources would share a table."""
        told_apart(options.table, context, option="table")
        parse_url(options.url, context.project)
        if len(context.name) > NAME_CHARACTERS:
            raise UsageError(f"the sink's name is longer than {NAME_CHARACTERS} characters")

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, make the table of checkpoints where it is missing, and begin a new epoch."""
        self.close()
        with self._errors("open"):
            self._engine = engine_of(self.options, self.context.project)
            self._tables = Tables(self.context.name, self.options, self._engine)
            with self._transaction() as connection:
                self._book.create(connection)
            with self._transaction() as connection:
                self._epoch = self._book.take_over(connection)

    def load(self) -> Checkpoint | None:
        """The checkpoint that was committed last. Where it is one of the stream, no bootstrap is under way: a loading
        table that is still there was left by a process that ended between the swap and its removal, and goes."""
        with self._errors("read the checkpoint"):
            with self._transaction() as connection:
                stood = self._book.entry(connection).checkpoint
            if isinstance(stood, StreamCheckpoint):
                for source in self.context.sources:
                    self._place.drop_staging(source)
            return stood

    def close(self) -> None:
        """Disconnect."""
        self._drop_connection()
        if self._engine is not None:
            self._engine.dispose()
        self._engine = self._tables = None

    # -- streaming ----------------------------------------------------------------------------------------------------

    def apply(self, upserts: Sequence[Change], deletes: Sequence[Change], checkpoint: Checkpoint | None) -> None:
        """Deletes, upserts and the checkpoint in one transaction."""
        with self._errors("write"):
            gone = self._keys(deletes)
            made = self._rows(upserts, staging=False)
            with self._transaction() as connection:
                self._book.touch(connection, self._epoch, checkpoint)
                for layout, keys in gone:
                    self._written_by(connection).delete(layout.table, layout.key, keys)
                for layout, rows in made:
                    self._written_by(connection).upsert(layout.table, layout.key, layout.columns, rows)

    # -- bootstrap ----------------------------------------------------------------------------------------------------

    def begin_bootstrap(self, generation: Generation) -> None:
        """Keep what was loaded of this generation; remove what another left."""
        with self._errors("begin a bootstrap"):
            with self._transaction() as connection:
                self._book.touch(connection, self._epoch)
                stood = self._book.entry(connection).checkpoint
            if not isinstance(stood, BootstrapCheckpoint) or stood.generation != generation.id:
                for source in self.context.sources:
                    self._place.drop_staging(source)

    def apply_bootstrap(self, rows: Sequence[Change], checkpoint: BootstrapCheckpoint | None) -> None:
        """Rows into the loading tables, with the checkpoint in the same transaction."""
        with self._errors("load a bootstrap"):
            made = self._rows(rows, staging=True)
            with self._transaction() as connection:
                self._book.touch(connection, self._epoch, checkpoint)
                for layout, values in made:
                    self._written_by(connection).upsert(layout.table, layout.key, layout.columns, values)

    def end_bootstrap(self, generation: Generation, checkpoint: StreamCheckpoint) -> None:
        """Replace the tables' rows by the loaded ones, in one transaction. Once more is nothing."""
        with self._errors("end a bootstrap"):
            self._place.forget()
            with self._transaction() as connection:
                self._book.touch(connection, self._epoch)
                if self._book.entry(connection).generation == generation.id:
                    return
            pairs = [
                (source, self._place.existing(source), self._place.staging(source)) for source in generation.sources
            ]
            with self._transaction() as connection:
                self._book.touch(connection, self._epoch, checkpoint, generation=generation.id)
                for _, table, loaded in pairs:
                    if table is not None:
                        connection.execute(sa.delete(table))
                    if table is not None and loaded is not None:
                        columns = [one.name for one in loaded.c if one.name in table.c and _writable(table.c[one.name])]
                        self._written_by(connection).copy(table, loaded, columns)
            for source, _, _ in pairs:
                self._place.drop_staging(source)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _rows(self, changes: Sequence[Change], *, staging: bool) -> list[tuple[Layout, Rows]]:
        made: list[tuple[Layout, Rows]] = []
        refused: list[tuple[Change, str]] = []
        for source, own in by_source(changes):
            layout = self._place.layout(source, own, staging=staging)
            try:
                made.append((layout, _values([change.document or {} for change in own], layout, layout.columns)))
            except UnfitError:
                refused += _unfit(own, layout)
        self._refuse(refused)
        return made

    def _keys(self, changes: Sequence[Change]) -> list[tuple[Layout, Rows]]:
        """The keys to delete; a source without a table has none of them."""
        made: list[tuple[Layout, Rows]] = []
        for source, own in by_source(changes):
            if self._place.existing(source) is not None:
                layout = self._place.layout(source, own)
                made.append((layout, _values([change.key for change in own], layout, layout.key)))
        return made

    def _refuse(self, refused: Sequence[tuple[Change, str]]) -> None:
        """Nothing was written yet, so that the caller has to find the others by itself."""
        if len(refused) == 1:
            raise RefusedError(f"sink {self.context.name}: {refused[0][1]}")
        if refused:
            raise RefusedError(f"sink {self.context.name}: {len(refused)} records do not fit, such as: {refused[0][1]}")

    # -- the connection -----------------------------------------------------------------------------------------------

    @property
    def _place(self) -> Tables:
        if self._tables is None:
            raise SinkError(f"sink {self.context.name}: it is not open")
        return self._tables

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """One transaction on the sink's one connection, which is made again after any error."""
        if self._engine is None:
            raise SinkError(f"sink {self.context.name}: it is not open")
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():
                yield self._connection
        except BaseException:
            self._drop_connection()
            raise

    def _written_by(self, connection: sa.Connection) -> Writer:
        if self._writer is None:
            self._writer = WRITERS.get(connection.dialect.name, Writer)(connection)
        return self._writer

    def _drop_connection(self) -> None:
        connection, self._connection, self._writer = self._connection, None, None
        if connection is not None:
            try:
                connection.invalidate()
            finally:
                connection.close()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            with mapped(f"sink {self.context.name}: {what}"):
                yield
        except SinkError:
            # A table may have been altered or dropped under us: look again.
            if self._tables is not None:
                self._tables.forget()
            raise


def _values(documents: Sequence[Document], layout: Layout, columns: Sequence[str]) -> Rows:
    """Rows for the first columns of a layout, made column by column. Raises UnfitError."""
    made = [
        adapter.column([document.get(name) for document in documents])
        for name, adapter in zip(columns, layout.adapters, strict=False)
    ]
    return list(zip(*made, strict=True))


def _unfit(changes: Sequence[Change], layout: Layout) -> Iterator[tuple[Change, str]]:
    """Those of the changes that do not fit, each with why."""
    for change in changes:
        try:
            _values([change.document or {}], layout, layout.columns)
        except UnfitError as error:
            yield change, str(error)


def _writable(column: sa.Column[Any]) -> bool:
    return column.computed is None
