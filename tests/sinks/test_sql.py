"""The `sql` sink beyond the shared suite: every type, names that need quotes, refusals, tables of people's own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from differ.errors import SinkError, SinkUnavailableError
from differ.formats.events import change_events
from differ.records.types import LogicalType
from differ.sinks.contract import Change, RefusedError
from differ.sinks.plain import plain_value
from differ.sinks.sql import SqlSink
from differ.testing.feed import Feed
from tests.formats.factory import EVERY_TYPE, FULL_ROW, NULL_ROW, batch
from tests.sinks.database import execute, opened, rows, url
from tests.sinks.feeding import changed

__all__ = ["url"]


# -- types ------------------------------------------------------------------------------------------------------------


def every_type() -> list[Change]:
    found = batch([("insert", None, FULL_ROW), ("insert", None, NULL_ROW)], EVERY_TYPE, source="orders")
    return [
        Change(
            stream=event.stream, source="orders", scn=event.scn, op="insert", key=event.key, document=event.after,
            types=EVERY_TYPE.types, origin=event,
        )
        for event in change_events(found)
    ]  # fmt: skip


def held(value: Any, type_: LogicalType, url: str) -> Any:  # noqa: PLR0911
    """What a database gives back for a value of the source; the page of the sink has the table."""
    dialect = url.partition(":")[0].partition("+")[0]
    if value is None:
        return None
    match type_.kind:
        case "list" | "map" | "struct" | "json":
            plain = plain_value(value, type_)
            return plain if dialect == "postgresql" else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        case "timestamp" | "time" | "duration" if type_.unit == "ns":
            return plain_value(value, type_)
        case "bool" if dialect != "postgresql":
            return int(value)
        case "time" if dialect not in ("postgresql", "sqlite"):
            return pd.Timedelta(str(value)).to_pytimedelta()
        case "uuid" if dialect != "postgresql":
            return str(value)
        case "duration" if dialect != "postgresql":
            return plain_value(value, type_)
        case "decimal" if dialect == "sqlite" or (dialect != "postgresql" and type_.precision is None):
            return plain_value(value, type_)
        case "date" | "time" | "timestamp" if dialect == "sqlite":
            return plain_value(value, type_)
        case "timestamp" if dialect != "postgresql" and type_.zone:
            return value.astimezone(UTC).replace(tzinfo=None)
        case _:
            return value


@pytest.mark.parametrize("copies", [1, 200], ids=["few rows", "many rows"])
def test_every_type_comes_back(url: str, tmp_path: Path, copies: int) -> None:
    found = opened(tmp_path, url)
    full, nulls = every_type()
    more = [
        changed(full, key={"id": 10 + n}, document={**(full.document or {}), "id": 10 + n}) for n in range(copies - 1)
    ]
    found.apply([full, nulls, *more], [], None)
    stored = rows(url)
    assert len(stored) == copies + 1
    types = EVERY_TYPE.types
    expected = {
        name: held(value, types[name], url) for name, value in (full.document or {}).items() if name != "nothing"
    }
    assert stored[0] == expected
    assert copies == 1 or stored[-1] | {"id": 1} == expected
    assert stored[1] == dict.fromkeys(expected) | {"id": 2}


def test_a_type_that_is_not_known_yet_gets_its_column_with_the_first_value(url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, url)
    full, _ = every_type()
    found.apply([full], [], None)
    assert "nothing" not in rows(url)[0]
    document = {**(full.document or {}), "nothing": 5}
    found.apply([changed(full, document=document, types={"nothing": EVERY_TYPE.types["id"]})], [], None)
    assert rows(url)[0]["nothing"] == 5


# -- names ------------------------------------------------------------------------------------------------------------


NAMES = [
    "order",
    "two words",
    "Grüße",
    "UPPER",
    'quo"te',
    "per%cent",
    "back`tick",
    "semi;colon",
    "%s",
    ":x",
    'x"); DROP TABLE t; --',
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted(url: str, tmp_path: Path, name: str) -> None:
    if "`" in name and not url.startswith(("sqlite", "postgresql")):
        with pytest.raises(SinkError, match="is no name for a table"):
            opened(tmp_path, url, table=name).apply([Feed().put(1)], [], None)
        return
    found = opened(tmp_path, url, table=f"t {name}")
    feed = Feed()
    change = feed.put(1)
    document = {"id": 1, name: "x"}
    types = {"id": change.types["id"], name: change.types["name"]}
    many = [replace(change, key={"id": n}, document=document | {"id": n}, types=types) for n in range(150)]
    found.apply(many, [], feed.checkpoint())
    found.apply([replace(change, document=document | {name: "y"}, types=types)], [many[3]], feed.checkpoint())
    found.apply([], many[4:], feed.checkpoint())
    table = sa.Table(f"t {name}", sa.MetaData(), autoload_with=(engine := sa.create_engine(url)))
    with engine.connect() as connection:
        stored = {row[0]: row[1] for row in connection.execute(sa.select(table.c.id, table.c[name]))}
    engine.dispose()
    assert stored == {0: "x", 1: "y", 2: "x"}


def test_a_key_of_several_columns_is_compared_exactly(url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, url)
    feed = Feed()
    change = feed.put(1)
    keys: list[Mapping[str, Any]] = [{"name": name, "id": n} for name in ("a", "A", "a ", "ä", "") for n in (1, 2)]
    types = {"name": change.types["name"], "id": change.types["id"], "v": change.types["name"]}
    many = [replace(change, key=key, document={**key, "v": f"{key}"}, types=types) for key in keys]
    found.apply(many, [], None)
    found.apply([], many[2:4], None)
    stored = rows(url, "SELECT name, id, v FROM orders")
    assert sorted((row["name"], row["id"]) for row in stored) == sorted(
        (str(key["name"]), int(key["id"])) for key in keys if key["name"] != "A"
    )


def test_only_keys(url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, url)
    feed = Feed({"id": Feed().columns["id"]})
    found.apply([feed.put(1), feed.put(2)], [], None)
    found.apply([feed.put(1)], [feed.delete(2)], None)
    assert rows(url) == [{"id": 1}]


# -- refusals ---------------------------------------------------------------------------------------------------------


def refused(url: str, found: SqlSink, change: Change) -> str:
    with pytest.raises(RefusedError) as caught:
        found.apply([change], [], Feed().checkpoint())
    assert found.load() is None, "nothing of the call was written"
    return caught.value.message


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("a\0b", {"postgresql"}),
        (float("nan"), {"sqlite", "mysql"}),
        (float("inf"), {"mysql"}),
        (2**63, {"sqlite", "postgresql", "mysql"}),
        (pd.Timestamp("2026-01-01T00:00:00.000000001Z"), {"sqlite", "postgresql", "mysql"}),
        (Decimal("0.1234567890123456789012345678901"), {"mysql"}),
    ],
    ids=["NUL", "NaN", "infinity", "65 bits", "nanoseconds", "31 digits behind the point"],
)
def test_a_value_that_does_not_fit_is_refused_and_never_changed(
    url: str, tmp_path: Path, value: Any, where: set[str]
) -> None:
    dialect = url.partition(":")[0].partition("+")[0].replace("mariadb", "mysql")
    column = {
        str: "name", float: "ratio", int: "small", pd.Timestamp: "instant", Decimal: "price",
    }[type(value)]  # fmt: skip
    found = opened(tmp_path, url)
    full, _ = every_type()
    found.apply([changed(full, key={"id": 99}, document={**(full.document or {}), "id": 99})], [], None)
    change = changed(full, document={**(full.document or {}), column: value})
    if dialect in where:
        assert "sink shop" in refused(url, found, change)
        assert [row["id"] for row in rows(url)] == [99]
    else:
        found.apply([change], [], None)
        stored = rows(url)[0][column]
        assert stored == value or str(stored) == str(value) or str(stored).lower() == str(value)


def test_a_key_longer_than_its_column_is_refused(mariadb_url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, mariadb_url, key_length=8)
    change = Feed().put(1)
    types = {"name": change.types["name"]}
    long = replace(change, key={"name": "x" * 9}, document={"name": "x" * 9}, types=types)
    assert "name" in refused(mariadb_url, found, long)


# -- tables of people's own -------------------------------------------------------------------------------------------


def test_without_create_a_missing_table_is_told(url: str, tmp_path: Path) -> None:
    found = opened(tmp_path, url, create=False)
    with pytest.raises(SinkError, match="there is no table 'orders'") as caught:
        found.apply([Feed().put(1)], [], None)
    assert not isinstance(caught.value, RefusedError | SinkUnavailableError)


def test_a_table_of_a_persons_own(url: str, tmp_path: Path) -> None:
    """Other types, columns of their own: what is not written stays as it is."""
    columns = "name VARCHAR(40), total VARCHAR(40), at VARCHAR(40), note VARCHAR(20)"
    execute(url, f"CREATE TABLE orders (id INTEGER PRIMARY KEY, {columns})")
    found = opened(tmp_path, url, create=False)
    feed = Feed()
    found.apply([feed.put(1, total=Decimal("1.50"))], [], None)
    execute(url, "UPDATE orders SET note = 'mine'")
    found.apply([feed.put(1, total=Decimal("2.50"))], [], None)
    assert rows(url) == [{"id": 1, "name": "name 2", "total": "2.50", "at": "2026-11-23T10:00:02.25Z", "note": "mine"}]


@pytest.mark.parametrize("policy", ["ignore", "fail"])
def test_a_new_column(url: str, tmp_path: Path, policy: str) -> None:
    found = opened(tmp_path, url, on_new_column=policy)
    feed = Feed()
    found.apply([feed.put(1)], [], None)
    wide = replace(feed.put(2), types=feed.columns)
    wide = changed(wide, document={**(wide.document or {}), "grade": 5}, types={"grade": feed.columns["id"]})
    if policy == "ignore":
        found.apply([wide], [], None)
        assert [sorted(row) for row in rows(url)] == [["at", "id", "name", "total"]] * 2
    else:
        with pytest.raises(SinkError, match="table 'orders' has no column 'grade'"):
            found.apply([wide], [], None)


def test_a_column_that_the_source_lost_becomes_null(url: str, tmp_path: Path) -> None:
    """And not what it was: a document is the whole record."""
    found = opened(tmp_path, url)
    feed = Feed()
    found.apply([feed.put(1), feed.put(2)], [], None)
    feed.columns = {name: type_ for name, type_ in feed.columns.items() if name != "name"}
    change = feed.put(1)
    found.apply([change], [], None)
    assert [row["name"] for row in rows(url)] == [None, "name 2"]


def test_a_table_without_a_unique_key_is_told(postgresql_url: str, tmp_path: Path) -> None:
    execute(postgresql_url, "CREATE TABLE orders (id INTEGER, name TEXT, total TEXT, at TEXT)")
    found = opened(tmp_path, postgresql_url)
    with pytest.raises(SinkError) as caught:
        found.apply([Feed().put(1)], [], None)
    assert "primary key or unique index" in str(caught.value)


def test_a_schema_of_the_database(postgresql_url: str, tmp_path: Path) -> None:
    execute(postgresql_url, "CREATE SCHEMA mart")
    found = opened(tmp_path, postgresql_url, schema="mart", table="mirror_{source}")
    feed = Feed()
    found.apply([feed.put(1)], [], feed.checkpoint())
    assert [row["id"] for row in rows(postgresql_url, "SELECT id FROM mart.mirror_orders")] == [1]
    assert rows(postgresql_url, "SELECT sink FROM mart.differ_checkpoints") == [{"sink": "shop"}]
