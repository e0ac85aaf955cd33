"""What bad input gets: one paragraph, the right class, a hint, and never a password."""

import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from differ.errors import DifferError, SourceError, SourceUnavailableError
from differ.iterators.sql import sql
from tests.iterators.sql.scanning import context, run, scan
from tests.servers import MariaDB, PostgreSQL

CANARY = "canary/5ecret"
CANARY_QUOTED = "canary%2F5ecret"


def fails(url: str, kind: type[DifferError] = SourceError, **options: Any) -> str:
    """The message of a scan that fails; a paragraph without SQLAlchemy's trailers and secrets."""
    with pytest.raises(kind) as caught:
        scan(url, **options)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith("scan s: ")
    assert caught.value.hint
    for unwanted in ("Background", "sqlalche.me", "[SQL", "\n", "canary", "5ecret"):
        assert unwanted not in message
    shown = caught.value
    while shown is not None:  # A traceback shows the causes too.
        assert "canary" not in repr(shown) + str(shown) or shown.__suppress_context__
        shown = shown.__cause__  # type: ignore[assignment]
    return message


def with_password(url: str, user: str) -> str:
    changed = sa.make_url(url).set(username=user, password=CANARY)
    return changed.render_as_string(hide_password=False)


def test_a_missing_table_names_the_nearest(url: str) -> None:
    run(url, "CREATE TABLE orders (id INT PRIMARY KEY)", "CREATE VIEW customers AS SELECT 1 AS id")
    assert "there is no table or view 'ordesr' (did you mean orders?)" in fails(url, table="ordesr")
    assert "did you mean orders?" in fails(url, table="ORDERS_")
    assert "did you mean customers?" in fails(url, table="customer")
    assert "there is customers, orders" in fails(url, table="zzz")
    assert "there is no table" in fails(url, table="nowhere.orders")


def test_a_missing_column_names_the_nearest(url: str) -> None:
    run(url, "CREATE TABLE orders (id INT PRIMARY KEY, status INT)")
    for options in ({"columns": ["id", "statsu"]}, {"as_text": ["statsu"]}):
        assert "did you mean status?" in fails(url, table="orders", **options)
        assert "did you mean status?" in fails(url, query="SELECT * FROM orders", key=["id"], **options)
    assert "statsu" in fails(url, table="orders", where="statsu = 1")
    assert "statsu" in fails(url, query="SELECT statsu FROM orders", key=["id"])
    assert "no column is left" in fails(url, table="orders", columns=["id"], columns_excluded=("id",))


def test_bad_queries(url: str) -> None:
    run(url, "CREATE TABLE orders (id INT PRIMARY KEY)")
    assert "syntax" in fails(url, query="SELEKT 1", key=["id"])
    assert "nowhere" in fails(url, query="SELECT * FROM nowhere", key=["id"])
    assert "syntax" in fails(url, table="orders", where="id = = 1")


def test_two_columns_of_one_name(postgresql_url: str, mariadb_url: str) -> None:
    for url in (postgresql_url, mariadb_url):
        message = fails(url, query="SELECT 1 AS id, 2 AS id", key=["id"])
        assert "'id'" in message
        assert "with AS" in message


def test_nobody_listens() -> None:
    for url in ("postgresql://u:canary%2F5ecret@127.0.0.1:1/d", "mysql://u:canary%2F5ecret@127.0.0.1:1/d"):
        assert "127.0.0.1:1/d" in fails(url, SourceUnavailableError, table="t")


def test_wrong_password_and_missing_database_of_mariadb(mariadb_url: str) -> None:
    run(mariadb_url, "CREATE USER IF NOT EXISTS locked@'127.0.0.1' IDENTIFIED BY 'right'")
    message = fails(with_password(mariadb_url, "locked"), SourceUnavailableError, table="t")
    assert "Access denied" in message
    assert "password" in message
    nowhere = sa.make_url(mariadb_url).set(database="nowhere").render_as_string(hide_password=False)
    assert "nowhere" in fails(nowhere, SourceUnavailableError, table="t")


