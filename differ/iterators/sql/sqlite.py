"""SQLite: a file opened read-only, one read transaction, values checked against what the columns declare.

A declared type is a wish in SQLite: any column may hold any value. So the snapshot is asked once, by one aggregate
query over typeof(), what each column holds; `sqlite_types` decides by declaration and that answer.
Source: https://www.sqlite.org/datatype3.html and https://www.sqlite.org/isolation.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from differ.errors import ConfigError, SourceUnavailableError
from differ.iterators.contract import Context
from differ.iterators.sql.fields import Field
from differ.iterators.sql.options import Options
from differ.iterators.sql.paths import FastPath
from differ.iterators.sql.relation import Relation, chosen, statement
from differ.iterators.sql.sqlite_types import Held, field_for, questions
from differ.model import Position

COLUMNS_PER_QUESTION = 100
_VIEW = "differ_declared"


class SQLite:
    """Reads SQLite files through the standard library's driver."""

    drivers: Mapping[str, str] = {"pysqlite": "timeout"}

    def prepare(self, source: str, url: sa.URL, project: Path) -> sa.URL:
        """A `mode=ro` URL of the absolute path; a file that is not there is an error and is not made."""
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise ConfigError(f"source {source}: options: url names no file", hint="sqlite:///shop.db")
        path = (project / url.database).resolve()
        if not path.is_file():
            raise SourceUnavailableError(
                f"scan {source}: there is no file {path}",
                hint="a relative path starts at the project's folder; sqlite:////four/slashes is absolute",
            )
        return url.set(database=f"file:{quote(str(path))}", query={**url.query, "mode": "ro", "uri": "true"})

    def position(self, connection: sa.Connection) -> Position | None:
        """A file has no position."""
        return None

    def begin(self, source: str, connection: sa.Connection, isolation: str | None) -> bool:
        """BEGIN, and a first read, which pins the state for the whole transaction."""
        if isolation not in (None, "SERIALIZABLE"):
            raise ConfigError(
                f"source {source}: options: isolation {isolation!r} is not one of SQLite", hint="leave it out"
            )
        # The driver opens no transaction for reads by itself, so that two SELECTs would see two states.
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
        return True

    def transactional(self, connection: sa.Connection, relation: Relation) -> bool:
        """Everything in the file is."""
        return True

    def fields(self, connection: sa.Connection, relation: Relation, options: Options, ctx: Context) -> list[Field]:
        """Declared types, corrected by what the columns hold; one pass over the relation."""
        declared = _declared(connection, relation)
        names = chosen(ctx, options, [name for name, _ in declared])
        types = dict(declared)
        keys = set(ctx.key or relation.key)
        quoted = {name: connection.dialect.identifier_preparer.quote_identifier(name) for name in names}
        held = _held(connection, relation, quoted, types)
        return [
            field_for(name, types[name], quoted[name], held[name], name in keys, name in options.as_text)
            for name in names
        ]

    def path(
        self, connection: sa.Connection, relation: Relation, options: Options, fields: Sequence[Field]
    ) -> FastPath | str:
        """None: the file is read in this process, value by value."""
        return "there is no faster way for SQLite"

    def verify(self, source: str, connection: sa.Connection) -> None:
        """A transaction covers the schema as well as the rows."""

    def abandon(self, connection: sa.Connection) -> None:
        """Nothing was sent ahead: closing the cursor is enough."""


def _declared(connection: sa.Connection, relation: Relation) -> list[tuple[str, str]]:
    """Column names and declared types, in order; an expression of a query has the type ''.

    A query's are those of a temporary view of it, which lives in memory and not in the file.
    """
    quote_identifier = connection.dialect.identifier_preparer.quote_identifier
    if relation.table is not None:
        schema = f"{quote_identifier(relation.schema)}." if relation.schema else ""
        rows = connection.exec_driver_sql(f"PRAGMA {schema}table_xinfo({quote_identifier(relation.table)})")
    else:
        view = statement(f"CREATE TEMP VIEW {_VIEW} AS SELECT * FROM {relation.sql}")  # noqa: S608
        connection.execute(view)
        rows = connection.exec_driver_sql(f"PRAGMA temp.table_xinfo({_VIEW})")
    # `hidden` is 1 for the hidden columns of virtual tables; generated columns (2, 3) are columns.
    found = [(str(row[1]), str(row[2] or "")) for row in rows if row[6] != 1]
    if relation.table is None:
        connection.exec_driver_sql(f"DROP VIEW temp.{_VIEW}")
    return found


def _held(
    connection: sa.Connection, relation: Relation, quoted: Mapping[str, str], types: Mapping[str, str]
) -> dict[str, Held]:
    """What each column holds, in one pass over the relation (one per 100 columns)."""
    held: dict[str, Held] = {}
    names = list(quoted)
    for start in range(0, len(names), COLUMNS_PER_QUESTION):
        part = names[start : start + COLUMNS_PER_QUESTION]
        asked = [question for name in part for question in questions(quoted[name], types[name])]
        row = connection.execute(statement(relation.select(", ".join(asked)))).one()
        width = len(asked) // len(part)
        for index, name in enumerate(part):
            held[name] = Held(*row[index * width : (index + 1) * width])
    return held
