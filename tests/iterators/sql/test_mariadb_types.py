"""Every MariaDB type arrives exactly, from a table and from a query."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from differ.errors import RecordError
from tests.iterators.sql.scanning import column_of, run, scan, types, values

CASES: list[tuple[str, str, list[str], list[Any]]] = [
    ("TINYINT", "int8", ["-128", "127"], [-128, 127]),
    ("BOOLEAN", "int8", ["TRUE", "FALSE"], [1, 0]),
    ("TINYINT UNSIGNED", "int16", ["255"], [255]),
    ("SMALLINT", "int16", ["-32768"], [-32768]),
    ("MEDIUMINT UNSIGNED", "int64", ["16777215"], [16777215]),
    ("INT UNSIGNED", "int64", ["4294967295"], [2**32 - 1]),
    ("INT(5) ZEROFILL", "int64", ["42"], [42]),
    ("BIGINT", "int64", ["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
    ("BIGINT UNSIGNED", "decimal(20,0)", ["18446744073709551615", "0"], [2**64 - 1, 0]),
    ("DECIMAL(10,2)", "decimal(10,2)", ["19.9", "-99999999.99"], [Decimal("19.90"), Decimal("-99999999.99")]),
    ("DECIMAL(10,0) UNSIGNED", "decimal(10,0)", ["7"], [Decimal(7)]),
    ("DECIMAL(65,30)", "decimal(65,30)", ["12345678901234567890123456789012345.123456789012345678901234567891"],
     [Decimal("12345678901234567890123456789012345.123456789012345678901234567891")]),
    ("FLOAT", "float32", ["0.1", "3.4028234e38"], [0.10000000149011612, 3.4028234663852886e38]),
    ("DOUBLE", "float64", ["0.1", "0.30000000000000004", "1e308", "-5e-324", "123456789.12345679"],
     [0.1, 0.30000000000000004, 1e308, -5e-324, 123456789.12345679]),
    ("DOUBLE(10,3)", "float64", ["1.5"], [1.5]),
    ("BIT(1)", "int64", ["b'1'", "b'0'"], [1, 0]),
    ("BIT(64)", "decimal(20,0)", ["~0"], [2**64 - 1]),
    ("YEAR", "int16", ["2155", "0"], [2155, 0]),
    ("DATE", "date", ["'1000-01-01'", "'9999-12-31'", "'0001-01-01'"],
     [date(1000, 1, 1), date(9999, 12, 31), date(1, 1, 1)]),
    ("DATETIME", "timestamp[us]", ["'2024-02-29 23:59:59'"], [datetime(2024, 2, 29, 23, 59, 59)]),  # noqa: DTZ001
    ("DATETIME(6)", "timestamp[us]", ["'9999-12-31 23:59:59.999999'"],
     [datetime(9999, 12, 31, 23, 59, 59, 999999)]),  # noqa: DTZ001
    ("TIMESTAMP(3)", "timestamp[us,UTC]", ["'2024-01-01 00:00:00.123'"],
     [datetime(2024, 1, 1, 0, 0, 0, 123000, UTC)]),
    ("TIME", "duration[us]", ["'-838:59:59'", "'838:59:59'", "'-00:00:01'"],
     [-timedelta(hours=838, minutes=59, seconds=59), timedelta(hours=838, minutes=59, seconds=59),
      -timedelta(seconds=1)]),
    ("TIME(6)", "duration[us]", ["'-00:00:00.000001'", "'23:59:59.999999'", "'838:59:59.999999'"],
     [-timedelta(microseconds=1), timedelta(seconds=86399, microseconds=999999),
      timedelta(hours=838, minutes=59, seconds=59, microseconds=999999)]),
    ("CHAR(5)", "string", ["'x'"], ["x"]),
    ("VARCHAR(20)", "string", ["''", "'naïve 🦆 %s :x'"], ["", "naïve 🦆 %s :x"]),
    ("VARCHAR(20) COLLATE utf8mb4_bin", "string", ["'é'"], ["é"]),
    ("VARCHAR(20) CHARACTER SET latin1", "string", ["'é'"], ["é"]),
    ("TINYTEXT", "string", ["'t'"], ["t"]),
    ("LONGTEXT", "string", ["'l'"], ["l"]),
    ("ENUM('a','b c')", "string", ["'b c'"], ["b c"]),
    ("SET('x','y')", "string", ["'x,y'", "''"], ["x,y", ""]),
    ("BINARY(3)", "bytes", ["'a'"], [b"a\x00\x00"]),
    ("VARBINARY(5)", "bytes", ["x'00ff'", "''"], [b"\x00\xff", b""]),
    ("BLOB", "bytes", ["x'80'"], [b"\x80"]),
    ("LONGBLOB", "bytes", ["'b'"], [b"b"]),
    ("JSON", "json", ["'{\"b\": 1.10, \"a\": [null]}'", "'12345678901234567890'"],
     [{"a": [None], "b": 1.1}, 12345678901234567890]),
    ("UUID", "uuid", ["'123e4567-e89b-12d3-a456-426655440000'"], [UUID("123e4567-e89b-12d3-a456-426655440000")]),
    ("INET6", "string", ["'::1'"], ["::1"]),
    ("INET4", "string", ["'10.0.0.1'"], ["10.0.0.1"]),
    ("POINT", "bytes", ["ST_GeomFromText('POINT(1 2)', 4326)"],
     [bytes.fromhex("e61000000101000000000000000000f03f0000000000000040")]),
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("fast")
IN_A_QUERY = {"JSON": "string", "UUID": "string"}


@pytest.mark.parametrize("as_query", [False, True], ids=["table", "query"])
def test_every_type(mariadb_url: str, as_query: bool) -> None:
    columns = ", ".join(
        f"c{index} {case[0]}" + (" NULL" if case[0].startswith("TIMESTAMP") else "") for index, case in enumerate(CASES)
    )
    rows = [f"INSERT INTO t (id, c{i}) VALUES ({i * 10 + n}, {v})" for i, case in enumerate(CASES)
            for n, v in enumerate(case[2])]  # fmt: skip
    run(mariadb_url, f"CREATE TABLE t (id INT PRIMARY KEY, {columns})", *rows)
    options: dict[str, Any] = {"query": "SELECT * FROM t -- all", "key": ["id"]} if as_query else {"table": "t"}
    schema, table = scan(mariadb_url, **options)
    assert schema.key == ("id",)
    found, by_type = values(schema, table.sort_by("id")), types(schema)
    at = {key: row for row, key in enumerate(found["id"])}
    for index, (declared, logical, literals, expected) in enumerate(CASES):
        name = f"c{index}"
        got = [found[name][at[index * 10 + n]] for n in range(len(literals))]
        if as_query and declared in IN_A_QUERY:
            assert by_type[name] == IN_A_QUERY[declared]
            continue
        assert (declared, by_type[name], got) == (declared, logical, expected)
        assert table[name].null_count == len(table) - len(literals), declared


@pytest.mark.parametrize(("declared", "literal"), [("DATE", "0000-00-00"), ("DATE", "2024-00-00"),
                                                   ("DATETIME", "0000-00-00 00:00:00")])  # fmt: skip
def test_a_zero_date_names_column_and_key(mariadb_url: str, declared: str, literal: str) -> None:
    run(
        mariadb_url,
        "SET sql_mode = ''",
        f"CREATE TABLE t (id INT PRIMARY KEY, c {declared})",
        f"INSERT INTO t VALUES (1, NULL), (7, '{literal}')",
    )
    with pytest.raises(RecordError, match=r"column 'c'.*'id': 7") as caught:
        scan(mariadb_url, table="t")
    assert "as_text: [c]" in (caught.value.hint or "")
    assert column_of(mariadb_url, "c", as_text=["c"]) == ("string", [None, literal])


def test_timestamp_is_an_instant_whatever_the_zone_of_the_server(mariadb_url: str) -> None:
    run(
        mariadb_url,
        "SET time_zone = '+05:00'",
        "CREATE TABLE t (id INT PRIMARY KEY, c TIMESTAMP NULL)",
        "INSERT INTO t VALUES (1, '2024-01-01 05:00:00')",
    )
    assert column_of(mariadb_url, "c") == ("timestamp[us,UTC]", [datetime(2024, 1, 1, tzinfo=UTC)])