def test_wrong_password_and_missing_database_of_postgresql(postgresql: PostgreSQL, postgresql_url: str) -> None:
    rules = postgresql.data / "pg_hba.conf"
    before = rules.read_text()
    run(postgresql_url, "DROP ROLE IF EXISTS locked", "CREATE ROLE locked LOGIN PASSWORD 'right'")
    try:
        rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + before)
        run(postgresql_url, "SELECT pg_reload_conf()")
        message = fails(with_password(postgresql_url, "locked"), SourceUnavailableError, table="t")
    finally:
        rules.write_text(before)
        run(postgresql_url, "SELECT pg_reload_conf()")
    assert "password authentication failed" in message
    assert "check user, password" in message
    nowhere = sa.make_url(postgresql_url).set(database="nowhere").render_as_string(hide_password=False)
    assert "nowhere" in fails(nowhere, SourceUnavailableError, table="t")


@pytest.mark.usefixtures("fast")
def test_no_permission(postgresql_url: str, mariadb_url: str) -> None:
    run(postgresql_url, "CREATE TABLE t (id int PRIMARY KEY, secret int)", "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN")  # fmt: skip
    reader = sa.make_url(postgresql_url).set(username="reader").render_as_string()
    assert "permission denied" in fails(reader, table="t")
    run(postgresql_url, "GRANT SELECT (id) ON t TO reader")
    assert "permission denied" in fails(reader, table="t")
    assert scan(reader, table="t", columns_excluded=("secret",))[0].names == ("id",)
    run(postgresql_url, "REVOKE ALL ON t FROM reader", "DROP ROLE reader")
    database = sa.make_url(mariadb_url).database
    run(
        mariadb_url,
        "CREATE TABLE t (id INT PRIMARY KEY, secret INT)",
        "CREATE OR REPLACE USER reader@'127.0.0.1'",
        f"GRANT SELECT (id) ON {database}.t TO reader@'127.0.0.1'",
    )
    reader = sa.make_url(mariadb_url).set(username="reader").render_as_string()
    assert "reader" in fails(reader, query="SELECT id, secret FROM t", key=["id"])
    assert scan(reader, query="SELECT id FROM t", key=["id"])[0].names == ("id",)


def test_a_missing_sqlite_file_is_not_made(tmp_path: Path) -> None:
    message = fails("sqlite:///gone/shop.db", SourceUnavailableError, table="t", project=tmp_path)
    assert f"there is no file {tmp_path}/gone/shop.db" in message
    fails(f"sqlite:///{tmp_path}/shop.db", SourceUnavailableError, table="t")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"hello" * 1000)
    assert "not a database" in fails("sqlite:///x.db", table="t", project=tmp_path)


def test_a_locked_sqlite_file_is_unavailable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    run(url, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as writer:
        writer.exec_driver_sql("BEGIN EXCLUSIVE")
        assert "locked" in fails(url, SourceUnavailableError, table="t", connect_args={"timeout": 0})
    engine.dispose()


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, url, extra in [("psycopg", "postgresql://h/d", "postgresql"), ("MySQLdb", "mariadb://h/d", "mariadb")]:
        monkeypatch.setitem(sys.modules, module, None)
        assert f'pip install "differ-cdc[{extra}]"' in fails(url, table="t")


BIG = {
    "postgresql": "SELECT id, repeat('x', 1000) AS t FROM generate_series(1, 500000) AS id",
    "mariadb": "SELECT seq AS id, repeat('x', 1000) AS t FROM seq_1_to_500000",
}


@pytest.mark.crash
@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_server_that_dies_in_mid_scan(request: pytest.FixtureRequest, name: str) -> None:
    server: PostgreSQL | MariaDB = request.getfixturevalue(name)
    plugin = sql(context(request.getfixturevalue(f"{name}_url"), query=BIG[name], key=["id"], batch_rows=1000))
    batches = iter(plugin.read(None))
    assert next(batches).num_rows == 1000
    server.kill()
    with pytest.raises(SourceUnavailableError) as caught:
        for _ in batches:
            pass
    assert str(caught.value).startswith("scan s: read rows: ")
    plugin.close()


@pytest.mark.usefixtures("fast")
def test_a_connection_that_is_ended_in_mid_scan(postgresql_url: str) -> None:
    plugin = sql(context(postgresql_url, query=BIG["postgresql"], key=["id"], batch_rows=1000))
    batches = iter(plugin.read(None))
    next(batches)
    run(postgresql_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database()")  # fmt: skip
    with pytest.raises(SourceUnavailableError, match=r"terminating connection|closed the connection"):
        for _ in batches:  # What had been sent by then may still come.
            pass
    plugin.close()
