"""MariaDB and MySQL: START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY and a streaming cursor.

Types of a table come from SHOW FULL COLUMNS, those of a query from the metadata that the server sends with a result
of no rows. Both need only SELECT. Proven on MariaDB; on MySQL the same statements are meant to work.
Source: https://mariadb.com/kb/en/start-transaction/ and https://mariadb.com/kb/en/gtid/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from differ.errors import ConfigError, SourceError
from differ.iterators.contract import Context
from differ.iterators.sql.fields import Field
from differ.iterators.sql.mariadb_packed import Packed, packable
from differ.iterators.sql.mariadb_types import ServerType, field_for, from_declared, from_metadata
from differ.iterators.sql.options import Options, nearest
from differ.iterators.sql.paths import BLOCK_BYTES, FastPath
from differ.iterators.sql.relation import Relation, chosen, quoted, statement
from differ.model import Position

_CONSISTENT = ["REPEATABLE READ", "SERIALIZABLE"]
_TRANSACTIONAL = ("InnoDB", "RocksDB", "ROCKSDB", "TokuDB")
_SYSTEM = "('information_schema', 'performance_schema', 'mysql', 'sys')"
# A reader that is busy with a batch for longer than net_write_timeout (60 s) would lose its cursor.
_SETTINGS = ("time_zone = '+00:00'", "net_write_timeout = 3600", "net_read_timeout = 3600")


class MariaDB:
    """Reads MariaDB and MySQL through mysqlclient; tables also through other drivers."""

    drivers: Mapping[str, str] = {"mysqldb": "connect_timeout", "pymysql": "connect_timeout"}

    def prepare(self, source: str, url: sa.URL, project: Path) -> sa.URL:
        """The URL with the one character set that holds every text."""
        return url if "charset" in url.query else url.update_query_dict({"charset": "utf8mb4"})

    def position(self, connection: sa.Connection) -> Position | None:
        """The GTID of each replication domain; None without a binary log, and on MySQL."""
        try:
            row = connection.exec_driver_sql("SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_slave_pos").one()
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            return None
        finally:
            connection.rollback()
        parts: dict[str, int] = {}
        for gtid in ",".join(text for text in row if text).split(","):
            if gtid:
                domain, _, number = gtid.strip().split("-")
                parts[domain] = max(int(number), parts.get(domain, 0))
        text = ",".join(text for text in row if text)
        return Position(kind="mariadb-gtid", parts=parts, text=text) if parts else None

    def begin(self, source: str, connection: sa.Connection, isolation: str | None) -> bool:
        """Settle the session and take the snapshot, which REPEATABLE READ keeps."""
        level = isolation or "REPEATABLE READ"
        allowed = [*_CONSISTENT, "READ COMMITTED"]
        if level not in allowed:
            raise ConfigError(
                f"source {source}: options: isolation {level!r} is not one of MariaDB", hint=nearest(level, allowed)
            )
        connection.execution_options(isolation_level="AUTOCOMMIT")
        for setting in _SETTINGS:
            connection.exec_driver_sql(f"SET SESSION {setting}")
        connection.exec_driver_sql(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        snapshot = "WITH CONSISTENT SNAPSHOT, " if level in _CONSISTENT else ""
        connection.exec_driver_sql(f"START TRANSACTION {snapshot}READ ONLY")
        return level in _CONSISTENT

    def transactional(self, connection: sa.Connection, relation: Relation) -> bool:
        """Whether the table's engine keeps old versions.

        Which tables a view or query reads is not told, so that one counts as transactional only where no table that
        this user can see has another engine.
        """
        if relation.table is not None:
            engine = connection.execute(
                sa.text(
                    "SELECT engine FROM information_schema.tables "
                    "WHERE table_schema = coalesce(:schema, database()) AND table_name = :name AND table_type <> 'VIEW'"
                ),
                {"schema": relation.schema, "name": relation.table},
            ).scalar()
            if engine is not None:
                return engine in _TRANSACTIONAL
        engines = connection.exec_driver_sql(
            "SELECT DISTINCT engine FROM information_schema.tables "  # noqa: S608
            f"WHERE table_type <> 'VIEW' AND engine IS NOT NULL AND table_schema NOT IN {_SYSTEM}"
        )
        return all(engine in _TRANSACTIONAL for engine in engines.scalars())

    def fields(self, connection: sa.Connection, relation: Relation, options: Options, ctx: Context) -> list[Field]:
        """One field a column, by declaration or by the metadata of the result."""
        described = (
            _declared(connection, relation) if relation.table is not None else _described(connection, relation, ctx)
        )
        names = chosen(ctx, options, [name for name, _ in described])
        types = dict(described)
        return [field_for(name, quoted(connection, name), types[name], name in options.as_text) for name in names]

    def path(
        self, connection: sa.Connection, relation: Relation, options: Options, fields: Sequence[Field]
    ) -> FastPath | str:
        """Packed rows, where some columns can be packed and the connection speaks UTF-8."""
        if connection.dialect.driver != "mysqldb":
            return f"the driver {connection.dialect.driver} does not hand over bytes as they come"
        raw: Any = connection.connection.dbapi_connection
        if raw.character_set_name() != "utf8mb4":
            return f"the connection's character set is {raw.character_set_name()}, not utf8mb4"
        limit = int(connection.exec_driver_sql("SELECT @@SESSION.max_allowed_packet").scalar_one())
        places = packable(fields, min(limit, BLOCK_BYTES) // 2)
        if not places:
            return "no column is sure to be short text without bytes"
        return Packed(connection=connection, relation=relation, fields=fields, packed=places)

    def verify(self, source: str, connection: sa.Connection) -> None:
        """InnoDB itself refuses a table that is younger than the snapshot ("Table definition has changed")."""

    def abandon(self, connection: sa.Connection) -> None:
        """Cut the connection: closing the cursor would first read all the rows that are left."""
        connection.invalidate()


def _declared(connection: sa.Connection, relation: Relation) -> list[tuple[str, ServerType]]:
    rows = connection.execute(statement(f"SHOW FULL COLUMNS FROM {relation.sql}")).all()
    documents = _documents(connection, relation) if any(row[1] == "longtext" for row in rows) else set()
    return [(str(row[0]), from_declared("json" if row[0] in documents else str(row[1]), row[2])) for row in rows]


def _documents(connection: sa.Connection, relation: Relation) -> set[str]:
    """The columns that MariaDB's alias JSON made: LONGTEXT with a check by json_valid."""
    if not getattr(connection.dialect, "is_mariadb", False):
        return set()
    clauses = connection.execute(
        sa.text(
            "SELECT check_clause FROM information_schema.check_constraints "
            "WHERE constraint_schema = coalesce(:schema, database()) AND table_name = :name"
        ),
        {"schema": relation.schema, "name": relation.table},
    ).scalars()
    found = (re.fullmatch(r"json_valid\(`(.*)`\)", str(clause), re.IGNORECASE) for clause in clauses)
    return {match[1].replace("``", "`") for match in found if match}


