"""Every PostgreSQL type arrives exactly, from a table and from a query."""

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from differ.errors import RecordError
from tests.iterators.sql.scanning import column_of, run, scan, types, values

NIL = UUID(int=0)
CASES: list[tuple[str, str, list[str], list[Any]]] = [
    ("boolean", "bool", ["true", "false"], [True, False]),
    ("smallint", "int16", ["-32768", "32767"], [-32768, 32767]),
    ("integer", "int32", ["-2147483648", "2147483647"], [-(2**31), 2**31 - 1]),
    ("bigint", "int64", ["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
    ("oid", "int64", ["4294967295"], [2**32 - 1]),
    ("real", "float32", ["0.1", "3.4028235e38", "'-Infinity'"],
     [0.10000000149011612, 3.4028234663852886e38, -math.inf]),
    ("double precision", "float64", ["0.1", "1e308", "5e-324", "'Infinity'"], [0.1, 1e308, 5e-324, math.inf]),
    ("numeric(10,2)", "decimal(10,2)", ["19.9", "-99999999.99", "0"], [Decimal("19.90"), Decimal("-99999999.99"), 0]),
    ("numeric(38,10)", "decimal(38,10)", ["1234567890123456789012345678.0123456789"],
     [Decimal("1234567890123456789012345678.0123456789")]),
    ("numeric(60,20)", "decimal(60,20)", ["1234567890123456789012345678901234567890.00000000000000000001"],
     [Decimal("1234567890123456789012345678901234567890.00000000000000000001")]),
    ("numeric(3,-2)", "decimal(5,0)", ["12345"], [Decimal(12300)]),
    ("numeric(2,4)", "decimal(4,4)", ["0.0012"], [Decimal("0.0012")]),
    ("numeric(100,50)", "decimal", ["1.50"], [Decimal("1.5")]),
    ("numeric", "decimal", ["1.500", "1e-30", "'Infinity'", "12345678901234567890123456789012345678901234567890.1"],
     [Decimal("1.5"), Decimal("1e-30"), Decimal("Infinity"),
      Decimal("12345678901234567890123456789012345678901234567890.1")]),
    ("money", "decimal", ["'-12.34'"], [Decimal("-12.34")]),
    ("text", "string", ["''", "'naïve 🦆'", "E'a\\nb\\t\\\\'"], ["", "naïve 🦆", "a\nb\t\\"]),
    ("varchar(10)", "string", ["'x '"], ["x "]),
    ("char(3)", "string", ["'x'"], ["x  "]),
    ("name", "string", ["'n'"], ["n"]),
    ('"char"', "string", ["'c'"], ["c"]),
    ("bytea", "bytes", ["'\\x00ff10'", "''"], [b"\x00\xff\x10", b""]),
    ("uuid", "uuid", ["'00000000-0000-0000-0000-000000000000'"], [NIL]),
    ("date", "date", ["'0001-01-01'", "'9999-12-31'"], [date(1, 1, 1), date(9999, 12, 31)]),
    ("time", "time[us]", ["'00:00'", "'23:59:59.999999'"], [time(0), time(23, 59, 59, 999999)]),
    ("timetz", "string", ["'12:00:00.5+05:30'"], ["12:00:00.5+05:30"]),
    ("timestamp", "timestamp[us]", ["'0001-01-01'", "'9999-12-31 23:59:59.999999'"],
     [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]),  # noqa: DTZ001
    ("timestamp(0)", "timestamp[us]", ["'2024-02-29 12:00:00.6'"], [datetime(2024, 2, 29, 12, 0, 1)]),  # noqa: DTZ001
    ("timestamptz", "timestamp[us,UTC]", ["'2024-01-01 00:00:00.5+05:30'", "'1900-01-01 00:00+00'"],
     [datetime(2023, 12, 31, 18, 30, 0, 500000, UTC), datetime(1900, 1, 1, tzinfo=UTC)]),
    ("interval", "string", ["'1 year 2 months 3 days 4 seconds'", "'-00:00:00.000001'", "'0'"],
     ["P1Y2M3DT4S", "PT-0.000001S", "PT0S"]),
    ("json", "json", ["'{\"b\":1.10,\"a\":[null,\"x\"]}'", "'null'"], [{"a": [None, "x"], "b": 1.1}, None]),
    ("jsonb", "json", ["'{\"b\": 12345678901234567890}'", "'\"s\"'"], [{"b": 12345678901234567890}, "s"]),
    ("int[]", "json", ["'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'{}'"], [[1, None, 3], [[1, 2], [3, 4]], []]),
    ("text[]", "json", ["ARRAY['a,b', '\"', NULL]"], [["a,b", '"', None]]),
    ("real[]", "json", ["'{0.1}'"], [[0.10000000149011612]]),
    ("numeric[]", "json", ["'{1.10,NaN}'"], [["1.10", "NaN"]]),
    ("timestamptz[]", "json", ["'{2024-01-01 00:00+01}'"], [["2023-12-31 23:00:00+00"]]),
    ("bytea[]", "json", ["ARRAY['\\x01'::bytea]"], [["\\x01"]]),
    ("mood", "string", ["'so so'", "'ok'"], ["so so", "ok"]),
    ("mood[]", "json", ["'{ok}'"], [["ok"]]),
    ("positive", "int32", ["5"], [5]),
    ("amount", "decimal(8,3)", ["1.5"], [Decimal("1.500")]),
    ("pair", "string", ["ROW(1,'a b')"], ['(1,"a b")']),
    ("inet", "string", ["'10.0.0.1'", "'::1/64'"], ["10.0.0.1/32", "::1/64"]),
    ("cidr", "string", ["'10.0.0.0/8'"], ["10.0.0.0/8"]),
    ("macaddr", "string", ["'08:00:2b:01:02:03'"], ["08:00:2b:01:02:03"]),
    ("int4range", "string", ["'[1,5)'", "'empty'"], ["[1,5)", "empty"]),
    ("int4multirange", "string", ["'{[1,5),[7,8)}'"], ["{[1,5),[7,8)}"]),
    ("bit(3)", "string", ["B'101'"], ["101"]),
    ("varbit", "string", ["B'1'"], ["1"]),
    ("xml", "string", ["'<a>ü</a>'"], ["<a>ü</a>"]),
    ("tsvector", "string", ["'a:1 b:2'"], ["'a':1 'b':2"]),
    ("point", "string", ["'(1.5,2)'"], ["(1.5,2)"]),
    ("pg_lsn", "string", ["'0/10'"], ["0/10"]),
    ("int2vector", "string", ["'1 2'"], ["1 2"]),
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("fast")
DECLARATIONS = (
    "CREATE TYPE mood AS ENUM ('ok', 'so so')",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN amount AS numeric(8,3)",
    "CREATE TYPE pair AS (a int, b text)",
)


@pytest.mark.parametrize("as_query", [False, True], ids=["table", "query"])
def test_every_type(postgresql_url: str, as_query: bool) -> None:
    columns = ", ".join(f"c{index} {case[0]}" for index, case in enumerate(CASES))
    rows = [f"INSERT INTO t (id, c{i}) VALUES ({i * 10 + n}, {v})" for i, case in enumerate(CASES)
            for n, v in enumerate(case[2])]  # fmt: skip
    run(postgresql_url, *DECLARATIONS, f"CREATE TABLE t (id int PRIMARY KEY, {columns})", *rows)
    options: dict[str, Any] = {"query": "SELECT * FROM t -- all of it", "key": ["id"]} if as_query else {"table": "t"}
    schema, table = scan(postgresql_url, **options)
    assert schema.key == ("id",)
    found, by_type = values(schema, table.sort_by("id")), types(schema)
    at = {key: row for row, key in enumerate(found["id"])}
    for index, (declared, logical, literals, expected) in enumerate(CASES):
        name = f"c{index}"
        got = [found[name][at[index * 10 + n]] for n in range(len(literals))]
        assert (declared, by_type[name], got) == (declared, logical, expected)
        assert table[name].null_count == len(table) - len(literals), declared


def test_nan_is_kept(postgresql_url: str) -> None:
    run(
        postgresql_url,
        "CREATE TABLE t (id int PRIMARY KEY, f float8, n numeric)",
        "INSERT INTO t VALUES (1,'NaN','NaN')",
    )
    assert math.isnan(column_of(postgresql_url, "f")[1][0])
    assert column_of(postgresql_url, "n")[1][0].is_nan()


@pytest.mark.parametrize(
    ("declared", "literal"),
    [
        ("date", "infinity"), ("date", "0044-03-15 BC"), ("date", "10000-01-01"), ("timestamp", "-infinity"),
        ("timestamptz", "0001-01-01 00:00+00 BC"), ("timestamptz", "10000-01-01"), ("time", "24:00:00"),
        ("numeric(5,2)", "NaN"),
    ],
)  # fmt: skip
def test_a_value_without_place_names_column_and_key(postgresql_url: str, declared: str, literal: str) -> None:
    run(
        postgresql_url,
        f"CREATE TABLE t (id int PRIMARY KEY, c {declared})",
        f"INSERT INTO t VALUES (1, NULL), (7, '{literal}')",
    )
    with pytest.raises(RecordError, match=r"column 'c'.*'id': 7") as caught:
        scan(postgresql_url, table="t")
    assert "as_text: [c]" in (caught.value.hint or "")
    assert column_of(postgresql_url, "c", as_text=["c"])[0] == "string"


def test_generated_and_extension_columns(postgresql_url: str) -> None:
    run(
        postgresql_url,
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)",
        "INSERT INTO t VALUES (1, 4)",
    )
    assert column_of(postgresql_url, "twice") == ("int32", [8])


def test_session_settings_do_not_change_what_is_read(postgresql_url: str) -> None:
    run(
        postgresql_url,
        "CREATE TABLE t (id int PRIMARY KEY, d date, i interval, z timestamptz, b bytea)",
        "INSERT INTO t VALUES (1, '2024-05-06', '1 mon', '2024-01-01 12:00+00', '\\x41')",
    )
    before = scan(postgresql_url, table="t")[1]
    url = postgresql_url + "?options=-c%20DateStyle%3DGerman%20-c%20TimeZone%3DAsia/Tokyo%20-c%20bytea_output%3Descape"
    assert scan(url, table="t")[1].equals(before)
