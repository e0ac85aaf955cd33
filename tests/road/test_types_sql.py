"""Every type of every SQL store, at its extremes, from the table to each form of its change events and back."""

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from differ.snapshots.duckdb import state_query
from tests.cycle.world import World
from tests.iterators.sql import test_mariadb_types, test_postgresql_types, test_sqlite_types
from tests.iterators.sql.scanning import run
from tests.road.forms import all_forms, fold, row, storage_row

Values = Sequence[tuple[Any, Any]]
"""What is written (SQL text, or a value that is bound) and what it is in Python."""

MORE_POSTGRESQL = {
    "double precision": [("'NaN'", float("nan")), ("'-0.0'", -0.0), ("'-Infinity'", float("-inf"))],
    "numeric": [("'NaN'", "NaN"), ("'-Infinity'", "-Infinity"), ("0.000", 0)],
    "text": [("repeat('ü', 70000)", "ü" * 70000), ("'null'", "null"), ("E'\\r\\n'", "\r\n")],
    "bytea": [("decode(repeat('00ff', 50000), 'hex')", b"\x00\xff" * 50000)],
}


class Shop:
    """A table `t` with a column of each type; row n holds each column's value number n, counted round."""

    def __init__(self, url: str, columns: Mapping[str, tuple[str, Values]], types: Mapping[str, str]) -> None:
        self.url, self.columns = url, columns
        self.types = {"id": types["id"], **{name: types[name] for name in columns}}
        self.rounds = max(len(values) for _, values in columns.values()) + 1
        self.expected: dict[int, dict[str, Any]] = {}

    def value(self, name: str, number: int) -> tuple[Any, Any]:
        """Number n of a column's values and null, which are all different."""
        values = [*self.columns[name][1], (None, None)]
        return values[number % len(values)]

    def put(self, id_: int, number: int) -> None:
        """Insert or replace a row."""
        names = list(self.columns)
        given = {name: self.value(name, number) for name in names}
        self.expected[id_] = {"id": id_, **{name: value for name, (_, value) in given.items()}}
        self.write("DELETE FROM t WHERE id = ?", [id_])
        marks = ", ".join("?" if self.url.startswith("sqlite") else given[name][0] or "NULL" for name in names)
        binds = [given[name][0] for name in names] if self.url.startswith("sqlite") else []
        self.write(f"INSERT INTO t (id, {', '.join(names)}) VALUES ({id_}, {marks})", binds)

    def delete(self, id_: int) -> None:
        del self.expected[id_]
        self.write("DELETE FROM t WHERE id = ?", [id_])

    def write(self, statement: str, binds: list[Any]) -> None:
        if self.url.startswith("sqlite"):
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
                connection.execute(statement, binds)
            connection.close()
        else:
            run(self.url, statement.replace("?", str(binds[0]) if binds else "?"))

    def rows(self) -> dict[int, Any]:
        return {id_: row(values, self.types) for id_, values in self.expected.items()}


def of_server(url: str, cases: list[tuple[str, str, list[str], list[Any]]], more: Mapping[str, Values]) -> Shop:
    columns, types = {}, {"id": "int32"}
    for number, (declared, logical, literals, values) in enumerate(cases):
        name = f"c{number}"
        columns[name] = (declared, [*zip(literals, values, strict=True), *more.get(declared, ())])
        types[name] = logical
    nullable = {"TIMESTAMP(3)": "TIMESTAMP(3) NULL"}
    listed = ", ".join(f"{name} {nullable.get(declared, declared)}" for name, (declared, _) in columns.items())
    run(url, f"CREATE TABLE t (id INT PRIMARY KEY, {listed})")
    return Shop(url, columns, types)


def postgresql(request: pytest.FixtureRequest) -> Shop:
    url = request.getfixturevalue("postgresql_url")
    run(url, *test_postgresql_types.DECLARATIONS)
    return of_server(url, test_postgresql_types.CASES, MORE_POSTGRESQL)


def mariadb(request: pytest.FixtureRequest) -> Shop:
    return of_server(request.getfixturevalue("mariadb_url"), test_mariadb_types.CASES, {})


def sqlite(request: pytest.FixtureRequest) -> Shop:
    """A type needs values of its own in every state, so each column has rows that always hold all of them."""
    path: Path = request.getfixturevalue("tmp_path") / "types.db"
    columns, types = {}, {"id": "int64"}
    for number, (declared, held, logical, values) in enumerate(test_sqlite_types.CASES):
        pairs = [(given, value) for given, value in zip(held, values, strict=True) if given is not None]
        columns[f"c{number}"] = (declared, pairs)
        types[f"c{number}"] = logical
    listed = ", ".join(f"{name} {declared}" for name, (declared, _) in columns.items())
    run(f"sqlite:///{path}", f"CREATE TABLE t (id INTEGER PRIMARY KEY, {listed})")
    return Shop(f"sqlite:///{path}", columns, types)


