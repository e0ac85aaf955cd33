"""What every database does alike: keys, names, parts of a table, queries, views, batches, lookups."""

import threading
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from differ.errors import ConfigError, InterruptedScanError, IteratorError, SourceError
from differ.iterators.sql import sql
from differ.records.values import python_column
from tests.iterators.sql.scanning import context, run, scan, types, values

ORDERS = (
    "CREATE TABLE orders (region VARCHAR(9), id INT, total DECIMAL(10,2), note VARCHAR(50), PRIMARY KEY (region, id))",
    "INSERT INTO orders VALUES ('eu', 1, 19.90, 'a:b %s'), ('eu', 2, NULL, ''), ('us', 1, 5, 'x''y')",
)
ODD = ['or"der` tab:le%', "select", "Größe ñ", "we {}ird", "UPPER", "a.b", "?", "%(x)s", "back\\slash"]
ODD += ['a"; DROP TABLE orders; --', "b`); DROP TABLE orders; --", "c' OR '1'='1"]


def quoted(url: str, name: str) -> str:
    """The name as the database quotes it."""
    return str(sa.make_url(url).get_dialect()().identifier_preparer.quote_identifier(name)).replace("%%", "%")


def test_the_key_is_the_primary_key(url: str) -> None:
    run(url, *ORDERS)
    schema, table = scan(url, table="orders")
    assert schema.key == ("region", "id")
    assert schema.names == ("region", "id", "total", "note")
    assert types(schema)["total"] == "decimal(10,2)"
    found = values(schema, table.sort_by([("region", "ascending"), ("id", "ascending")]))
    assert found["total"] == [Decimal("19.90"), None, Decimal(5)]
    assert found["note"] == ["a:b %s", "", "x'y"]


def test_a_configured_key_wins_and_must_exist(url: str) -> None:
    run(url, *ORDERS)
    assert scan(url, table="orders", key=["note"])[0].key == ("note",)
    with pytest.raises(SourceError, match="no column 'regoin'") as caught:
        scan(url, table="orders", key=["regoin"])
    assert "did you mean region" in str(caught.value)


@pytest.mark.parametrize("options", [{"table": "v"}, {"query": "SELECT * FROM orders"}, {"table": "plain"}])
def test_no_key_is_an_error_that_names_the_setting(url: str, options: dict[str, str]) -> None:
    run(url, *ORDERS, "CREATE VIEW v AS SELECT * FROM orders", "CREATE TABLE plain (a INT)")
    with pytest.raises(IteratorError) as caught:
        scan(url, **options)
    assert "key:" in (caught.value.hint or "")


def test_view_and_query_give_what_the_table_gives(url: str) -> None:
    run(url, *ORDERS, "CREATE VIEW v AS SELECT * FROM orders")
    expected = scan(url, table="orders")[1].to_pylist()
    query = "WITH o AS (SELECT * FROM orders) SELECT * FROM o WHERE 'a:b %s' <> '?' ORDER BY id -- end"
    for options in ({"table": "v"}, {"query": query}, {"query": query.replace(" -- end", " ; ")}):
        rows = scan(url, key=["region", "id"], **options)[1].to_pylist()
        assert sorted(rows, key=str) == sorted(expected, key=str)


def test_columns_where_and_exclusion(url: str) -> None:
    run(url, *ORDERS)
    schema, table = scan(
        url,
        table="orders",
        columns=["id", "region", "note"],
        where="note <> 'a:b %' OR 1=2 -- no",
        columns_excluded=("note",),
    )
    assert (schema.names, table.num_rows) == (("id", "region"), 3)
    table = scan(url, table="orders", where="note = 'a:b %s' OR id = 2")[1]
    assert sorted(table["id"].to_pylist()) == [1, 2]
    query = {"query": "SELECT * FROM orders", "key": ["region", "id"]}
    assert scan(url, **query, columns=["region", "id"])[0].names == ("region", "id")
    assert scan(url, **query, columns_excluded=("total",))[0].names == ("region", "id", "note")