def _described(connection: sa.Connection, relation: Relation, ctx: Context) -> list[tuple[str, ServerType]]:
    if connection.dialect.driver != "mysqldb":
        raise SourceError(
            f"scan {ctx.source}: the types of a query are not known through the driver {connection.dialect.driver}",
            hint="use mysqlclient (mysql+mysqldb://), or make a view of the query and read it as `table`",
        )
    result = connection.execute(statement(f"{relation.select('*')} LIMIT 0"))
    cursor: Any = result.cursor
    columns = [
        (str(column[0]), from_metadata(int(column[1]), int(column[3]), int(column[5]), int(flags)))
        for column, flags in zip(cursor.description, cursor.description_flags, strict=True)
    ]
    result.close()
    return _with_character_sets(connection, relation, columns)


def _with_character_sets(
    connection: sa.Connection, relation: Relation, columns: list[tuple[str, ServerType]]
) -> list[tuple[str, ServerType]]:
    """Tell texts from bytes: the metadata that reaches us does not, for a binary collation looks the same."""
    unsure = [name for name, type_ in columns if type_.kind in ("text", "blob")]
    if not unsure:
        return columns
    asked = ", ".join(f"CHARSET(MAX({quoted(connection, name)}))" for name in unsure)
    row = connection.execute(statement(relation.select(asked, "FALSE"))).one()
    charsets = dict(zip(unsure, row, strict=True))

    def told(name: str, type_: ServerType) -> ServerType:
        if name not in charsets:
            return type_
        kind = "blob" if charsets[name] == "binary" else "text"
        return replace(type_, kind=kind, declared=kind, charset=str(charsets[name] or ""))

    return [(name, told(name, type_)) for name, type_ in columns]
