"""What goes to a database beyond this machine goes by TLS to a server that proved its name, or somebody said otherwise.

The servers are real and on this machine: PostgreSQL is called by a name of another one (`hostaddr`), and for the others
this machine is declared to be far away.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from differ.catalog.engine import open_engine
from differ.config import transit
from differ.config.transit import mongo_arguments, sql_arguments
from differ.errors import ConfigError
from differ.sinks.sql.connect import SqlOptions, engine_of
from tests.cycle.world import World
from tests.security.certificates import Certificates
from tests.servers import MariaDB, PostgreSQL

NAME = "relay.example.net"


class TLSPostgreSQL(PostgreSQL):
    """Offers TLS with the certificates that lie in its data folder."""

    def command(self) -> list[str]:
        return [*super().command(), "-c", "ssl=on", "-c", "ssl_cert_file=server.pem", "-c", "ssl_key_file=server.key"]


class TLSMariaDB(MariaDB):
    """Offers TLS."""

    def __init__(self, certificates: Certificates) -> None:
        super().__init__()
        self.certificates = certificates

    def command(self) -> list[str]:
        made = self.certificates
        return [*super().command(), f"--ssl-cert={made.certificate}", f"--ssl-key={made.key}"]


@pytest.fixture(scope="module")
def guarded_postgresql(postgresql: PostgreSQL, certificates: Certificates) -> Iterator[PostgreSQL]:
    server = TLSPostgreSQL()
    server._programs = postgresql._programs
    prepare = server.prepare

    def with_certificates() -> None:
        prepare()
        for path in (certificates.certificate, certificates.key):
            copy = Path(shutil.copy(path, server.data / path.name))
            copy.chmod(0o600)
            if (uid := server.owner()) is not None:
                os.chown(copy, uid, -1)

    server.prepare = with_certificates  # type: ignore[method-assign]
    with server:
        yield server


@pytest.fixture(scope="module")
def guarded_mariadb(mariadb: MariaDB, certificates: Certificates) -> Iterator[MariaDB]:
    with TLSMariaDB(certificates) as server:
        yield server


def named(server: PostgreSQL, name: str = NAME, **query: str) -> str:
    """The server's URL as of another machine."""
    url = sa.make_url(server.url()).set(host=name, query={"hostaddr": "127.0.0.1", **query})
    return url.render_as_string(hide_password=False)


def outcome(world: World, url: str, **options: Any) -> str:
    world.source("t", iterator="sql", key="id", options={"url": url, "query": "SELECT 1 AS id", **options})
    result = world.scan("t")
    return "read" if result.status in ("committed", "unchanged") else f"{result.error} | {result.hint}"


def test_postgresql(
    world: World, postgresql: PostgreSQL, guarded_postgresql: PostgreSQL, certificates: Certificates
) -> None:
    authority = str(certificates.authority)
    # Plain text is refused; whoever wants it says so.
    told = outcome(world, named(postgresql))
    assert "does not support SSL" in told
    assert "?sslmode=disable" in told
    assert outcome(world, named(postgresql, sslmode="disable")) == "read"
    assert outcome(world, named(postgresql), connect_args={"sslmode": "prefer"}) == "read"
    # A server must be known, and be who it says.
    told = outcome(world, named(guarded_postgresql))
    assert "certificate" in told
    assert "sslrootcert" in told
    assert outcome(world, named(guarded_postgresql, sslrootcert=authority)) == "read"
    assert "does not match host name" in outcome(
        world, named(guarded_postgresql, "other.example.net", sslrootcert=authority)
    )
    assert outcome(world, named(guarded_postgresql, sslmode="require")) == "read"
    # On this machine nothing is asked for.
    assert outcome(world, postgresql.url()) == "read"


def test_postgresql_as_destination_and_catalog(
    postgresql: PostgreSQL, guarded_postgresql: PostgreSQL, certificates: Certificates, tmp_path: Path
) -> None:
    def reached(url: str) -> bool:
        engines = [engine_of(SqlOptions.model_validate({"url": url}), tmp_path), open_engine(url)]
        found = set()
        for engine in engines:
            try:
                with engine.connect() as connection:
                    connection.exec_driver_sql("SELECT 1")
                found.add(True)
            except sa.exc.OperationalError as error:
                found.add("SSL" not in str(error))
            engine.dispose()
        (same,) = found
        return same

    assert not reached(named(postgresql))
    assert reached(named(postgresql, sslmode="disable"))
    assert not reached(named(guarded_postgresql))
    assert reached(named(guarded_postgresql, sslrootcert=str(certificates.authority)))


