"""What differs between databases, one object each, and which database a URL means.

A database that has no object of its own is read through `Generic`: SQLAlchemy's types and a plain transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from differ.errors import ConfigError
from differ.iterators.contract import Context
from differ.iterators.sql.fields import Field
from differ.iterators.sql.options import Options
from differ.iterators.sql.paths import FastPath
from differ.iterators.sql.relation import Relation
from differ.model import Position

CONNECT_SECONDS_MAX = 10


class Dialect(Protocol):
    """How to read one kind of database. All methods are bound to the snapshot's thread."""

    drivers: Mapping[str, str]
    """Driver name -> the connect argument that bounds the time of connecting, in seconds; the first is the default."""

    def prepare(self, source: str, url: sa.URL, project: Path) -> sa.URL:
        """The URL to open, read-only where the database can; raises SourceError for a file that is not there."""

    def position(self, connection: sa.Connection) -> Position | None:
        """Where the server stands now; called before `begin`, so that it is never later than what is read."""

    def begin(self, source: str, connection: sa.Connection, isolation: str | None) -> bool:
        """Open the read transaction and pin what it sees; returns whether all of it is one consistent state."""

    def transactional(self, connection: sa.Connection, relation: Relation) -> bool:
        """Whether what the relation reads takes part in transactions."""

    def fields(self, connection: sa.Connection, relation: Relation, options: Options, ctx: Context) -> list[Field]:
        """The columns to read, with exact types, in the relation's order."""

    def path(
        self, connection: sa.Connection, relation: Relation, options: Options, fields: Sequence[Field]
    ) -> FastPath | str:
        """The faster way to read these fields, or why SQLAlchemy's rows are the way; reads nothing of the relation."""

    def verify(self, source: str, connection: sa.Connection) -> None:
        """Asked when all rows were read: raises SourceUnavailableError where the snapshot did not cover all of them."""

    def abandon(self, connection: sa.Connection) -> None:
        """Give up a result that was not read to its end, without reading on."""


def parse_url(source: str, text: str) -> sa.URL:
    """Parse a URL and complete its driver. Raises ConfigError, also for asynchronous drivers."""
    try:
        url = sa.make_url(text)
        if "+" not in url.drivername:
            backend = {"postgres": "postgresql"}.get(url.drivername, url.drivername)
            driver = next(iter(dialect_of(url).drivers), None)
            url = url.set(drivername=f"{backend}+{driver}" if driver else backend)
        is_async = url.get_dialect().is_async
    except sa.exc.NoSuchModuleError:
        raise ConfigError(
            f"source {source}: options: url: no SQLAlchemy dialect is installed for {text.partition(':')[0]!r}",
            hint="sqlite, postgresql and mariadb are built in; others come with a package of their own",
        ) from None
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigError(
            f"source {source}: options: url is not a database URL", hint="for example postgresql://user@host/database"
        ) from None
    if is_async:
        raise ConfigError(
            f"source {source}: options: url: {url.drivername} is an asynchronous driver",
            hint=f"leave the driver out, as in {url.get_backend_name()}://",
        )
    return url


def dialect_of(url: sa.URL) -> Dialect:
    """The object that reads this kind of database."""
    match url.drivername.partition("+")[0]:
        case "sqlite":
            from differ.iterators.sql.sqlite import SQLite

            return SQLite()
        case "postgresql" | "postgres":
            from differ.iterators.sql.postgresql import PostgreSQL

            return PostgreSQL()
        case "mysql" | "mariadb":
            from differ.iterators.sql.mariadb import MariaDB

            return MariaDB()
        case _:
            from differ.iterators.sql.generic import Generic

            return Generic()
