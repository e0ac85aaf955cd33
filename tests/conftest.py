"""Fixtures of all tests: the real servers, and how much hypothesis tries.

A session (with xdist: each worker) starts a server when the first test asks for it. Servers that cannot be
started make their tests skip with the reason; with DIFFER_REQUIRE_SERVICES=1 they fail instead, so that CI
cannot be green without them.

Where memory allows it, temporary folders lie in it: tests sync thousands of files, and end with the process, not with
the power. TMPDIR says otherwise.
"""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings

from differ import kernels
from tests import canary
from tests.servers import (
    NATS,
    Elasticsearch,
    Kafka,
    MariaDB,
    MongoDB,
    OpenSearch,
    PostgreSQL,
    Server,
    ServerUnavailableError,
)

S = TypeVar("S", bound=Server)

SERVERS = ("postgresql", "mariadb", "mongodb", "nats", "kafka", "elasticsearch", "opensearch")
SERVER_FIXTURES = {name for server in SERVERS for name in (server, f"{server}_url")}

IN_MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES_MIN = 4 << 30


def temporary_folders_in_memory() -> None:
    """Where there is room, and what lies there may be executed (a test compiles the kernels); children inherit it."""
    if "TMPDIR" in os.environ or not os.access(IN_MEMORY, os.W_OK):
        return
    if shutil.disk_usage(IN_MEMORY).free >= IN_MEMORY_BYTES_MIN and not os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


temporary_folders_in_memory()
os.environ[canary.VARIABLE] = canary.CANARY

# A failure prints a blob that reproduces it. No deadlines in CI: a busy machine is not a bug.
settings.register_profile("default", derandomize=False, print_blob=True, deadline=2000)
settings.register_profile(
    "ci",
    derandomize=False,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# Who only asks whether anything fails does not wait for the smallest example.
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `-m "not service"` is the quick run."""
    for item in items:
        if SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.service)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look for the secret of the run in what a test printed, logged, and failed with."""
    report = yield
    canary.judge(report)
    return report


@pytest.fixture(params=["compiled", "fallback"])
def kernels_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test with the compiled kernels, and once more as if there had been no C compiler."""
    compiled = request.param == "compiled"
    if compiled and not kernels.LOADED:
        assert not os.environ.get("DIFFER_REQUIRE_SERVICES"), "the kernels were not compiled"
        pytest.skip("differ was installed without a C compiler: its kernels are not there")
    monkeypatch.setattr(kernels, "LOADED", compiled)
    return compiled


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


@pytest.fixture(scope="session")
def nats() -> Iterator[NATS]:
    """A running NATS server with JetStream."""
    yield from serve(NATS())


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A running Kafka-protocol server."""
    yield from serve(Kafka())


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[Elasticsearch]:
    """A running server with Elasticsearch's API, for the official client."""
    yield from serve(Elasticsearch())


@pytest.fixture(scope="session")
def opensearch() -> Iterator[OpenSearch]:
    """A running server with OpenSearch's API and its rules of versions."""
    yield from serve(OpenSearch())


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


@pytest.fixture
def nats_url(nats: NATS) -> str:
    """The URL of a NATS server with JetStream; `nats.create_database()` makes a stream of the test's own."""
    nats.ensure()
    return nats.url()


@pytest.fixture
def kafka_url(kafka: Kafka) -> str:
    """The bootstrap servers of a Kafka-protocol server; `kafka.create_database()` names topics of the test's own."""
    kafka.ensure()
    return kafka.url()


@pytest.fixture
def elasticsearch_url(elasticsearch: Elasticsearch) -> str:
    """The URL of a server with Elasticsearch's API; `create_database()` names indices of the test's own."""
    elasticsearch.ensure()
    return elasticsearch.url()


@pytest.fixture
def opensearch_url(opensearch: OpenSearch) -> str:
    """The URL of a server with OpenSearch's API; `create_database()` names indices of the test's own."""
    opensearch.ensure()
    return opensearch.url()


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
