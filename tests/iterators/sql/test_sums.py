"""Checksums: values that are read differently are summed differently, and whatever has no sums says why."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from differ.errors import RecordError
from differ.iterators.ranges import SAMPLE_KEYS, KeyRanges, KeySample, RangeSums
from differ.iterators.sql import sql
from tests.iterators.sql.scanning import context, run

# Literals of one column, all of which are read as different values.
POSTGRESQL = {
    "smallint": ["0", "1", "-1", "NULL"],
    "integer": ["0", "1", "-1", "65536", "NULL"],
    "bigint": ["0", "1", "-1", "4294967296", "4294967297", "-4294967296", "9223372036854775807", "NULL"],
    "boolean": ["true", "false", "NULL"],
    "oid": ["0", "4294967295", "NULL"],
    "real": ["0", "1", "-1", "0.1", "'NaN'", "'Infinity'", "'-Infinity'", "NULL"],
    "double precision": ["0", "1", "-1", "0.1", "0.1::real", "'NaN'", "'Infinity'", "'-Infinity'", "1e-320", "NULL"],
    "numeric(12,2)": ["0", "1", "-1", "19.90", "-19.90", "10000", "0.01", "100000000", "NULL"],
    "numeric": ["0", "1", "-1", "10000", "0.0001", "'NaN'", "'Infinity'", "'-Infinity'", "NULL"],
    "text": ["''", "'a'", "'A'", "'a '", "U&'\\00e1'", "U&'a\\0301'", "'NULL'", "repeat('x', 9000)", "NULL"],
    'text COLLATE "any"': ["''", "'a'", "'A'", "U&'\\00e1'", "U&'a\\0301'", "NULL"],
    "varchar(9)": ["''", "'a'", "'a '", "NULL"],
    "char(3)": ["''", "'a'", "'aa'", "NULL"],
    "bpchar": ["'a'", "'a '", "'a  '", "NULL"],
    "name": ["'a'", "'A'", "NULL"],
    "bytea": ["''", "'\\x00'", "'\\x0000'", "'a'", "NULL"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'", "NULL"],
    "date": ["'2000-01-01'", "'1999-12-31'", "'2024-02-29'", "NULL"],
    "time": ["'00:00'", "'00:00:00.000001'", "'01:11:34.967296'", "NULL"],
    "timestamp": ["'2000-01-01'", "'2000-01-01 00:00:00.000001'", "'2000-01-01 01:11:34.967296'",
                  "'2400-01-01 00:00:00.000001'", "'2400-01-01 00:00:00.000002'", "'1900-01-01'", "NULL"],
    "timestamptz": ["'2000-01-01 00:00+00'", "'2000-01-01 00:00+01'", "'2400-01-01 00:00:00.000001+00'", "NULL"],
    "interval": ["'1 month'", "'30 days'", "'720 hours'", "NULL"],
    "jsonb": ["'1'", "'1.0'", "'[1]'", "'{\"a\": 1}'", "'null'", "NULL"],
    "json": ["'1'", "'\"1\"'", "'{}'", "NULL"],
    "integer[]": ["'{}'", "'{1}'", "'{1,NULL}'", "'{{1,2}}'", "'{1,2}'", "NULL"],
    "text[]": ["'{a,b}'", "'{\"a,b\"}'", "'{NULL}'", "'{\"NULL\"}'", "NULL"],
    "money": ["'1.00'", "'-1.00'", "NULL"],
    "mood": ["'calm'", "'cross'", "NULL"],
    "inet": ["'10.0.0.1'", "'10.0.0.1/8'", "NULL"],
    "int4range": ["'[1,3)'", "'[1,4)'", "'empty'", "NULL"],
    "bit varying": ["B'0'", "B'00'", "NULL"],
    "point": ["'(0,1)'", "'(1,0)'", "NULL"],
}  # fmt: skip
MARIADB = {
    "TINYINT": ["0", "1", "-1", "NULL"],
    "BIGINT": ["0", "1", "-1", "4294967296", "-9223372036854775808", "NULL"],
    "BIGINT UNSIGNED": ["0", "18446744073709551615", "NULL"],
    "DECIMAL(12,2)": ["0", "1", "-1", "19.90", "-19.90", "10000", "NULL"],
    "FLOAT": ["0", "0.1", "-0.1", "16777215", "16777216", "NULL"],
    "DOUBLE": ["0", "0.3", "0.1e0 + 0.2e0", "-0.3", "1e300", "NULL"],
    "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci": ["''", "'a'", "'A'", "'a '", "'\u00e1'", "'NULL'",
                                                                      "NULL"],
    "VARCHAR(20) CHARACTER SET latin1": ["''", "'a'", "'\u00e1'", "'\\''", "'\\\\'", "NULL"],
    "VARBINARY(20)": ["''", "'a'", "0x00", "0x0000", "0xff", "NULL"],
    "BLOB": ["''", "'a'", "0x00", "NULL"],
    "DATE": ["'2024-01-01'", "'1999-12-31'", "NULL"],
    "DATETIME(6)": ["'2024-01-01'", "'2024-01-01 00:00:00.000001'", "NULL"],
    "TIMESTAMP(6) NULL": ["'2024-01-01'", "'2024-01-01 00:00:00.000001'", "NULL"],
    "TIME(6)": ["'00:00:00'", "'-00:00:01'", "'838:59:59'", "NULL"],
    "JSON": ["'1'", "'{}'", "'{\"a\": 1}'", "NULL"],
    "ENUM('a','b')": ["'a'", "'b'", "NULL"],
    "BIT(9)": ["b'0'", "b'1'", "b'100000000'", "NULL"],
    "UUID": ["'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'", "NULL"],
}  # fmt: skip
CASES = [
    *(pytest.param("postgresql_url", kind, literals, id=f"postgresql-{kind}") for kind, literals in POSTGRESQL.items()),
    *(pytest.param("mariadb_url", kind, literals, id=f"mariadb-{kind[:30]}") for kind, literals in MARIADB.items()),
]


@contextmanager
def opened(url: str, **options: Any) -> Iterator[sql]:
    plugin = sql(dataclasses.replace(context(url, **{"table": "t", **options}), range_rows=1))
    try:
        yield plugin
    finally:
        plugin.close()


def sums(url: str, like: RangeSums | None = None, **options: Any) -> RangeSums:
    with opened(url, **options) as plugin:
        found = plugin.sums(like)
    assert isinstance(found, RangeSums), found
    return found


@pytest.mark.parametrize(("server", "kind", "literals"), CASES)
def test_every_difference_moves_the_sum(
    request: pytest.FixtureRequest, server: str, kind: str, literals: list[str]
) -> None:
    url = request.getfixturevalue(server)
    if "any" in kind:
        run(url, """CREATE COLLATION "any" (provider = icu, locale = 'und-u-ks-level1', deterministic = false)""")
    if kind == "mood":
        run(url, "CREATE TYPE mood AS ENUM ('calm', 'cross')")
    run(url, f"CREATE TABLE t (id bigint PRIMARY KEY, a {kind}, b {kind})", "INSERT INTO t (id) VALUES (7)")
    found: dict[int, str] = {}
    # The first value moves from one column to the next, which must be noticed as well.
    for literal, other in [(literal, "NULL") for literal in literals] + [
        ("NULL", literals[0]),
        (literals[0], literals[1]),
        (literals[1], literals[0]),
    ]:
        run(url, f"UPDATE t SET a = {literal}, b = {other}")
        (total,) = sums(url).sums.tolist()
        if (literal, other) not in (("NULL", "NULL"), (literals[0], "NULL")):
            assert total not in found, f"{literal}, {other} is summed as {found.get(total)}"
        found[total] = f"{literal}, {other}"


@pytest.mark.service
@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
def test_a_range_is_the_key_shifted_right(request: pytest.FixtureRequest, server: str) -> None:
    url = request.getfixturevalue(server)
    keys = [-(2**63), -(2**40) - 1, -257, -256, -255, -1, 0, 1, 255, 256, 2**40, 2**63 - 1]
    run(url, "CREATE TABLE t (id bigint PRIMARY KEY, a integer)")
    run(url, f"INSERT INTO t (id) VALUES {', '.join(f'({key})' for key in keys)}")
    with opened(url) as plugin:
        for shift in (0, 8, 40, 62):
            none = np.zeros(0, dtype=np.int64)
            like = RangeSums(basis="", shift=shift, ids=none, counts=none, sums=none.astype(np.uint64))
            plugin._sums._basis = lambda dialect: ""  # type: ignore[method-assign]
            found = plugin.sums(like)
            assert isinstance(found, RangeSums)
            ids, counts = np.unique(np.array(keys, dtype=np.int64) >> shift, return_counts=True)
            assert found.ids.tolist() == ids.tolist()
            assert found.counts.tolist() == counts.tolist()
            for chosen in (ids, ids[:2], ids[-1:], ids[:0]):
                ranges = KeyRanges(shift=shift, ids=chosen)
                rows = [key for batch in plugin.read(ranges) for key in batch.column("id").to_pylist()]
                assert sorted(rows) == [key for key in keys if key >> shift in chosen.tolist()]


@pytest.mark.service
def test_a_server_that_refuses_leaves_the_scan_as_it_was(postgresql_url: str) -> None:
    run(postgresql_url, "CREATE TABLE t (id bigint PRIMARY KEY, d date)", "INSERT INTO t VALUES (1, '2024-01-01')")
    run(postgresql_url, "INSERT INTO t VALUES (2, 'infinity')")
    with opened(postgresql_url) as plugin:
        reason = plugin.sums(None)
        assert isinstance(reason, str)
        assert reason.startswith("the server refused to compute checksums: cannot subtract infinite dates")
        with pytest.raises(RecordError, match="infinity"):
            list(plugin.read(None))
    assert sums(postgresql_url, as_text=["d"]).rows == 2


@pytest.mark.service
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"table": "v", "key": ["id"]}, "it is a view, which may give other rows when it is asked twice"),
        ({"table": None, "query": "SELECT * FROM t", "key": ["id"]},
         "a query may give other rows when it is asked twice; only tables have checksums"),
        ({"key": ["name"]}, "the first key column 'name' is no integer but string"),
        ({"as_text": ["id"]}, "the first key column 'id' is no integer but string"),
        ({"isolation": "READ COMMITTED"}, "the isolation level gives no one consistent state"),
        ({"key": ["a"]}, "a key is NULL"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
def test_what_has_no_sums_says_why(
    request: pytest.FixtureRequest, server: str, options: dict[str, Any], reason: str
) -> None:
    url = request.getfixturevalue(server)
    run(url, "CREATE TABLE t (id bigint PRIMARY KEY, name varchar(9), a integer)", "CREATE VIEW v AS SELECT * FROM t")
    run(url, "INSERT INTO t VALUES (1, 'x', NULL)")
    with opened(url, **options) as plugin:
        assert plugin.sums(None) == reason
        assert plugin.why_no_sums() == (None if reason == "a key is NULL" else reason)


def test_sqlite_has_no_sums(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    run(url, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with opened(url) as plugin:
        assert plugin.sums(None) == "no checksums are made by sqlite"


@pytest.mark.service
def test_sums_by_another_basis_do_not_compare(postgresql_url: str) -> None:
    run(postgresql_url, "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(9))", "INSERT INTO t VALUES (1, 'x')")
    before = sums(postgresql_url)
    assert len(sums(postgresql_url, before).moved(before)) == 0
    with opened(postgresql_url, columns=["id"]) as plugin:
        assert isinstance(plugin.sums(before), str)
    run(postgresql_url, "ALTER TABLE t ALTER a TYPE varchar(10)")
    with opened(postgresql_url) as plugin:
        assert isinstance(plugin.sums(before), str)


@pytest.mark.service
def test_rows_of_a_percent_sign_a_colon_and_a_quote(postgresql_url: str) -> None:
    run(postgresql_url, 'CREATE TABLE t ("i%d" bigint PRIMARY KEY, "a:b" text, "c""d" text)')
    run(postgresql_url, "INSERT INTO t VALUES (1, 'x', 'y'), (900, 'x', 'y')")
    found = sums(postgresql_url, where="\"a:b\" LIKE '%x' -- all of them")
    assert found.rows == 2


@pytest.mark.service
def test_mariadb_counts_a_row_that_is_too_long_as_moved(mariadb_url: str) -> None:
    run(mariadb_url, "CREATE TABLE t (id bigint PRIMARY KEY, a longtext, b longtext)")
    engine = sa.create_engine(mariadb_url)
    with engine.begin() as connection:
        size = int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one())
        half = size // 2
        connection.exec_driver_sql(
            f"INSERT INTO t VALUES (1, repeat('x', {half}), repeat('y', {half})), (999, 'x', 'y')"
        )
    engine.dispose()
    before = sums(mariadb_url)
    assert sums(mariadb_url, before).moved(before).tolist() == [1 >> before.shift]


@given(
    step=st.integers(1, 2**30), start=st.integers(-(2**31), 2**31), rows=st.integers(0, 3000),
    range_rows=st.sampled_from([1, 4, 256]), far=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
)  # fmt: skip
def test_ranges_hold_about_as_many_rows_as_wanted(
    step: int, start: int, rows: int, range_rows: int, far: list[int]
) -> None:
    keys = np.array(sorted({*far, *(start + step * number for number in range(rows))}), dtype=np.int64)
    sample = KeySample()
    for part in np.array_split(keys, 3):
        sample.add(pa.array(part))
    ids = np.unique(keys >> sample.shift(range_rows))
    most = max(1, 3 * len(keys) // (2 * range_rows))
    assert len(ids) <= max(4, most)  # The widest ranges are four.
    narrower = sample.shift(range_rows) - 1
    assert 2**narrower < range_rows or len(np.unique(keys >> narrower)) > most


def test_a_sample_of_many_keys_asks_for_the_same_width() -> None:
    few, many = KeySample(), KeySample()
    keys = np.arange(SAMPLE_KEYS * 8, dtype=np.int64) * 4
    few.add(pa.array(keys[:SAMPLE_KEYS]))
    for part in np.array_split(keys, 7):
        many.add(pa.array(part))
    assert few.shift(256) == many.shift(256) == 10


def test_runs_of_neighbouring_ranges() -> None:
    ranges = KeyRanges(shift=2, ids=np.array([-2, -1, 0, 5, 7, 8], dtype=np.int64))
    assert ranges.runs() == [(-8, 3), (20, 23), (28, 35)]
