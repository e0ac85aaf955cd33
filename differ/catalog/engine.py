"""How the catalog and the consumers' database are opened: SQLite with a rollback journal and `synchronous=EXTRA`, or
any URL.

Commits are rare and small, so durability is worth its millisecond. pysqlite's own transaction handling is switched
off and BEGIN IMMEDIATE is sent by us, or two readers could both decide to write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from differ.catalog.seal import Seal
from differ.config.transit import sql_arguments
from differ.errors import BusyError, ConfigError, CorruptionError, StorageError
from differ.storage import ensure_folder

BUSY_SECONDS = 30
WRITE_LOCK = 0x6469666665720000
"""The number of the advisory lock that all writers of a PostgreSQL catalog take."""


def open_engine(url: str, what: str = "catalog", *, excuse: Callable[[Connection], bool] | None = None) -> Engine:
    """An engine for the catalog; the folder of an SQLite file is made. Raises ConfigError for a URL that is none.

    excuse: see `Seal`.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed, pool_pre_ping=True, isolation_level="REPEATABLE READ", connect_args=sql_arguments(parsed, {})
        )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError(f"open catalog {url}: an in-memory catalog would forget every SCN", hint="name a file")
    path = Path(parsed.database)
    ensure_folder(path.parent)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    seal = Seal(path, what, excuse)

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {'IMMEDIATE' if _writes(connection) else 'DEFERRED'}")
        seal.verify(connection)

    def commit(connection: Connection) -> None:
        if _writes(connection):
            seal.renew(connection)

    _SEALS[engine] = seal
    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", commit)
    return engine


_SEALS: WeakKeyDictionary[Engine, Seal] = WeakKeyDictionary()


def look_again(engine: Engine) -> None:
    """Verify the whole database in the next transaction; does nothing where it is a server's."""
    if engine in _SEALS:
        _SEALS[engine].forget()


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.execute("PRAGMA synchronous=EXTRA")
    cursor.execute("PRAGMA cell_size_check=ON")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("differ_write"))


def write_options(engine: Engine) -> dict[str, Any]:
    """Execution options of a write transaction: what it reads is what was committed when it got the lock."""
    if engine.dialect.name == "sqlite":
        return {"differ_write": True}
    return {"isolation_level": "READ COMMITTED"}


def take_write_lock(connection: Connection, number: int = WRITE_LOCK) -> None:
    """Wait until no other write transaction is open, at most BUSY_SECONDS; SQLite's BEGIN IMMEDIATE did it already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")


@contextmanager
def catalog_errors(engine: Engine, what: str = "catalog") -> Iterator[None]:
    """Turn a driver's error inside into one of differ's, naming the database."""
    name = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except OperationalError as error:
        cause = str(error.orig)
        if "locked" in cause or "busy" in cause or "lock timeout" in cause:
            raise BusyError(f"write {what} {name}: {cause}", hint="another process holds it; run it again") from error
        hint = f"look at the disk and the permissions of the {what}, then run it again"
        raise StorageError(f"use {what} {name}: {cause}", hint=hint) from error
    except DatabaseError as error:
        cause = str(error.orig)
        if "malformed" in cause or "not a database" in cause:
            raise CorruptionError(f"read {what} {name}: {cause}", hint="run 'differ check'") from error
        raise StorageError(f"use {what} {name}: {cause}", hint="look at the database itself") from error
