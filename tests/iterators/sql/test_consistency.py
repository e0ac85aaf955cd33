"""One scan, and all sources that share a connection, see one state; who cannot promise that says so."""

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from differ.errors import ConfigError, IteratorError, SourceError
from differ.iterators.sql import sql
from tests.conftest import serve
from tests.iterators.sql.scanning import context, run, scan, types
from tests.servers import MariaDB

ROWS = ", ".join(f"({number}, 'old')" for number in range(100))
MEMORY_BYTES_MAX = 120 * 2**20
ROWS_OF_200_MEGABYTES = {
    "sqlite": "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id+1 FROM n WHERE id<200000) "
    "SELECT id, printf('%.1000c', 'x') AS t FROM n",
    "postgresql": "SELECT id, repeat('x', 1000) AS t FROM generate_series(1, 200000) AS id",
    "mysql": "SELECT seq AS id, repeat('x', 1000) AS t FROM seq_1_to_200000",
}


@pytest.fixture
def shop(url: str) -> str:
    """A database with the tables t and u; a SQLite file lets writers pass readers."""
    if url.startswith("sqlite"):
        run(url, "PRAGMA journal_mode=WAL")
    for table in "tu":
        run(url, f"CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(9))", f"INSERT INTO {table} VALUES {ROWS}")
    return url


def change(url: str, table: str) -> None:
    run(
        url,
        f"UPDATE {table} SET v = 'new'",
        f"DELETE FROM {table} WHERE id >= 50",
        f"INSERT INTO {table} VALUES (1000, 'new')",
    )


def rows_of(batches: Any) -> list[dict[str, Any]]:
    return sorted((row for batch in batches for row in batch.to_pylist()), key=lambda row: row["id"])


OLD = [{"id": number, "v": "old"} for number in range(100)]


def test_a_writer_between_two_batches_is_not_seen(shop: str) -> None:
    plugin = sql(context(shop, table="t", batch_rows=10))
    assert plugin.consistent is True
    batches: Iterator[Any] = iter(plugin.read(None))
    first = next(batches)
    change(shop, "t")
    assert rows_of([first, *batches]) == OLD
    assert rows_of(plugin.lookup([{"id": 99}, {"id": 1000}])) == [{"id": 99, "v": "old"}]
    plugin.close()
    assert scan(shop, table="t")[1].num_rows == 51


def test_sources_that_share_a_read_see_one_state(shop: str) -> None:
    assert sql.store(context(shop, table="t")) == sql.store(context(shop, table="u"))
    with sql.connect(context(shop, table="t")) as handle:
        change(shop, "u")
        for table in "tu":
            plugin = sql(context(shop, table=table, handle=handle))
            assert rows_of(plugin.read(None)) == OLD
            plugin.close()
            change(shop, "t")
    assert scan(shop, table="u")[1].num_rows == 51


def test_a_shared_read_of_another_store_is_refused(url: str, tmp_path: Any) -> None:
    run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
    other = f"sqlite:///{tmp_path}/other.db"
    run(other, "CREATE TABLE t (id INT PRIMARY KEY)")
    with sql.connect(context(other, table="t")) as handle, pytest.raises(IteratorError, match="group"):
        sql(context(url, table="t", handle=handle))


def test_the_store_has_no_password() -> None:
    url = "postgresql+psycopg://u:canary@h/d?sslpassword=canary&sslmode=require"
    assert sql.store(context(url, table="t")) == "postgresql://u@h/d?sslmode=require"
    assert sql.store(context("postgresql://u:other@h/d?sslmode=require", table="t")) == sql.store(
        context(url, table="t")
    )


