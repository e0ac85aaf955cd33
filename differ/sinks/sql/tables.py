"""The tables of a sink: found by reflection, made and widened from the documents' types.

Making and widening is done before the transaction of the rows begins, since MariaDB commits at each such statement; a
crash in between leaves an empty table or column, which is found again.

Invariant: a table that was not made here is never altered but by `on_new_column: add`, and never dropped; the loading
tables of a bootstrap are the sink's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from differ.errors import SinkError
from differ.records import types as t
from differ.records.types import LogicalType
from differ.sinks.contract import Change
from differ.sinks.places import place
from differ.sinks.sql.options import SqlOptions
from differ.sinks.sql.types import column_type
from differ.sinks.sql.values import Adapter, adapter

QUOTED = frozenset({"sqlite", "postgresql", "mysql", "mariadb"})
"""Others fold the case of names that are not quoted, and quoting would make other names of them."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the documents of one source go. columns begins with the key's; adapters has one for each."""

    table: sa.Table
    key: tuple[str, ...]
    columns: tuple[str, ...]
    adapters: tuple[Adapter, ...]


class Tables:
    """The tables of one sink on one engine; layouts are kept until a document needs another column."""

    def __init__(self, sink: str, options: SqlOptions, engine: sa.Engine) -> None:
        self._sink, self._options, self._engine = sink, options, engine
        self._found: dict[str, sa.Table] = {}
        self._layouts: dict[tuple[str, bool, frozenset[tuple[str, LogicalType]]], Layout] = {}

    def layout(self, source: str, changes: Sequence[Change], *, staging: bool = False) -> Layout:
        """The layout for these changes of one source; makes or widens its table where that is allowed.

        staging: of the table that a bootstrap loads; the real one is made or widened first. Raises SinkError.
        """
        types = _types(changes, _fields(changes))
        kept = (source, staging, frozenset(types.items()))
        found = self._layouts.get(kept)
        if found is None:
            key = tuple(changes[0].key)
            table = self._fitting(self.target(source), self._made(source, key, types), key, types)
            if staging:
                table = self._staging(source, table)
            found = self._layouts[kept] = self._layout(table, key, types)
        return found

    def target(self, source: str) -> str:
        """The name of a source's table."""
        return place(self._options.table, source)

    def existing(self, source: str) -> sa.Table | None:
        """The source's table, None where there is none yet."""
        return self._reflected(self.target(source))

    def staging(self, source: str) -> sa.Table | None:
        """The table that a bootstrap loads, None where there is none."""
        return self._reflected(self._staging_name(source))

    def drop_staging(self, source: str) -> None:
        """Remove the loading table of a source, where there is one."""
        table = self.staging(source)
        if table is not None:
            table.drop(self._engine, checkfirst=True)
        self.forget()

    def forget(self) -> None:
        """Look at the database again when asked next."""
        self._found.clear()
        self._layouts.clear()

    # -- making and widening ------------------------------------------------------------------------------------------

    def _made(self, source: str, key: tuple[str, ...], types: Mapping[str, LogicalType]) -> sa.Table:
        name = self.target(source)
        table = self._reflected(name)
        if table is not None:
            return table
        if not self._options.create:
            raise SinkError(
                f"sink {self._sink}: there is no table {name!r}", hint="make it, or set create: true in its options"
            )
        self._check_names([name, *types])
        table = sa.Table(self._quoted(name), sa.MetaData(), schema=self._schema)
        for column, type_ in types.items():
            table.append_column(self._column(column, type_, key=column in key))
        table.create(self._engine, checkfirst=True)
        self.forget()
        return self._must_find(name)

    def _fitting(self, name: str, table: sa.Table, key: tuple[str, ...], types: Mapping[str, LogicalType]) -> sa.Table:
        """The table with all columns that the documents need, or that the options allow to leave out."""
        missing = [column for column in types if column not in table.c]
        if lost := [column for column in missing if column in key]:
            raise SinkError(
                f"sink {self._sink}: table {name!r} has no column {lost[0]!r}, which is part of the key",
                hint="add it and make it unique, or rename the key in the mapping",
            )
        if not missing or self._options.on_new_column == "ignore":
            return table
        if self._options.on_new_column == "fail":
            raise SinkError(
                f"sink {self._sink}: table {name!r} has no column {missing[0]!r}",
                hint="add it, leave it out in the mapping, or set on_new_column: add or ignore",
            )
        self._check_names(missing)
        with self._engine.begin() as connection:
            for column in missing:
                spec = CreateColumn(self._column(column, types[column], key=False)).compile(
                    dialect=self._engine.dialect
                )
                where = connection.dialect.identifier_preparer.format_table(table)
                connection.exec_driver_sql(f"ALTER TABLE {where} ADD {spec}")
        self.forget()
        return self._must_find(name)

    def _staging(self, source: str, table: sa.Table) -> sa.Table:
        """A table of the same columns and key, without what else hangs on the real one."""
        name = self._staging_name(source)
        found = self._reflected(name)
        if found is not None and set(found.c.keys()) == set(table.c.keys()):
            return found
        if found is None:
            copy = sa.Table(self._quoted(name), sa.MetaData(), schema=self._schema)
            for column in table.c:
                copy.append_column(
                    sa.Column(
                        self._quoted(column.name), column.type, primary_key=column.primary_key, autoincrement=False
                    )
                )
            copy.create(self._engine)
        else:
            with self._engine.begin() as connection:
                for column in table.c:
                    if column.name not in found.c:
                        fresh: sa.Column[Any] = sa.Column(self._quoted(column.name), column.type)
                        spec = CreateColumn(fresh).compile(dialect=self._engine.dialect)
                        where = connection.dialect.identifier_preparer.format_table(found)
                        connection.exec_driver_sql(f"ALTER TABLE {where} ADD {spec}")
        self.forget()
        return self._must_find(name)

    def _staging_name(self, source: str) -> str:
        """One for a sink and table, so that what an unfinished bootstrap left is found again."""
        digest = hashlib.sha256(f"{self._sink} {self.target(source)}".encode()).hexdigest()[:16]
        return f"differ_loading_{digest}"

    def _column(self, name: str, type_: LogicalType, *, key: bool) -> sa.Column[Any]:
        made = column_type(type_, self._engine.dialect, key=key, key_length=self._options.key_length)
        return sa.Column(self._quoted(name), made, primary_key=key, nullable=not key, autoincrement=False)

    def _check_names(self, names: Iterable[str]) -> None:
        longest = self._engine.dialect.max_identifier_length
        for name in names:
            unread = "`" in name and self._engine.dialect.name in ("mysql", "mariadb")  # as its reflection gives it
            if len(name.encode()) > longest or "\0" in name or unread:
                raise SinkError(
                    f"sink {self._sink}: {name!r} is no name for a table or column here; {longest} bytes are the limit",
                    hint="rename it in the mapping",
                )

    # -- looking ------------------------------------------------------------------------------------------------------

    def _layout(self, table: sa.Table, key: tuple[str, ...], types: Mapping[str, LogicalType]) -> Layout:
        """Fields that have a column, and columns that no field fills: those are set to null, since a document is the
        whole record."""
        filled = [*key, *(name for name in types if name in table.c and name not in key)]
        if self._options.create:
            filled += [column.name for column in table.c if column.name not in filled and _plain(column)]
        dialect = self._engine.dialect.name
        adapters = [adapter(table.c[name].type, types.get(name), dialect, key=name in key) for name in filled]
        return Layout(table=table, key=key, columns=tuple(filled), adapters=tuple(adapters))

    def _reflected(self, name: str) -> sa.Table | None:
        if name not in self._found:
            try:
                self._found[name] = sa.Table(
                    self._quoted(name),
                    sa.MetaData(),
                    schema=self._schema,
                    autoload_with=self._engine,
                    resolve_fks=False,
                    listeners=[("column_reflect", self._quote_column)],
                )
            except sa.exc.NoSuchTableError:
                return None
        return self._found[name]

    @property
    def _schema(self) -> str | None:
        name = self._options.schema_
        return None if name is None else self._quoted(name)

    def _quoted(self, name: str) -> str:
        """A name that is always quoted, where that changes nothing else: lists of reserved words are never complete."""
        return sa.quoted_name(name, quote=True) if self._engine.dialect.name in QUOTED else name

    def _quote_column(self, _inspector: Any, _table: sa.Table, column: Any) -> None:
        column["quote"] = True if self._engine.dialect.name in QUOTED else None

    def _must_find(self, name: str) -> sa.Table:
        table = self._reflected(name)
        if table is None:
            raise SinkError(f"sink {self._sink}: table {name!r} is gone", hint="who else makes and drops it?")
        return table


