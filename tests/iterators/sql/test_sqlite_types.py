"""SQLite: what is declared where the values agree with it, else what is exact."""

import math
import sqlite3
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from differ.errors import SourceError
from tests.iterators.sql.scanning import column_of, run, scan, types, values

WIDE = 2**63 - 1
CASES: list[tuple[str, list[Any], str, list[Any]]] = [
    ("INTEGER", [1, -(2**63), WIDE, None], "int64", [1, -(2**63), WIDE, None]),
    ("BIGINT UNSIGNED", [1], "int64", [1]),
    ("INTEGER", [1, "x", 2.5, b"\x00", None], "json", [1, "x", 2.5, b"\x00", None]),
    ("BOOLEAN", [0, 1, None], "bool", [False, True, None]),
    ("BOOLEAN", [0, 2], "int64", [0, 2]),
    ("BOOLEAN", ["true", "x"], "string", ["true", "x"]),
    ("REAL", [0.1, 1e308, math.inf, 7], "float64", [0.1, 1e308, math.inf, 7.0]),
    ("DOUBLE PRECISION", [0.5, "x"], "json", [0.5, "x"]),
    ("TEXT", ["", "naïve 🦆", None, "a\x00b"], "string", ["", "naïve 🦆", None, "a\x00b"]),
    ("VARCHAR(3)", ["longer", 5], "string", ["longer", "5"]),
    ("TEXT", ["x", b"x"], "json", ["x", b"x"]),
    ("BLOB", [b"", b"\x80", None], "bytes", [b"", b"\x80", None]),
    ("BLOB", [1, 2], "json", [1, 2]),
    ("DECIMAL(10,2)", [19.9, 20, -0.05, 0.3, None], "decimal(10,2)",
     [Decimal("19.90"), Decimal(20), Decimal("-0.05"), Decimal("0.30"), None]),
    ("NUMERIC(5)", [12345], "decimal(5,0)", [Decimal(12345)]),
    ("DECIMAL(10,2)", [0.1 + 0.2, 5], "decimal", [Decimal("0.30000000000000004"), Decimal(5)]),
    ("DECIMAL(4,2)", [123.25], "decimal", [Decimal("123.25")]),
    ("DECIMAL(18,0)", [999_999_999_999_999_999], "decimal(18,0)", [Decimal(999_999_999_999_999_999)]),
    ("DECIMAL(30,2)", [WIDE], "decimal(30,2)", [Decimal(WIDE)]),
    ("DECIMAL(10,2)", [1.5, "n/a"], "json", [1.5, "n/a"]),
    ("NUMERIC", [1, 1.5, WIDE, 1e-7], "decimal", [Decimal(1), Decimal("1.5"), Decimal(WIDE), Decimal("1e-7")]),
    ("DATE", ["2024-02-29", "0001-01-01", "9999-12-31", None], "date",
     [date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31), None]),
    ("DATE", ["2024-02-30"], "string", ["2024-02-30"]),
    ("DATE", ["2024-1-1"], "string", ["2024-1-1"]),
    ("DATE", ["0000-01-01"], "string", ["0000-01-01"]),
    ("DATE", [1704067200], "int64", [1704067200]),
    ("DATE", ["2024-01-01", 5], "json", ["2024-01-01", 5]),
    ("DATETIME", ["2024-01-01 10:00:00", "2024-01-01 10:00:00.5"], "timestamp[us]",
     [datetime(2024, 1, 1, 10), datetime(2024, 1, 1, 10, 0, 0, 500000)]),  # noqa: DTZ001
    ("TIMESTAMP", ["2024-01-01T23:59:59.999999"], "timestamp[us]",
     [datetime(2024, 1, 1, 23, 59, 59, 999999)]),  # noqa: DTZ001
    ("TIMESTAMP", ["2024-01-01T10:00:00", "2024-01-01 10:00:00"], "string",
     ["2024-01-01T10:00:00", "2024-01-01 10:00:00"]),
    ("TIMESTAMP", ["2024-01-01T10:00:00Z"], "string", ["2024-01-01T10:00:00Z"]),
    ("DATETIME", ["2024-01-01 24:00:00"], "string", ["2024-01-01 24:00:00"]),
    ("DATETIME", ["2024-01-01 10:00:00.1234567"], "string", ["2024-01-01 10:00:00.1234567"]),
    ("DATETIME", ["2024-01-01 10:00:00."], "string", ["2024-01-01 10:00:00."]),
    ("JSON", ['{"b":1.10,"a":null}', "[1]", 5], "json", [{"a": None, "b": 1.1}, [1], 5]),
    ("JSON", ["{", "x"], "string", ["{", "x"]),
    ("UUID", ["123e4567-e89b-12d3-a456-426655440000"], "string", ["123e4567-e89b-12d3-a456-426655440000"]),
    ("", [1, 2], "int64", [1, 2]),
    ("", ["a"], "string", ["a"]),
    ("", [1, "1"], "json", [1, "1"]),
    ("", [1, 1.5], "decimal", [Decimal(1), Decimal("1.5")]),
    ("", [None], "null", [None]),
    ("DECIMAL(10,2)", [None], "decimal(10,2)", [None]),
    ("DATETIME", [None], "timestamp[us]", [None]),
    ("JSON", [], "json", []),
]  # fmt: skip