def test_odd_names_are_quoted(url: str) -> None:
    columns = ", ".join(f"{quoted(url, name)} INT" for name in ODD[1:])
    table = quoted(url, ODD[0])
    run(url, f"CREATE TABLE {table} (id INT PRIMARY KEY, {columns})",
        f"INSERT INTO {table} VALUES (1, {', '.join(str(index) for index in range(len(ODD) - 1))})")  # fmt: skip
    schema, rows = scan(url, table=ODD[0])
    assert rows.to_pylist() == [{"id": 1} | {name: index for index, name in enumerate(ODD[1:])}]
    plugin = sql(context(url, table=ODD[0], key=ODD[1:]))
    found = list(plugin.lookup([{name: index for index, name in enumerate(ODD[1:])}]))
    assert [batch.num_rows for batch in found] == [1]
    plugin.close()
    query = {"query": f"SELECT * FROM {table}", "key": [ODD[2]]}
    assert scan(url, **query)[1].equals(rows)
    assert schema.names == ("id", *ODD[1:])


def test_batches_are_bounded(url: str) -> None:
    run(url, "CREATE TABLE t (id INT PRIMARY KEY)", f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(1000))}")
    plugin = sql(context(url, table="t", batch_rows=64))
    sizes = [batch.num_rows for batch in plugin.read(plugin.splits()[0])]
    plugin.close()
    assert (sum(sizes), max(sizes), len(sizes)) == (1000, 64, 16)
    run(url, "DELETE FROM t")
    assert scan(url, table="t")[1].num_rows == 0


def test_a_cancelled_scan_stops_and_lets_go(url: str) -> None:
    run(url, "CREATE TABLE t (id INT PRIMARY KEY)", f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(1000))}")
    ctx = context(url, table="t", batch_rows=10)
    ctx.cancelled = threading.Event()
    plugin = sql(ctx)
    batches = iter(plugin.read(None))
    assert next(batches).num_rows == 10
    ctx.cancelled.set()
    with pytest.raises(InterruptedScanError):
        next(batches)
    plugin.close()
    run(url, "DROP TABLE t")


def test_lookup_finds_what_is_there(url: str) -> None:
    run(url, *ORDERS)
    plugin = sql(context(url, table="orders", where="region <> 'zz'"))
    keys = [{"region": "eu", "id": 2}, {"region": "eu", "id": 9}, {"region": "us", "id": 1}, {"region": "us", "id": 2}]
    found = [row for batch in plugin.lookup(keys) for row in batch.to_pylist()]
    assert sorted((row["region"], row["id"]) for row in found) == [("eu", 2), ("us", 1)]
    assert list(plugin.lookup([])) == []
    many = [{"region": "eu", "id": number} for number in range(2000)]
    assert sum(batch.num_rows for batch in plugin.lookup(many)) == 2
    plugin.close()


