"""Any other database that SQLAlchemy has a dialect for: its reflected types, a plain transaction, a client's cursor.

Nothing of this is proven on a particular database. What SQLAlchemy cannot tell exactly is read as text by CAST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from differ.errors import ConfigError, SourceError
from differ.iterators.contract import Context
from differ.iterators.sql.fields import PARAMETER, Convert, Field, plain, unchanged, unconstrained, uuid_bytes
from differ.iterators.sql.options import Options, nearest
from differ.iterators.sql.paths import FastPath
from differ.iterators.sql.relation import Relation, chosen, quoted
from differ.model import Position
from differ.records.types import UUID, Column, LogicalType

STRING = LogicalType(kind="string")
_BEST_FIRST = ("SNAPSHOT", "SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED")
_CONSISTENT = ("SNAPSHOT", "SERIALIZABLE")


class Generic:
    """Reads tables and views through SQLAlchemy alone."""

    drivers: Mapping[str, str] = {}

    def prepare(self, source: str, url: sa.URL, project: Path) -> sa.URL:
        """The URL as it is."""
        return url

    def position(self, connection: sa.Connection) -> Position | None:
        """Not known."""
        return None

    def begin(self, source: str, connection: sa.Connection, isolation: str | None) -> bool:
        """A transaction at the given level, else the highest that the dialect offers."""
        try:
            raw: Any = connection.connection.dbapi_connection
            offered = [str(level) for level in connection.dialect.get_isolation_level_values(raw)]
        except NotImplementedError:
            offered = []
        if isolation is not None and isolation not in offered:
            raise ConfigError(
                f"source {source}: options: isolation {isolation!r} is not offered", hint=nearest(isolation, offered)
            )
        level: Any = isolation or next((level for level in _BEST_FIRST if level in offered), None)
        if level is not None:
            connection.rollback()
            connection.execution_options(isolation_level=level)
        return level in _CONSISTENT

    def transactional(self, connection: sa.Connection, relation: Relation) -> bool:
        """Taken for granted."""
        return True

    def fields(self, connection: sa.Connection, relation: Relation, options: Options, ctx: Context) -> list[Field]:
        """One field a column, by its SQLAlchemy type. Raises SourceError for a query: its types are not known."""
        if relation.table is None:
            raise SourceError(
                f"scan {ctx.source}: the types of a query are not known on {connection.dialect.name}",
                hint="make a view of the query and read it as `table`",
            )
        columns = sa.inspect(connection).get_columns(relation.table, schema=relation.schema)
        types = {str(column["name"]): column["type"] for column in columns}
        names = chosen(ctx, options, list(types))
        return [
            _field(connection, name, quoted(connection, name), types[name], name in options.as_text) for name in names
        ]

    def path(
        self, connection: sa.Connection, relation: Relation, options: Options, fields: Sequence[Field]
    ) -> FastPath | str:
        """None is known."""
        return "no faster way is known for this database"

    def verify(self, source: str, connection: sa.Connection) -> None:
        """Nothing is known of this database that its transactions do not say."""

    def abandon(self, connection: sa.Connection) -> None:
        """Closing the cursor has to do."""


def _field(connection: sa.Connection, name: str, quoted: str, type_: Any, as_text: bool) -> Field:
    logical = None if as_text else logical_type(type_)
    text = str(sa.cast(sa.literal_column(quoted), sa.String).compile(dialect=connection.dialect))
    expression = quoted if logical is not None else text
    return Field(
        column=Column(name=name, type=logical or STRING, declared=_declared(connection, type_)),
        expression=f"{expression} AS {quoted}",
        convert=_processed(connection, type_, logical) if logical is not None else plain(STRING),
        match=f"{expression} = {PARAMETER}",
        bind=unchanged,
    )


def _declared(connection: sa.Connection, type_: Any) -> str:
    try:
        return str(type_.compile(dialect=connection.dialect))
    except sa.exc.SQLAlchemyError:
        return str(type_.__class__.__name__)


def logical_type(type_: Any) -> LogicalType | None:  # noqa: PLR0911  (one line a type)
    """The exact logical type of a reflected column, or None where it has to be read as text."""
    match type_:
        case sa.Boolean():
            return LogicalType(kind="bool")
        case sa.Integer():
            return LogicalType(kind="int", bits=64)
        case sa.Float():
            return LogicalType(kind="float", bits=64)
        case sa.Numeric():
            precision, scale = type_.precision, type_.scale
            if precision is None or scale is None or not 0 <= scale <= precision <= 76:
                return LogicalType(kind="decimal")
            return LogicalType(kind="decimal", precision=precision, scale=scale)
        case sa.Enum() | sa.String():
            return STRING
        case sa.LargeBinary():
            return LogicalType(kind="bytes")
        case sa.DateTime():
            return LogicalType(kind="timestamp", unit="us", zone=bool(type_.timezone))
        case sa.Date():
            return LogicalType(kind="date")
        case sa.Uuid():
            return UUID
        case _:
            return None


def _processed(connection: sa.Connection, type_: Any, logical: LogicalType) -> Convert:
    """The conversion of values after SQLAlchemy's own; numbers stay as the driver gives them, for that one rounds."""
    convert = _convert(logical)
    process = type_.dialect_impl(connection.dialect).result_processor(connection.dialect, None)
    if process is None or logical.kind in ("int", "float", "decimal"):
        return convert
    return lambda values: convert([process(value) for value in values])


def _convert(type_: LogicalType) -> Convert:
    match type_.kind:
        case "decimal" if type_.precision is None:
            return unconstrained
        case "uuid":
            return uuid_bytes
        case "timestamp" if type_.zone:
            return lambda values: pa.array([_utc(value) for value in values], type_.storage)
        case _:
            return plain(type_)


def _utc(value: datetime | None) -> datetime | None:
    if value is None or value.tzinfo is None:
        return value
    return value.astimezone(UTC)