def database(path: Path, declared: str, held: list[Any]) -> str:
    file = path / "t.db"
    file.unlink(missing_ok=True)
    with sqlite3.connect(file) as connection:
        connection.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, c {declared})")
        connection.executemany("INSERT INTO t (c) VALUES (?)", [(value,) for value in held])
    connection.close()
    return f"sqlite:///{file}"


@pytest.mark.parametrize(("declared", "held", "logical", "expected"), CASES)
def test_declared_types_and_what_they_hold(
    tmp_path: Path, declared: str, held: list[Any], logical: str, expected: list[Any]
) -> None:
    url = database(tmp_path, declared, held)
    for options in ({"table": "t"}, {"table": None, "query": "SELECT id, c FROM t", "key": ["id"]}):
        found_type, found = column_of(url, "c", **options)
        assert (found_type, found) == (logical, expected)
        assert [type(value) for value in found] == [type(value) for value in expected] or logical in ("json", "decimal")


def test_a_key_keeps_its_text(tmp_path: Path) -> None:
    url = database(tmp_path, "DATETIME", ["2024-01-01 10:00:00", "2024-01-01 10:00:00.0"])
    assert types(scan(url, table="t", key=["c"])[0])["c"] == "string"


def test_expressions_of_a_query(tmp_path: Path) -> None:
    url = database(tmp_path, "INTEGER", [1, 2])
    query = "SELECT id, c + 1 AS n, 'x' || c AS s, c / 2.0 AS r, NULL AS empty, ':a %s' AS odd FROM t;"
    schema, table = scan(url, query=query, key=["id"])
    assert types(schema) == {
        "id": "int64", "n": "int64", "s": "string", "r": "float64", "empty": "null", "odd": "string",
    }  # fmt: skip
    assert table.to_pylist()[0] == {"id": 1, "n": 2, "s": "x1", "r": 0.5, "empty": None, "odd": ":a %s"}


def test_text_that_is_not_utf8_is_an_error_without_its_value(tmp_path: Path) -> None:
    url = database(tmp_path, "TEXT", [])
    run(url, "INSERT INTO t (c) VALUES (CAST(x'ff736563726574' AS TEXT))")
    with pytest.raises(SourceError, match="UTF-8") as caught:
        scan(url, table="t")
    assert "secret" not in str(caught.value)


DECLARED = ("", "INTEGER", "DECIMAL(12,3)", "TEXT", "DATE", "DATETIME", "BOOLEAN", "NUMERIC")
ANY_VALUE = st.one_of(
    st.none(),
    st.integers(-(2**63), WIDE),
    st.integers(0, 1),
    st.floats(allow_nan=False),
    st.decimals(-1000, 1000, places=3).map(float),
    st.text(st.characters(codec="utf-8")),
    st.dates().map(str),
    st.binary(),
)


@settings(max_examples=40)
@given(st.lists(ANY_VALUE, max_size=5))
def test_any_value_in_any_column_survives(tmp_path_factory: pytest.TempPathFactory, held: list[Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "t.db"
    names = [f"c{index}" for index in range(len(DECLARED))]
    with sqlite3.connect(path) as connection:
        columns = ", ".join(f"{name} {declared}" for name, declared in zip(names, DECLARED, strict=True))
        connection.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
        marks = ", ".join("?" for _ in names)
        connection.executemany(
            f"INSERT INTO t ({', '.join(names)}) VALUES ({marks})", [[value] * len(names) for value in held]
        )
        stored = connection.execute(f"SELECT {', '.join(names)} FROM t ORDER BY id").fetchall()
    connection.close()
    schema, table = scan(f"sqlite:///{path}", table="t")
    found = values(schema, table.sort_by("id"))
    for index, name in enumerate(names):
        kept = [row[index] for row in stored]
        assert [_plain(value, was) for value, was in zip(found[name], kept, strict=True)] == kept


def _plain(value: Any, was: Any) -> Any:
    """What is compared with what was stored: a number by its value, the others by kind and value."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value) if isinstance(was, float) else int(value)
    return value


def test_many_columns(tmp_path: Path) -> None:
    names = ", ".join(f"c{index} INTEGER" for index in range(450))
    url = f"sqlite:///{tmp_path}/wide.db"
    run(url, f"CREATE TABLE t ({names}, PRIMARY KEY (c0))", "INSERT INTO t (c0, c449) VALUES (1, 2)")
    schema, table = scan(url, table="t")
    assert (len(schema.columns), values(schema, table)["c449"]) == (450, [2])