STORES: dict[str, Callable[[pytest.FixtureRequest], Shop]] = {
    "sqlite": sqlite, "postgresql": postgresql, "mariadb": mariadb,
}  # fmt: skip
FIRST = 100
"""Rows from here on never change: between them they hold every value, so that SQLite's types stay."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service),
                        pytest.param("mariadb", marks=pytest.mark.service)])  # fmt: skip
def shop(request: pytest.FixtureRequest) -> Shop:
    return STORES[request.param](request)


def test_every_value_from_table_to_event_and_back(world: World, shop: Shop) -> None:
    world.source("t", iterator="sql", options={"url": shop.url, "table": "t"})
    for number in range(shop.rounds):
        shop.put(FIRST + number, number)
        shop.put(number, number)
    first = world.commit("t")
    assert first.inserts == 2 * shop.rounds
    check_state(world, shop)
    old = shop.rows()
    check_events(world, shop, 0, [("insert", id_, None, values) for id_, values in old.items()])

    for id_ in range(shop.rounds):
        shop.put(id_, id_ + 1)
    shop.delete(0)
    shop.put(50, 1)
    new = shop.rows()
    second = world.commit("t")
    assert (second.inserts, second.updates, second.deletes) == (1, shop.rounds - 1, 1), second
    assert second.schema_changes == ()
    changes = [("update", id_, old[id_], new[id_]) for id_ in range(1, shop.rounds) if old[id_] != new[id_]]
    check_events(
        world, shop, first.scn_last or 0, [("delete", 0, old[0], None), ("insert", 50, None, new[50]), *changes]
    )
    for event in world.project.events("t", since=first.scn_last or 0):
        if event.op == "update":
            # By what was written: JSON's null and SQL's are both None here, and yet a change.
            id_ = event.key["id"]
            moved = {name for name in shop.columns if shop.value(name, id_)[0] != shop.value(name, id_ + 1)[0]}
            assert set(event.changed) == moved
    check_state(world, shop)

    for _ in range(2):
        assert world.scan("t").status == "unchanged"
    changes = all_forms(world.project, "t", 0, shop.types)["python"]
    assert fold(changes) == {(("int", id_),): values for id_, values in new.items()}


def check_events(world: World, shop: Shop, since: int, expected: list[tuple[str, int, Any, Any]]) -> None:
    wanted = sorted(((op, {"id": ("int", id_)}, before, after) for op, id_, before, after in expected), key=_order)
    for form, found in all_forms(world.project, "t", since, shop.types).items():
        found.sort(key=_order)
        assert [change[:2] for change in found] == [change[:2] for change in wanted], form
        for (op, key, *images), (_, _, *others) in zip(found, wanted, strict=True):
            for image, other in zip(images, others, strict=True):
                assert_same(image, other, f"{form}: {op} of {key}")


def check_state(world: World, shop: Shop) -> None:
    snapshot = world.project.snapshot("t")
    assert {name: str(type_) for name, type_ in snapshot.schema.types.items()} == shop.types
    wanted = shop.rows()
    query = state_query(world.folder / "snapshots", snapshot.manifest)
    frame = snapshot.to_pandas()
    kinds = {
        "arrow": snapshot.to_arrow().to_pylist(),
        "pandas": pa.Table.from_pandas(frame, preserve_index=False).to_pylist(),
        "duckdb": duckdb.sql(query).arrow().read_all().to_pylist(),
    }
    for kind, rows in kinds.items():
        assert sorted(values["id"] for values in rows) == sorted(wanted), kind
        without = {name for name, type_ in shop.types.items() if kind == "duckdb" and not duckdb_has(type_)}
        for values in rows:
            found, row_ = storage_row(values, shop.types), wanted[values["id"]]
            for name in without:
                found[name] = row_[name]
            assert_same(found, row_, f"{kind}: row {values['id']}")


def duckdb_has(type_: str) -> bool:
    """DuckDB has no decimals above 38 digits (it makes doubles of them); Parquet has no durations (they are ints)."""
    match = re.fullmatch(r"decimal\((\d+),\d+\)", type_)
    return not type_.startswith("duration") and (match is None or int(match[1]) <= 38)


def assert_same(found: Any, wanted: Any, where: str) -> None:
    if found == wanted:
        return
    assert found is not None, where
    assert wanted is not None, where
    wrong = {name: (found.get(name), wanted[name]) for name in wanted if found.get(name) != wanted[name]}
    raise AssertionError(f"{where}: {str(wrong)[:2000]}")


def _order(change: Sequence[Any]) -> tuple[str, str]:
    return change[0], str(change[1])
