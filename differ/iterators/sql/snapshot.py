"""One connection and the one consistent read on it; sources of a consistency group share it.

Invariant: `position` was taken before the read began, so what was read is at least as new. Nothing is ever written:
the transaction is read-only where the database knows that, and it is rolled back at the end.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from differ.config.transit import sql_arguments
from differ.errors import register_secret
from differ.iterators.contract import Context
from differ.iterators.sql.dialects import CONNECT_SECONDS_MAX, Dialect, dialect_of, parse_url
from differ.iterators.sql.errors import mapped
from differ.iterators.sql.options import Options
from differ.model import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An open consistent read; bound to one thread. `store` is what `store_name` says of its URL."""

    store: str
    engine: sa.Engine
    connection: sa.Connection
    dialect: Dialect
    position: Position | None
    consistent: bool

    def close(self) -> None:
        """Roll back and disconnect; does not fail, for there is nothing to lose."""
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self.connection.rollback()
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self.connection.close()
        self.engine.dispose()


def store_name(ctx: Context, options: Options) -> str:
    """The database that a source reads, without password: equal for two sources that can share one read."""
    url = parse_url(ctx.source, options.url)
    secret = [name for name in url.query if "pass" in name.lower() or "key" in name.lower()]
    plain = sa.URL.create(
        url.get_backend_name(),
        url.username,
        None,
        url.host,
        url.port,
        url.database if url.get_backend_name() != "sqlite" else _absolute(ctx, url),
        url.difference_update_query(secret).query,
    )
    return plain.render_as_string(hide_password=False)


def open_snapshot(ctx: Context, options: Options) -> Snapshot:
    """Connect and begin. Raises ConfigError, SourceUnavailableError or SourceError, none with a password in it."""
    url = parse_url(ctx.source, options.url)
    _hide(url, options)
    dialect = dialect_of(url)
    with mapped(ctx.source, "connect", url):
        opened = dialect.prepare(ctx.source, url, Path(ctx.project))
        arguments = sql_arguments(opened, options.connect_args) | dict(options.connect_args)
        limit = dialect.drivers.get(url.get_driver_name())
        if limit:
            arguments.setdefault(limit, CONNECT_SECONDS_MAX)
        engine = sa.create_engine(opened, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
        try:
            connection = engine.connect()
        except BaseException:
            engine.dispose()
            raise
    try:
        with mapped(ctx.source, "begin a consistent read", url):
            position = dialect.position(connection)
            consistent = dialect.begin(ctx.source, connection, options.isolation)
    except BaseException:
        connection.close()
        engine.dispose()
        raise
    return Snapshot(
        store=store_name(ctx, options),
        engine=engine,
        connection=connection,
        dialect=dialect,
        position=position,
        consistent=consistent,
    )


def _hide(url: sa.URL, options: Options) -> None:
    """Keep the password out of every message, wherever it is given."""
    given = {**url.query, **options.connect_args, "password": url.password or options.connect_args.get("password")}
    for name, value in given.items():
        if value and name.lower() in ("password", "passwd", "sslpassword", "ssl_key_password"):
            register_secret(str(value))


def _absolute(ctx: Context, url: sa.URL) -> str:
    return str((Path(ctx.project) / (url.database or "")).resolve())
