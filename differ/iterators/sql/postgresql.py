"""PostgreSQL: REPEATABLE READ READ ONLY, a server-side cursor, types by OID and type modifier.

What a driver would convert with loss (dates beyond its years, months in intervals, JSON numbers) is selected as text.
Source: https://www.postgresql.org/docs/current/transaction-iso.html and catalog-pg-type.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from differ.errors import ConfigError, SourceUnavailableError
from differ.iterators.contract import Context
from differ.iterators.sql.fields import Field
from differ.iterators.sql.options import Options, nearest
from differ.iterators.sql.paths import FastPath
from differ.iterators.sql.postgresql_copy import Copy
from differ.iterators.sql.postgresql_parallel import ParallelCopy, parts_of
from differ.iterators.sql.postgresql_types import ServerType, field_for
from differ.iterators.sql.relation import Relation, chosen, quoted, statement
from differ.model import Position

_CONSISTENT = ["REPEATABLE READ", "SERIALIZABLE"]
# SET LOCAL, so that a pooler that hands the connection on does not hand on our settings.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "idle_in_transaction_session_timeout": "0",
}
_POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
"""
_TYPES = """
SELECT asked.place, t.oid, format_type(t.oid, asked.modifier), coalesce(e.oid, 0)
FROM unnest(CAST(:oids AS oid[]), CAST(:modifiers AS int[])) WITH ORDINALITY AS asked (oid, modifier, place)
JOIN pg_catalog.pg_type t ON t.oid = asked.oid
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
ORDER BY asked.place
"""
# What pg_class says is as of the snapshot, what functions say of a relation is as of now; the relations that this
# transaction has read are those that it holds locks on. An index may be younger than the snapshot: it changes no rows.
# Source: "Caveats" in the chapter on concurrency control of PostgreSQL's documentation.
_REPLACED = """
SELECT coalesce(c.relname, locked.relation::regclass::text)
FROM (SELECT DISTINCT relation FROM pg_catalog.pg_locks
      WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation >= 16384
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) locked
LEFT JOIN pg_catalog.pg_class c ON c.oid = locked.relation
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (c.oid IS NULL AND pg_index_has_property(locked.relation::regclass, 'clusterable') IS NULL)
OR (c.relkind IN ('r', 'm') AND nullif(c.relfilenode, 0) IS DISTINCT FROM pg_relation_filenode(c.oid))
OR (c.relkind IN ('r', 'm', 'v', 'p')
    AND to_regclass(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) IS DISTINCT FROM c.oid::regclass)
LIMIT 1
"""


