"""The `sql` sink in trouble: restarts, locks, a wrong password, a cut in the middle; and what readers see."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from differ.errors import SinkError, SinkUnavailableError
from differ.sinks.sql import sink
from differ.sinks.sql.writer import Writer
from differ.testing.feed import Feed
from tests.servers import PostgreSQL
from tests.sinks.database import opened, rows, url

__all__ = ["url"]


@pytest.fixture
def server(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    yield postgresql
    postgresql.ensure()


def test_a_server_that_restarts(server: PostgreSQL, tmp_path: Path) -> None:
    """The same instance goes on, with everything that was committed."""
    url = server.url(server.create_database())
    found = opened(tmp_path, url)
    feed = Feed()
    found.apply([feed.put(1)], [], feed.checkpoint())
    change = feed.put(2)
    server.kill()
    for _ in range(2):
        with pytest.raises(SinkUnavailableError, match="sink shop"):
            found.apply([change], [], feed.checkpoint())
    server.start()
    found.apply([change], [], feed.checkpoint())
    assert [row["id"] for row in rows(url)] == [1, 2]
    assert found.load() == feed.checkpoint()


def test_a_wrong_password_is_for_a_person(mariadb_url: str, tmp_path: Path) -> None:
    wrong = sa.make_url(mariadb_url).set(password="wr0ng-secret").render_as_string(hide_password=False)
    with pytest.raises(SinkError) as caught:
        opened(tmp_path, wrong)
    assert not isinstance(caught.value, SinkUnavailableError)
    assert "wr0ng-secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"database": "nowhere"}, {"username": "nobody"}])
def test_a_database_or_user_that_is_not_there_is_for_a_person(
    postgresql_url: str, tmp_path: Path, wrong: dict[str, str]
) -> None:
    """psycopg tells it in words alone, like a server that is down."""
    with pytest.raises(SinkError, match="does not exist") as caught:
        opened(tmp_path, sa.make_url(postgresql_url).set(**wrong).render_as_string(hide_password=False))
    assert not isinstance(caught.value, SinkUnavailableError)


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    found = opened(tmp_path, url, connect_args={"timeout": 0.05})
    other = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    feed = Feed()
    change = feed.put(1)
    with pytest.raises(SinkUnavailableError, match="locked"):
        found.apply([change], [], feed.checkpoint())
    other.execute("ROLLBACK")
    other.close()
    found.apply([change], [], feed.checkpoint())
    assert found.load() == feed.checkpoint()


def test_rows_and_checkpoint_are_one_transaction(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure at the very last statement takes the rows, the deletes and the checkpoint with it."""
    found = opened(tmp_path, url)
    feed = Feed()
    found.apply([feed.put(1), feed.put(2)], [], feed.checkpoint())
    before, stood = rows(url), found.load()
    writer = sink.WRITERS.get(sa.make_url(url).get_backend_name(), Writer)
    upsert = writer.upsert

    def breaks(self: Writer, *arguments: Any) -> None:
        upsert(self, *arguments)
        raise sa.exc.OperationalError("", None, Exception("the wire was cut"))

    monkeypatch.setattr(writer, "upsert", breaks)
    changes = [feed.put(1)], [feed.delete(2)]
    with pytest.raises(SinkError):
        found.apply(*changes, feed.checkpoint())
    assert (rows(url), found.load()) == (before, stood)
    monkeypatch.setattr(writer, "upsert", upsert)
    found.apply(*changes, feed.checkpoint())
    assert [row["id"] for row in rows(url)] == [1]


def test_a_bootstrap_is_seen_as_a_whole(url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, url)
    feed = Feed()
    found.apply([feed.put(1), feed.put(2)], [], feed.checkpoint())
    before = rows(url)
    feed.delete(1)
    feed.put(3)
    generation = feed.generation()
    found.begin_bootstrap(generation)
    for page, checkpoint in feed.pages(generation, 2):
        found.apply_bootstrap(page, checkpoint)
        assert rows(url) == before
    found.end_bootstrap(generation, feed.checkpoint())
    assert [row["id"] for row in rows(url)] == [2, 3]
    names = sa.inspect(sa.create_engine(url)).get_table_names()
    assert sorted(names) == ["differ_checkpoints", "orders"]


def test_moments_before_the_epoch_and_the_year_one(url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, url)
    feed = Feed()
    moments = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ]
    found.apply([feed.put(n, at=moment) for n, moment in enumerate(moments)], [], None)
    stored = [row["at"] for row in rows(url)]
    if url.startswith("sqlite"):
        stored = [datetime.fromisoformat(text) for text in stored]
    assert [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in stored] == moments