def test_relative_files_are_of_the_project(tmp_path: Any) -> None:
    run(f"sqlite:///{tmp_path}/shop.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    assert scan("sqlite:///shop.db", table="t", project=tmp_path)[1].num_rows == 0
    absolute = sql.store(context(f"sqlite:///{tmp_path}/shop.db", table="t"))
    assert sql.store(context("sqlite:///shop.db", table="t", project=tmp_path)) == absolute


def test_memory_is_one_batch(url: str) -> None:
    plugin = sql(
        context(url, query=ROWS_OF_200_MEGABYTES[sa.make_url(url).get_backend_name()], key=["id"], batch_rows=5000)
    )
    process, count, before, peak = psutil.Process(), 0, psutil.Process().memory_info().rss, 0
    for batch in plugin.read(None):
        count += batch.num_rows
        peak = max(peak, process.memory_info().rss - before)
    plugin.close()
    assert count == 200_000
    assert peak < MEMORY_BYTES_MAX


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_is_an_option_and_read_committed_promises_nothing(request: pytest.FixtureRequest, level: str) -> None:
    for server in ("postgresql_url", "mariadb_url"):
        url = request.getfixturevalue(server)
        run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
        plugin = sql(context(url, table="t", isolation=level))
        assert plugin.consistent is (level != "READ COMMITTED")
        plugin.close()


def test_an_unknown_isolation_is_an_error(url: str) -> None:
    run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
    with pytest.raises(ConfigError, match="source s: options: isolation 'EVENTUAL'"):
        sql(context(url, table="t", isolation="EVENTUAL"))


def test_tables_without_transactions_are_not_consistent(mariadb_url: str) -> None:
    def consistent(**options: Any) -> bool:
        plugin = sql(context(mariadb_url, key=["id"], **options))
        plugin.close()
        return plugin.consistent

    run(mariadb_url, "CREATE TABLE t (id INT PRIMARY KEY)", "CREATE VIEW v AS SELECT * FROM t")
    assert consistent(table="t")
    assert consistent(table="v")
    assert consistent(query="SELECT * FROM t")
    run(mariadb_url, "CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM")
    assert not consistent(table="m")
    assert consistent(table="t")
    assert not consistent(table="v")
    assert not consistent(query="SELECT * FROM t")


def test_a_query_that_writes_is_refused(url: str) -> None:
    run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
    with pytest.raises(SourceError):
        scan(url, query="DELETE FROM t", key=["id"])


def test_postgresql_refuses_functions_that_write(postgresql_url: str) -> None:
    run(postgresql_url, "CREATE SEQUENCE s")
    with pytest.raises(SourceError, match="read-only"):
        scan(postgresql_url, query="SELECT nextval('s') AS id", key=["id"])


def test_position_of_postgresql_grows(postgresql_url: str) -> None:
    run(postgresql_url, "CREATE TABLE t (id int PRIMARY KEY)")

    def position() -> Any:
        plugin = sql(context(postgresql_url, table="t"))
        plugin.close()
        return plugin.position()

    first = position()
    run(postgresql_url, "INSERT INTO t VALUES (1)")
    second = position()
    assert first.is_before(second)
    assert not second.is_before(first)
    assert (first.kind, len(first.parts)) == ("postgresql-lsn", 1)


def test_without_a_log_there_is_no_position(mariadb_url: str, tmp_path: Any) -> None:
    for url in (mariadb_url, f"sqlite:///{tmp_path}/shop.db"):
        run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
        plugin = sql(context(url, table="t"))
        assert plugin.position() is None
        plugin.close()


class LoggingMariaDB(MariaDB):
    """A server with a binary log."""

    def command(self) -> list[str]:
        return [*super().command(), "--log-bin=log", "--server-id=7", "--gtid-domain-id=3"]


@pytest.mark.service
def test_position_of_mariadb_is_by_replication_domain() -> None:
    for server in serve(LoggingMariaDB()):
        url = server.url(server.create_database())
        run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
        positions = []
        for number in range(2):
            run(url, f"INSERT INTO t VALUES ({number})")
            plugin = sql(context(url, table="t"))
            positions.append(plugin.position())
            plugin.close()
        first, second = positions
        assert first is not None
        assert second is not None
        assert (first.kind, set(first.parts)) == ("mariadb-gtid", {"3"})
        assert first.is_before(second)


class PlainDialect(SQLiteDialect_pysqlite):
    """A database that differ knows nothing of."""

    name = "plainlite"
    supports_statement_cache = True


def test_any_other_dialect_is_read_through_sqlalchemy(tmp_path: Any) -> None:
    registry.register("plainlite", __name__, "PlainDialect")
    file = f"{tmp_path}/shop.db"
    run(
        f"sqlite:///{file}",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(9), b FLOAT, c BLOB, d BOOLEAN, e DECIMAL, "
        "f DATE, g DATETIME)",
        "INSERT INTO t (id, a, b, c, d, e, f, g) VALUES (1, 'x', 0.5, x'00', 1, 1.50, '2024-01-01', "
        "'2024-01-01 10:00:00.000000'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    schema, table = scan(f"plainlite:///{file}", table="t")
    assert schema.key == ("id",)
    assert types(schema) == {
        "id": "int64", "a": "string", "b": "float64", "c": "bytes", "d": "bool", "e": "decimal",
        "f": "date", "g": "timestamp[us]",
    }  # fmt: skip
    assert [str(value) for value in table.to_pylist()[0].values()][6:8] == ["2024-01-01", "2024-01-01 10:00:00"]
    assert table.drop_columns(["f", "g"]).to_pylist()[0] == {
        "id": 1,
        "a": "x",
        "b": 0.5,
        "c": b"\x00",
        "d": True,
        "e": "1.5",
    }
    plugin = sql(context(f"plainlite:///{file}", table="t"))
    assert [batch.num_rows for batch in plugin.lookup([{"id": 2}, {"id": 3}])] == [1]
    plugin.close()
    with pytest.raises(SourceError, match="view"):
        scan(f"plainlite:///{file}", query="SELECT 1 AS id", key=["id"])