class PostgreSQL:
    """Reads PostgreSQL through psycopg."""

    drivers: Mapping[str, str] = {"psycopg": "connect_timeout", "psycopg2": "connect_timeout"}

    def prepare(self, source: str, url: sa.URL, project: Path) -> sa.URL:
        """The URL as it is."""
        return url

    def position(self, connection: sa.Connection) -> Position | None:
        """The WAL position, by system identifier where that may be read; a standby's is what it has replayed."""
        try:
            text, may_identify = connection.exec_driver_sql(_POSITION).one()
            system = "wal"
            if may_identify:
                system = str(
                    connection.exec_driver_sql("SELECT system_identifier FROM pg_control_system()").scalar_one()
                )
        except sa.exc.ProgrammingError:
            return None  # A relative of PostgreSQL that has no WAL functions.
        finally:
            connection.rollback()
        if text is None:
            return None
        high, low = str(text).split("/")
        return Position(kind="postgresql-lsn", parts={system: (int(high, 16) << 32) + int(low, 16)}, text=str(text))

    def begin(self, source: str, connection: sa.Connection, isolation: str | None) -> bool:
        """Begin, settle how values are written, and take the snapshot by a first query."""
        level: Any = isolation or "REPEATABLE READ"
        allowed = [*_CONSISTENT, "READ COMMITTED"]
        if level not in allowed:
            raise ConfigError(
                f"source {source}: options: isolation {level!r} is not one of PostgreSQL", hint=nearest(level, allowed)
            )
        connection.execution_options(isolation_level=level, postgresql_readonly=True)
        _settle(connection)
        connection.exec_driver_sql("SELECT 1").scalar()
        return level in _CONSISTENT

    def transactional(self, connection: sa.Connection, relation: Relation) -> bool:
        """Every table is; a foreign table is as consistent as its server makes it, which is not known here."""
        if relation.table is None:
            return True
        kind = sa.text("SELECT relkind::text FROM pg_catalog.pg_class WHERE oid = CAST(:name AS regclass)")
        return connection.execute(kind, {"name": relation.sql}).scalar() != "f"

    def fields(self, connection: sa.Connection, relation: Relation, options: Options, ctx: Context) -> list[Field]:
        """One field a column, by the types that the server describes for a SELECT of no rows."""
        if relation.table is None:
            described = _describe(connection, relation, "*")
            names = chosen(ctx, options, [name for name, _ in described])
        else:
            # Only the columns that are read are asked for: others may be ones that this user must not see.
            names = chosen(ctx, options, relation.names)
            described = _describe(connection, relation, ", ".join(quoted(connection, name) for name in names))
        types = dict(described)
        return [field_for(name, quoted(connection, name), types[name], name in options.as_text) for name in names]

    def path(
        self, connection: sa.Connection, relation: Relation, options: Options, fields: Sequence[Field]
    ) -> FastPath | str:
        """COPY, which psycopg alone lets us receive as it comes."""
        if connection.dialect.driver != "psycopg":
            return f"the driver {connection.dialect.driver} does not hand over what COPY sends"
        copy = Copy(connection=connection, relation=relation, fields=fields)
        if options.parallel == 1:
            return copy
        parts: list[str] | str = "a query has no pages of its own"
        if options.isolation not in (None, "REPEATABLE READ"):
            parts = f"isolation {options.isolation} shares no snapshot"
        elif relation.table is not None:
            parts = parts_of(connection, relation.sql, options.parallel)
        if isinstance(parts, str):
            return replace(copy, name=f"{copy.name}; on one connection: {parts}")
        return ParallelCopy(copy=copy, parts=parts, settle=_join)

    def verify(self, source: str, connection: sa.Connection) -> None:
        """Raise SourceUnavailableError where a table that was read is not the one that the snapshot knows.

        TRUNCATE and the forms of ALTER TABLE that rewrite a table are not covered by snapshots: a table that was
        rewritten, or put in the place of another, between the snapshot and its first read may look empty. From that
        read on our lock keeps it as it is, so asking afterwards is enough. Also a query's tables, and partitions.
        """
        name = connection.exec_driver_sql(_REPLACED).scalar()
        if name is not None:
            raise SourceUnavailableError(
                f"scan {source}: table {name} was rewritten, truncated or replaced while the scan began",
                hint="such a table looks empty to PostgreSQL's snapshots, so nothing was committed; scan again",
            )

    def abandon(self, connection: sa.Connection) -> None:
        """The cursor is on the server: closing it is enough."""


def _settle(connection: sa.Connection) -> None:
    for name, value in _SETTINGS.items():
        connection.exec_driver_sql(f"SET LOCAL {name} = '{value}'")


def _join(connection: sa.Connection, exported: str) -> None:
    """Begin a transaction that sees what the one that exported this snapshot sees."""
    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{exported}'")
    _settle(connection)


def _describe(connection: sa.Connection, relation: Relation, expressions: str) -> list[tuple[str, ServerType]]:
    """Name and type of each column; domains are described as their base types."""
    result = connection.execute(statement(f"{relation.select(expressions)} LIMIT 0"))
    cursor: Any = result.cursor
    described = list(cursor.description)
    raw = getattr(cursor, "pgresult", None)
    modifiers = [raw.fmod(index) if raw is not None else -1 for index in range(len(described))]
    result.close()
    oids = [int(column[1]) for column in described]
    rows = connection.execute(sa.text(_TYPES), {"oids": oids, "modifiers": modifiers}).all()
    return [
        (str(column[0]), ServerType(oid=oid, modifier=modifier, element=element, declared=declared))
        for column, modifier, (_, oid, declared, element) in zip(described, modifiers, rows, strict=True)
    ]