KEYS: list[tuple[dict[str, str], str]] = [
    ({"sqlite": "INTEGER", "": "BIGINT"}, "9007199254740993"),
    ({"": "VARCHAR(20)"}, "'a:b %s \\\\'"),
    ({"": "DECIMAL(10,2)"}, "19.90"),
    ({"": "DATE"}, "'2024-02-29'"),
    ({"sqlite": "DATETIME", "postgresql": "TIMESTAMPTZ", "mysql": "TIMESTAMP"}, "'2024-02-29 10:00:00'"),
    ({"sqlite": "DATETIME", "postgresql": "TIMESTAMP", "mysql": "DATETIME(6)"}, "'2024-02-29 10:00:00.5'"),
    ({"sqlite": "TEXT", "postgresql": "UUID", "mysql": "UUID"}, "'123e4567-e89b-12d3-a456-426655440000'"),
    ({"sqlite": "TEXT", "postgresql": "INET", "mysql": "INET6"}, "'::1'"),
    ({"sqlite": "TEXT", "postgresql": "TIME", "mysql": "TIME(6)"}, "'10:11:12.5'"),
    ({"sqlite": "INTEGER", "postgresql": "INTERVAL", "mysql": "BIGINT UNSIGNED"}, "'77'"),
    ({"sqlite": "REAL", "postgresql": "FLOAT4", "mysql": "FLOAT"}, "0.1"),
    ({"sqlite": "BOOLEAN", "postgresql": "BOOLEAN", "mysql": "BIT(3)"}, "'1'"),
    ({"sqlite": "BLOB", "postgresql": "CHAR(5)", "mysql": "VARBINARY(5)"}, "'ab'"),
    ({"sqlite": "TEXT", "postgresql": "NUMERIC", "mysql": "YEAR"}, "'2024'"),
    ({"sqlite": "TEXT", "postgresql": "BYTEA", "mysql": "ENUM('q','b')"}, "'b'"),
]


@pytest.mark.parametrize(("declared", "literal"), KEYS, ids=[next(iter(case[0].values())) for case in KEYS])
def test_lookup_by_every_type_of_key(url: str, declared: dict[str, str], literal: str) -> None:
    backend = sa.make_url(url).get_backend_name()
    run(url, f"CREATE TABLE t (k {declared.get(backend) or declared['']} NOT NULL PRIMARY KEY, v INT)",
        f"INSERT INTO t VALUES ({'1' if literal == repr('1') and backend == 'mysql' else literal}, 7)")  # fmt: skip
    schema, table = scan(url, table="t")
    key = values(schema, table)["k"][0]
    plugin = sql(context(url, table="t"))
    found = list(plugin.lookup([{"k": key}]))
    plugin.close()
    assert [value for batch in found for value in python_column(batch["k"], schema.types["k"])] == [key]


def test_options_are_checked_before_connecting() -> None:
    nowhere = "postgresql://u@127.0.0.1:1/x"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tabel": "t"}, "did you mean table"),
        ({}, "either `table` or `query`"),
        ({"table": "t", "query": "SELECT 1"}, "either `table` or `query`"),
        ({"query": "SELECT 1", "where": "1=1"}, "`where` belongs to a `table`"),
        ({"table": 5}, "`table` must be a text"),
        ({"table": "t", "columns": [1]}, "must be a list"),
        ({"table": "t", "columns": ["a", "a"]}, "twice"),
        ({"table": "t", "batch_rows": 0}, "whole number"),
        ({"table": "t", "connect_args": "x"}, "must be a mapping"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match="source s: options: ") as caught:
            sql(context(nowhere, **options))
        assert message in str(caught.value)
    for bad, message in [
        ("", "text"), ("nonsense", "no database URL|not a database URL"), ("oracel://h/d", "no SQLAlchemy dialect"),
        ("postgresql+asyncpg://h/d", "asynchronous"), ("sqlite://", "names no file"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            sql(context(bad, table="t"))


def test_dates_of_a_table_in_a_schema(postgresql_url: str) -> None:
    run(postgresql_url, "CREATE SCHEMA \"S x\"", 'CREATE TABLE "S x"."T.t" (id int PRIMARY KEY, d date)',
        "INSERT INTO \"S x\".\"T.t\" VALUES (1, '2024-01-01')")  # fmt: skip
    assert values(*scan(postgresql_url, table="S x.T.t"))["d"] == [date(2024, 1, 1)]


def test_a_materialised_view_and_a_partitioned_table(postgresql_url: str) -> None:
    run(
        postgresql_url,
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "INSERT INTO p VALUES (1)",
        "CREATE MATERIALIZED VIEW m AS SELECT id FROM p",
    )
    assert scan(postgresql_url, table="p")[1].num_rows == 1
    assert scan(postgresql_url, table="m", key=["id"])[1].num_rows == 1