def test_mariadb(
    world: World,
    mariadb: MariaDB,
    guarded_mariadb: MariaDB,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert outcome(world, mariadb.url()) == "read"
    monkeypatch.setattr(transit, "is_local", lambda host: False)
    told = outcome(world, mariadb.url())
    assert "(2026)" in told
    assert "?ssl_mode=DISABLED" in told
    assert outcome(world, f"{mariadb.url()}&ssl_mode=DISABLED") == "read"
    assert "(2026)" in outcome(world, guarded_mariadb.url())
    assert outcome(world, f"{guarded_mariadb.url()}&ssl_ca={certificates.authority}") == "read"
    assert outcome(world, f"{guarded_mariadb.url()}&ssl_mode=DISABLED") == "read"


def test_mongodb(world: World, mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(url: str) -> str:
        options = {"url": url, "collection": "c", "connect_args": {"serverSelectionTimeoutMS": 1000}}
        world.source("t", iterator="mongodb", options=options)
        result = world.scan("t")
        return result.status if result.error is None else f"{result.error} | {result.hint}"

    assert "there is no collection" in told(mongodb_url)
    monkeypatch.setattr(transit, "is_local", lambda host: False)
    assert "?tls=false" in told(mongodb_url)
    assert "there is no collection" in told(f"{mongodb_url}?tls=false")


@pytest.mark.parametrize(
    ("url", "is_guarded"),
    [
        ("postgresql+psycopg://db.example/x", True),
        ("postgresql+psycopg://10.0.0.1/x", True),
        ("postgresql+psycopg://127.0.0.1.example/x", True),
        ("postgresql+psycopg:///x?host=localhost&host=db.example", True),
        ("postgresql+psycopg:///x?host=localhost,db.example:5433", True),
        ("postgresql+psycopg://db.example/x?sslrootcert=a.pem", True),
        ("postgresql+psycopg://db.example/x?sslmode=disable", False),
        ("postgresql+psycopg:///x", False),
        ("postgresql+psycopg:///x?host=/var/run", False),
        ("postgresql+psycopg://localhost/x", False),
        ("postgresql+psycopg://[::1]/x", False),
        ("postgresql+psycopg:///x?service=shop", False),
        ("mysql+mysqldb://db.example/x", True),
        ("mariadb+mysqldb://db.example/x?ssl_ca=a.pem", True),
        ("mysql+mysqldb://db.example/x?ssl_mode=PREFERRED", False),
        ("mysql+mysqldb://127.0.0.2/x", False),
        ("sqlite:///x.db", False),
    ],
)
def test_what_is_asked_for_in_sql(url: str, is_guarded: bool) -> None:
    asked = sql_arguments(sa.make_url(url), {})
    assert ("verify-full" in asked.values() or "VERIFY_IDENTITY" in asked.values()) == is_guarded
    assert is_guarded or asked == {}


def test_a_driver_that_would_go_on_in_plain_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="plain text"):
        sql_arguments(sa.make_url("mysql+pymysql://db.example/x"), {})
    assert sql_arguments(sa.make_url("mysql+pymysql://db.example/x?ssl_disabled=true"), {}) == {}
    assert sql_arguments(sa.make_url("mysql+pymysql://localhost/x"), {}) == {}


@pytest.mark.parametrize(
    ("url", "is_guarded"),
    [
        ("mongodb://db.example/x", True),
        ("mongodb://u:p%40@db.example:27017/x?retryWrites=false", True),
        ("mongodb://localhost,db.example:27018", True),
        ("mongodb://localhost:1,127.0.0.1:2/x", False),
        ("mongodb://[::1]:27017/x", False),
        ("mongodb://%2Ftmp%2Fmongodb.sock/x", False),
        ("mongodb://db.example/x?tls=false", False),
        ("mongodb://db.example/?ssl=false", False),
        ("mongodb+srv://db.example/x", False),
    ],
)
def test_what_is_asked_for_in_mongodb(url: str, is_guarded: bool) -> None:
    assert mongo_arguments(url, {}) == ({"tls": True} if is_guarded else {})
    assert mongo_arguments(url, {"tls": False}) == {}
