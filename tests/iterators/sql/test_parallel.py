"""Several connections read one table of PostgreSQL as one would, in the same snapshot, and end together."""

import threading
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from differ.errors import ConfigError, InterruptedScanError, RecordError, SourceUnavailableError
from differ.iterators.sql import sql
from tests.iterators.sql.scanning import context, run, scan

ROWS = 5000


@pytest.fixture
def shop(postgresql_url: str) -> str:
    """A table of some hundred pages."""
    run(
        postgresql_url,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT id, repeat('x', 500) FROM generate_series(1, {ROWS}) AS id",
        "CREATE VIEW w AS SELECT * FROM t",
    )
    return postgresql_url


def told(url: str, **options: Any) -> str:
    plugin = sql(context(url, **options))
    plugin.close()
    return plugin.explain()


def connections(url: str) -> int:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        count = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        ).scalar_one()
    engine.dispose()
    return int(count)


@pytest.mark.parametrize("where", [None, "id % 7 = 0"])
def test_it_gives_what_one_connection_gives(shop: str, where: str | None) -> None:
    options = {"table": "t", "batch_rows": 100} | ({"where": where} if where else {})
    assert told(shop, table="t", parallel=4) == "COPY TO STDOUT on 4 connections, parsed by Arrow"
    found = scan(shop, **options, parallel=4)[1]
    assert found.sort_by("id").equals(scan(shop, **options)[1].sort_by("id"))


def test_all_connections_see_the_snapshot_of_the_scan(shop: str) -> None:
    plugin = sql(context(shop, table="t", parallel=3, batch_rows=100))
    batches = iter(plugin.read(None))
    run(shop, "UPDATE t SET v = 'new'", "DELETE FROM t WHERE id > 4000",
        f"INSERT INTO t SELECT id, 'new' FROM generate_series({ROWS + 1}, {3 * ROWS}) AS id")  # fmt: skip
    first = next(batches)  # Only now are the other connections made.
    run(shop, "DELETE FROM t", "INSERT INTO t VALUES (0, 'new')")
    table = pa.Table.from_batches([first, *batches])
    plugin.close()
    assert sorted(table["id"].to_pylist()) == list(range(1, ROWS + 1))
    assert set(table["v"].to_pylist()) == {"x" * 500}


def test_an_empty_table_and_one_smaller_than_the_connections(shop: str) -> None:
    run(shop, "CREATE TABLE empty (id int PRIMARY KEY)", "CREATE TABLE one (id int PRIMARY KEY)",
        "INSERT INTO one VALUES (7)")  # fmt: skip
    assert scan(shop, table="empty", parallel=4)[1].num_rows == 0
    assert scan(shop, table="one", parallel=4)[1]["id"].to_pylist() == [7]


def test_what_has_no_pages_is_read_on_one_connection(shop: str) -> None:
    assert told(shop, table="w", key=["id"], parallel=2).endswith("has pages of its own")
    assert "a query" in told(shop, query="SELECT * FROM t", key=["id"], parallel=2)
    assert "READ COMMITTED" in told(shop, table="t", isolation="READ COMMITTED", parallel=2)
    assert scan(shop, table="w", key=["id"], parallel=2)[1].num_rows == ROWS
    with pytest.raises(ConfigError, match="PostgreSQL alone"):
        scan("sqlite:///x.db", table="t", parallel=2)
    with pytest.raises(ConfigError, match="from 1 to 16"):
        scan(shop, table="t", parallel=17)


def test_one_connection_that_is_ended_ends_the_scan(shop: str) -> None:
    run(shop, f"INSERT INTO t SELECT id, repeat('x', 500) FROM generate_series({ROWS + 1}, 200000) AS id")
    plugin = sql(context(shop, table="t", parallel=3, batch_rows=100))
    batches = iter(plugin.read(None))
    next(batches)
    run(shop, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' "
        "AND datname = current_database() LIMIT 1")  # fmt: skip
    with pytest.raises(SourceUnavailableError, match=r"scan s: read rows: .*(terminat|closed)"):
        for _ in batches:
            pass
    plugin.close()
    assert connections(shop) == 0


def test_a_misfit_and_a_cancelled_scan_end_all_connections(shop: str) -> None:
    run(shop, "ALTER TABLE t ADD d date", f"UPDATE t SET d = 'infinity' WHERE id = {ROWS}")
    with pytest.raises(RecordError, match=rf"column 'd'.*'id': {ROWS}"):
        scan(shop, table="t", parallel=3, batch_rows=100)
    ctx = context(shop, table="t", parallel=3, batch_rows=10)
    ctx.cancelled = threading.Event()
    plugin = sql(ctx)
    batches = iter(plugin.read(None))
    next(batches)
    ctx.cancelled.set()
    with pytest.raises(InterruptedScanError):
        list(batches)
    plugin.close()
    assert connections(shop) == 0


def test_who_stops_reading_lets_all_connections_go(shop: str) -> None:
    plugin = sql(context(shop, table="t", parallel=3, batch_rows=10))
    batches = plugin.read(None)
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]
    plugin.close()
    assert connections(shop) == 0


def test_a_connection_that_is_refused_fails_the_scan(shop: str) -> None:
    run(
        shop, "DROP ROLE IF EXISTS lonely", "CREATE ROLE lonely LOGIN CONNECTION LIMIT 1", "GRANT SELECT ON t TO lonely"
    )
    lonely = sa.make_url(shop).set(username="lonely").render_as_string()
    assert scan(lonely, table="t")[1].num_rows == ROWS
    with pytest.raises(SourceUnavailableError, match="too many connections"):
        scan(lonely, table="t", parallel=2)
    run(shop, "REVOKE ALL ON t FROM lonely", "DROP ROLE lonely")