def _plain(column: sa.Column[Any]) -> bool:
    """Whether a column has nothing of its own to say about what is in it."""
    return bool(
        column.nullable and column.server_default is None and column.computed is None and column.identity is None
    )


def _fields(changes: Sequence[Change]) -> dict[str, None]:
    """The names of all fields, the key's first."""
    shapes = dict.fromkeys([tuple(change.document) for change in changes if change.document is not None])
    return dict.fromkeys(chain(changes[0].key, *shapes))


def _types(changes: Sequence[Change], fields: Iterable[str]) -> dict[str, LogicalType]:
    """The type of each field that has one; where no schema tells, it is told from the values."""
    known: dict[str, LogicalType] = {}
    for types in {id(types): types for types in [change.types for change in changes]}.values():
        known.update(types)
    found: dict[str, LogicalType] = {}
    for name in fields:
        type_ = known.get(name)
        if type_ is None or type_.kind == "null":
            values = (change.document.get(name) for change in changes if change.document is not None)
            type_ = next((_type_of(value) for value in values if value is not None), None)
        if type_ is not None:
            found[name] = type_
    return found


def _type_of(value: Any) -> LogicalType:
    """The type of a value of a hook's own field."""
    from datetime import date, datetime
    from decimal import Decimal
    from uuid import UUID

    match value:
        case bool():
            return t.BOOL
        case int():
            return t.INT
        case float():
            return t.FLOAT
        case Decimal():
            return t.DECIMAL_TEXT
        case str():
            return t.STRING
        case bytes():
            return t.BYTES
        case datetime():
            return t.TIMESTAMP_UTC if value.tzinfo else t.TIMESTAMP
        case date():
            return t.DATE
        case UUID():
            return t.UUID
        case _:
            return t.JSON
