"""What is read: a table (or view) of the catalogue, or a query, and the SQL that selects from it.

Names are quoted by SQLAlchemy's dialect; `where` and `query` are the user's own SQL and go to the server as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from differ.errors import SourceError
from differ.iterators.contract import Context
from differ.iterators.sql.fields import PARAMETER, Field
from differ.iterators.sql.options import Options, nearest

ALIAS = "differ_rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Where rows come from. `table` and `schema` are None for a query; `names` is empty for one: not known yet."""

    source: str
    sql: str
    table: str | None
    schema: str | None
    where: str | None
    names: tuple[str, ...]
    key: tuple[str, ...]

    def select(self, expressions: str, condition: str | None = None) -> str:
        """The statement that selects these expressions where both `where` and the condition hold."""
        # A line break keeps a comment at the end of the user's SQL from swallowing ours.
        conditions = [f"({part}\n)" for part in (self.where, condition) if part]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {expressions} FROM {self.sql}{where}"  # noqa: S608  (quoted names and the user's own SQL)


def resolve(source: str, options: Options, connection: sa.Connection) -> Relation:
    """Find the table in the catalogue, or wrap the query.

    Raises SourceError naming the nearest tables when there is none of that name.
    """
    if options.query is not None:
        query = options.query.rstrip().rstrip(";")
        return Relation(
            source=source, sql=f"(\n{query}\n) {ALIAS}", table=None, schema=None, where=None, names=(), key=()
        )
    name = options.table or ""
    inspector = sa.inspect(connection)
    schema, table = _find(source, name, inspector)
    sql = quoted(connection, table) if schema is None else f"{quoted(connection, schema)}.{quoted(connection, table)}"
    with warnings.catch_warnings():
        # Only the names are taken from here; types that SQLAlchemy does not know are known to our dialects.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        columns = [str(column["name"]) for column in inspector.get_columns(table, schema=schema)]
    key = inspector.get_pk_constraint(table, schema=schema)["constrained_columns"]
    return Relation(
        source=source, sql=sql, table=table, schema=schema, where=options.where, names=tuple(columns), key=tuple(key)
    )


def quoted(connection: sa.Connection, name: str) -> str:
    """The name as the dialect quotes it, for use in `statement`."""
    preparer = connection.dialect.identifier_preparer
    text = preparer.quote(name)
    # The quoting of drivers that format by % doubles it; `statement` does so for the whole SQL.
    return text.replace("%%", "%") if preparer._double_percents else text


def _find(source: str, name: str, inspector: sa.Inspector) -> tuple[str | None, str]:
    if inspector.has_table(name):
        return None, name
    schema, dot, table = name.partition(".")
    if dot and inspector.has_table(table, schema=schema):
        return schema, table
    known = _known_tables(inspector, None)
    if dot and schema in inspector.get_schema_names():
        known = [f"{schema}.{item}" for item in _known_tables(inspector, schema)]
    raise SourceError(f"scan {source}: there is no table or view {name!r}", hint=nearest(name, known))


def _known_tables(inspector: sa.Inspector, schema: str | None) -> list[str]:
    return [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]


def chosen(ctx: Context, options: Options, names: Sequence[str]) -> tuple[str, ...]:
    """The columns to select: those of `columns`, else all, without the excluded ones.

    Raises SourceError for a name of `columns` or `as_text` that is not there, or a name that is there twice.
    """
    for option in ("columns", "as_text"):
        for name in getattr(options, option):
            if name not in names:
                raise SourceError(
                    f"scan {ctx.source}: options: {option}: there is no column {name!r}",
                    hint=nearest(name, list(names)),
                )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SourceError(
            f"scan {ctx.source}: two columns of the query are called {twice!r}", hint="name one of them with AS"
        )
    left = tuple(ctx.keep(options.columns or names))
    if not left:
        raise SourceError(f"scan {ctx.source}: no column is left to read", hint="see `columns:` of the source")
    return left


def statement(text: str, binds: dict[str, Any] | None = None) -> sa.TextClause:
    """Raw SQL as SQLAlchemy's text, in which only `:differ_N` are parameters.

    SQLAlchemy then does the driver's own escaping of percent signs; colons of the user's SQL are escaped here.
    """
    escaped = [part.replace(":", "\\:") for part in text.split(PARAMETER)]
    body = escaped[0]
    for index, part in enumerate(escaped[1:]):
        body += f":differ_{index} {part}"
    clause = sa.text(body)
    return clause.bindparams(**binds) if binds else clause


def matching(fields: Sequence[Field], keys: Sequence[Sequence[Any]]) -> tuple[str, dict[str, Any]]:
    """The condition that is true for these keys (values in field order), and its parameters by name."""
    values: list[Any] = []
    rows: list[str] = []
    for key in keys:
        rows.append("(" + " AND ".join(field.match for field in fields) + ")")
        values.extend(field.bind(value) for field, value in zip(fields, key, strict=True))
    return " OR ".join(rows), {f"differ_{index}": value for index, value in enumerate(values)}
