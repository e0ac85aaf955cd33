"""The engine of a sink's URL: which driver, how long to wait, what a session must be like.

Invariant: a session never rounds, cuts or zeroes a value to make it fit (MariaDB's strict mode), and speaks UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from differ.config.transit import sql_arguments
from differ.errors import UsageError
from differ.sinks.sql.options import SqlOptions

CONNECT_SECONDS = 10
DRIVERS = {"postgresql": "psycopg", "postgres": "psycopg", "mysql": "mysqldb", "mariadb": "mysqldb"}
STRICT = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION"


def parse_url(text: str, project: Path) -> sa.URL:
    """The URL with its driver, and with a SQLite file below the project. Raises UsageError."""
    try:
        url = sa.make_url(text)
        backend, _, driver = url.drivername.partition("+")
        if not driver and backend in DRIVERS:
            url = url.set(drivername=f"{'postgresql' if backend == 'postgres' else backend}+{DRIVERS[backend]}")
        is_async = url.get_dialect().is_async
    except sa.exc.NoSuchModuleError:
        raise UsageError(
            f"options.url: no SQLAlchemy dialect is installed for {text.partition(':')[0]!r}",
            hint="sqlite, postgresql and mariadb are built in; others come with a package of their own",
        ) from None
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(
            "options.url: it is no database URL", hint="for example postgresql://user@host/database"
        ) from None
    if is_async:
        raise UsageError(f"options.url: {url.drivername} is an asynchronous driver", hint="leave the driver out")
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UsageError(
                "options.url: a destination outlives a process", hint="name a file, as in sqlite:///shop.db"
            )
        if not url.database.startswith("file:"):
            url = url.set(database=str(project / url.database))
    return url


def engine_of(options: SqlOptions, project: Path) -> sa.Engine:
    """An engine without a pool: the sink holds its one connection. Connects to nothing yet."""
    url = parse_url(options.url, project)
    arguments: dict[str, Any] = {}
    match url.get_backend_name(), url.get_driver_name():
        case "postgresql", "psycopg" | "psycopg2":
            arguments = {"connect_timeout": CONNECT_SECONDS}
        case "mysql" | "mariadb", "mysqldb" | "pymysql":
            arguments = {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4"}
        case "sqlite", _:
            arguments = {"timeout": CONNECT_SECONDS}
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.NullPool,
        connect_args=arguments | sql_arguments(url, options.connect_args) | options.connect_args,
    )
    match engine.dialect.name:
        case "sqlite":
            sa.event.listen(engine, "connect", _sqlite_session)
            sa.event.listen(engine, "begin", _sqlite_begin)
        case "mysql" | "mariadb":
            sa.event.listen(engine, "connect", _mariadb_session)
    return engine


def _sqlite_session(connection: Any, _record: Any) -> None:
    """pysqlite begins transactions late and by itself: it is told not to, and `_sqlite_begin` does."""
    connection.isolation_level = None


def _sqlite_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _mariadb_session(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET SESSION sql_mode = '{STRICT}', time_zone = '+00:00'")
    cursor.close()
