"""A faster path gives what the driver's rows give: the same batches, the same errors, and lets go as soon."""

import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from differ.errors import ConfigError, DifferError, InterruptedScanError, SourceError
from differ.iterators.sql import sql
from differ.iterators.sql.paths import BLOCK_BYTES
from tests.iterators.sql.scanning import context, run, scan

ODD = ['"', '""', ",", "\n", "\r\n", "\\", "\\.", "\\N", "\t", "'", "", " ", "é", "🦆", "\x1f", "NULL", "x" * 300]
TEXT = st.one_of(
    st.lists(st.sampled_from(ODD), max_size=4).map("".join),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
)
SHORT = TEXT.map(lambda text: text[:5].rstrip())
FLOATS = st.floats().map(repr)
DAYS = st.one_of(st.dates().map(str), st.sampled_from(["infinity", "0044-03-15 BC", "10000-01-01"]))
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), SHORT.map(lambda text: text.replace("\x1f", ""))),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
).map(json.dumps)

POSTGRESQL: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "char(5)": SHORT,
    "boolean": st.sampled_from(["true", "false"]),
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "real": st.floats(width=32).map(repr),
    "double precision": FLOATS,
    "numeric": st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False).map(str), st.sampled_from(["NaN", "Infinity", "1e1000"])
    ),
    "numeric(12,3)": st.decimals(-(10**8), 10**8, places=3).map(str),
    "numeric(60,20)": st.decimals(-(10**8), 10**8, places=20).map(str),
    "date": DAYS,
    "time": st.times().map(str),
    "timestamp": st.datetimes().map(str),
    "timestamptz": st.datetimes().map(str),
    "interval": st.integers(-(10**9), 10**9).map(lambda seconds: f"{seconds} seconds"),
    "json": DOCUMENTS,
    "jsonb": DOCUMENTS,
    "int[]": st.lists(st.integers(0, 99), max_size=3).map(lambda items: "{" + ",".join(map(str, items)) + "}"),
    "bytea": st.binary(max_size=20).map(lambda value: "\\x" + value.hex()),
    "uuid": st.uuids().map(str),
    "mood": st.sampled_from(["ok", 'so "so", so']),
    "varbit": st.text("01", max_size=9),
}
MARIADB: dict[str, st.SearchStrategy[Any]] = {
    "VARCHAR(1300)": TEXT,
    "CHAR(5)": SHORT,
    "TINYTEXT CHARACTER SET latin1": st.text(st.characters(codec="latin-1"), max_size=20),
    "VARCHAR(20) COLLATE utf8mb4_bin": st.text(st.characters(codec="utf-8"), max_size=20),
    "TEXT": TEXT,
    "LONGTEXT": TEXT,
    "ENUM('é', 'b,\"') CHARACTER SET latin1": st.sampled_from(["é", 'b,"']),
    "SET('x','y')": st.sampled_from(["", "x", "x,y"]),
    "TINYINT UNSIGNED": st.integers(0, 255),
    "INT(9) ZEROFILL": st.integers(0, 2**32 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BIGINT UNSIGNED": st.integers(0, 2**64 - 1),
    "BIT(9)": st.integers(0, 511),
    "YEAR": st.integers(1901, 2155),
    "DECIMAL(30,10)": st.decimals(-(10**15), 10**15, places=10).map(str),
    "DECIMAL(65,30)": st.decimals(-(10**15), 10**15, places=30).map(str),
    "DECIMAL(9,2) UNSIGNED ZEROFILL": st.decimals(0, 10**6, places=2).map(str),
    "FLOAT": st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
    "DOUBLE": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "DATE": st.one_of(st.dates().map(str), st.just("0000-00-00")),
    "DATETIME": st.datetimes().map(lambda value: str(value.replace(microsecond=0))),
    "DATETIME(6)": st.datetimes().map(str),
    "TIME(6)": st.times().map(lambda value: f"-{value}"),
    "VARBINARY(20)": st.binary(max_size=20),
    "BLOB": st.binary(max_size=20),
    "JSON": DOCUMENTS,
    "UUID": st.uuids().map(str),
    "INET6": st.ip_addresses(v=6).map(str),
}


def rows_of(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Rows of these columns, any value of which may be null."""
    return st.lists(st.tuples(*(st.none() | values for values in columns.values())), min_size=1, max_size=6)


def outcome(url: str, **options: Any) -> list[str] | str:
    """The rows of a scan by their key, every value with its type, or what it says when it fails."""
    try:
        table = scan(url, table="t", batch_rows=4, **options)[1]
    except DifferError as error:
        return f"{type(error).__name__}: {error}"
    return [str(table.schema), *map(repr, table.sort_by("id").to_pylist())]


def fill(url: str, columns: dict[str, Any], rows: list[tuple[Any, ...]], mark: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        if url.startswith("mysql"):
            connection.exec_driver_sql("SET SESSION sql_mode = ''")
        connection.exec_driver_sql("DELETE FROM t")
        marks = ", ".join(mark.format(declared=declared) for declared in columns)
        for number, row in enumerate(rows):
            connection.exec_driver_sql(f"INSERT INTO t VALUES ({number}, {marks})", row)
    engine.dispose()


def declared(columns: dict[str, Any]) -> str:
    return ", ".join(f"c{index} {name}" for index, name in enumerate(columns))


ANY_ROWS = settings(max_examples=25, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))


def test_copy_gives_what_rows_give(postgresql_url: str) -> None:
    run(postgresql_url, """CREATE TYPE mood AS ENUM ('ok', 'so "so", so')""",
        f"CREATE TABLE t (id int PRIMARY KEY, {declared(POSTGRESQL)})")  # fmt: skip

    @ANY_ROWS
    @given(rows_of(POSTGRESQL))
    def check(rows: list[tuple[Any, ...]]) -> None:
        fill(postgresql_url, POSTGRESQL, rows, "CAST(CAST(%s AS text) AS {declared})")
        assert outcome(postgresql_url, fast=True) == outcome(postgresql_url, fast=False)

    check()


def test_packed_rows_give_what_rows_give(mariadb_url: str) -> None:
    run(mariadb_url, f"CREATE TABLE t (id INT PRIMARY KEY, {declared(MARIADB)})")

    @ANY_ROWS
    @given(rows_of(MARIADB))
    def check(rows: list[tuple[Any, ...]]) -> None:
        fill(mariadb_url, MARIADB, rows, "%s")
        assert outcome(mariadb_url, fast=True) == outcome(mariadb_url, fast=False)

    check()


def path_of(url: str, **options: Any) -> str:
    plugin = sql(context(url, table="t", **options))
    plugin.close()
    return plugin.explain()


def test_the_path_is_told_and_why_it_is_not_a_faster_one(postgresql_url: str, mariadb_url: str, tmp_path: Any) -> None:
    file = f"sqlite:///{tmp_path}/t.db"
    for url in (postgresql_url, mariadb_url, file):
        run(url, "CREATE TABLE t (id INT PRIMARY KEY)")
    assert path_of(postgresql_url).startswith("COPY")
    assert "packed" in path_of(mariadb_url)
    assert path_of(postgresql_url, fast=False) == "rows through SQLAlchemy: fast: false"
    assert path_of(file).startswith("rows through SQLAlchemy: there is no faster way")
    with pytest.raises(ConfigError, match="`fast` must be true or false"):
        path_of(postgresql_url, fast="no")


def test_another_character_set_of_the_connection_is_left_to_the_driver(mariadb_url: str) -> None:
    run(mariadb_url, "CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(9))", "INSERT INTO t VALUES (1, 'é')")
    url = mariadb_url.replace("utf8mb4", "latin1")
    assert "latin1" in path_of(url)
    assert scan(url, table="t")[1].equals(scan(mariadb_url, table="t")[1])


def test_only_bytes_leave_nothing_to_pack(mariadb_url: str) -> None:
    run(mariadb_url, "CREATE TABLE t (id BINARY(2) PRIMARY KEY)", "INSERT INTO t VALUES (x'FFFE'), (x'0A00')")
    assert "no column" in path_of(mariadb_url)
    assert sorted(scan(mariadb_url, table="t")[1]["id"].to_pylist()) == [b"\x0a\x00", b"\xff\xfe"]


def test_what_may_outgrow_a_packet_is_not_packed(mariadb_url: str) -> None:
    run(mariadb_url, "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(1000), b VARCHAR(1000), c VARCHAR(1000))",
        "INSERT INTO t VALUES (1, REPEAT('🦆', 1000), REPEAT('é', 1000), 'x'), (2, NULL, '', NULL)")  # fmt: skip
    expected = outcome(mariadb_url)
    with sa.create_engine(mariadb_url, poolclass=sa.NullPool).connect() as connection:
        before = connection.exec_driver_sql("SELECT @@GLOBAL.max_allowed_packet").scalar_one()
        try:
            connection.exec_driver_sql("SET GLOBAL max_allowed_packet = 16384")
            assert "packed" in path_of(mariadb_url)
            assert outcome(mariadb_url) == expected
        finally:
            connection.exec_driver_sql(f"SET GLOBAL max_allowed_packet = {before}")


LONG = {
    "postgresql": ("text", "repeat('ab,\"', 4194304)"),
    "mysql": ("LONGTEXT", "REPEAT('ab,\"', 4194303)"),
}


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_long_values_end_a_batch(request: pytest.FixtureRequest, server: str) -> None:
    url = request.getfixturevalue(f"{server}_url")
    kind, long = LONG[sa.make_url(url).get_backend_name()]
    run(url, f"CREATE TABLE t (id INT PRIMARY KEY, c {kind})", *(f"INSERT INTO t SELECT {n}, {long}" for n in range(4)))
    table = scan(url, table="t")[1]
    assert {len(text) for text in table["c"].to_pylist()} <= {4 * 4194304, 4 * 4194303}
    assert table.num_rows == 4


def test_a_block_ends_by_its_bytes_too(postgresql_url: str) -> None:
    query = "SELECT id, repeat('x', 1000000) AS c FROM generate_series(1, 40) AS id"
    plugin = sql(context(postgresql_url, query=query, key=["id"]))
    sizes = [batch.nbytes for batch in plugin.read(None)]
    plugin.close()
    assert len(sizes) > 1
    assert max(sizes) < BLOCK_BYTES + 2_000_000


def test_a_row_of_nothing_is_a_row(postgresql_url: str, mariadb_url: str) -> None:
    for url in (postgresql_url, mariadb_url):
        run(url, "CREATE TABLE t (id VARCHAR(9))", "INSERT INTO t VALUES (NULL), (''), ('a')")
        found = scan(url, table="t", key=["id"])[1]["id"].to_pylist()
        assert sorted(found, key=str) == ["", None, "a"]


@pytest.mark.usefixtures("fast")
def test_a_query_that_fails_behind_its_first_rows(postgresql_url: str) -> None:
    query = "SELECT id, 1 / (5000 - id) AS c FROM generate_series(1, 100000) AS id"
    with pytest.raises(SourceError, match=r"scan s: read rows: division by zero"):
        scan(postgresql_url, query=query, key=["id"], batch_rows=100)


def test_a_scan_that_waits_for_a_silent_server_can_be_cancelled(postgresql_url: str) -> None:
    query = "SELECT id, CASE WHEN id = 100 THEN pg_sleep(600)::text END AS c FROM generate_series(1, 200) AS id"
    ctx = context(postgresql_url, query=query, key=["id"])
    ctx.cancelled = threading.Event()
    plugin = sql(ctx)
    threading.Timer(0.5, ctx.cancelled.set).start()
    with pytest.raises(InterruptedScanError):
        list(plugin.read(None))
    plugin.close()


def test_who_stops_reading_lets_the_server_go(postgresql_url: str, mariadb_url: str) -> None:
    for url, many in ((postgresql_url, "generate_series(1, 3000000) AS id"), (mariadb_url, "seq_1_to_3000000")):
        name = "id" if url.startswith("postgresql") else "seq AS id"
        plugin = sql(context(url, query=f"SELECT {name} FROM {many}", key=["id"], batch_rows=1000))
        batches = plugin.read(None)
        assert next(iter(batches)).num_rows == 1000
        batches.close()  # type: ignore[attr-defined]
        plugin.close()
        run(url, "CREATE TABLE afterwards (id INT PRIMARY KEY)")
