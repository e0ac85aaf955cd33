"""Fixtures of all tests: the real servers, and how much hypothesis tries.

A session (with xdist: each worker) starts a server when the first test asks for it. Servers that cannot be
started make their tests skip with the reason; with DIFFER_REQUIRE_SERVICES=1 they fail instead, so that CI
cannot be green without them.
"""

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import MariaDB, MongoDB, PostgreSQL, Server, ServerUnavailableError

S = TypeVar("S", bound=Server)

SERVER_FIXTURES = {name for server in ("postgresql", "mariadb", "mongodb") for name in (server, f"{server}_url")}

# A failure prints a blob that reproduces it. No deadlines in CI: a busy machine is not a bug.
settings.register_profile("default", derandomize=False, print_blob=True, deadline=2000)
settings.register_profile(
    "ci",
    derandomize=False,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `-m "not service"` is the quick run."""
    for item in items:
        if SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.service)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL server."""
    yield from serve(PostgreSQL())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A running MariaDB server."""
    yield from serve(MariaDB())


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoDB]:
    """A running MongoDB-protocol server."""
    yield from serve(MongoDB())


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty PostgreSQL database."""
    yield from fresh_database(postgresql)


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty MariaDB database."""
    yield from fresh_database(mariadb)


@pytest.fixture
def mongodb_url(mongodb: MongoDB) -> Iterator[str]:
    """The URL of a fresh, empty database on a MongoDB-protocol server; its path is the database's name."""
    yield from fresh_database(mongodb)


def serve(server: S) -> Iterator[S]:
    """Yield the started server; skip where it cannot be started, or fail where it must be."""
    try:
        with server:
            yield server
    except ServerUnavailableError as error:
        if os.environ.get("DIFFER_REQUIRE_SERVICES") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def fresh_database(server: Server) -> Iterator[str]:
    """Yield the URL of a new database and drop it afterwards, whatever the test did to the server."""
    server.ensure()
    database = server.create_database()
    yield server.url(database)
    server.ensure()
    server.drop_database(database)
