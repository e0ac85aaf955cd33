"""What was rewritten and not changed is no change: nothing is emitted for rows in another place, order or encoding."""

import csv
import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pymongo import MongoClient

from tests.cycle.world import World
from tests.iterators.sql.scanning import run
from tests.servers import PostgreSQL

TABLE = (
    "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), price DECIMAL(10,2), weight DOUBLE PRECISION)",
    "INSERT INTO t VALUES (1, 'a', 1.50, 0.1), (2, NULL, 2, NULL), (3, '', 3, 0.0), (4, 'd', NULL, 1e100)",
)
REWRITES = {
    "sqlite": ["VACUUM", "REINDEX", "ANALYZE"],
    "postgresql": ["VACUUM FULL t", "CREATE INDEX i ON t (name)", "CLUSTER t USING i", "ANALYZE t",
                   "REINDEX TABLE t"],
    "mysql": ["OPTIMIZE TABLE t", "ALTER TABLE t ORDER BY name", "ALTER TABLE t ENGINE=InnoDB, FORCE",
              "ANALYZE TABLE t"],
}  # fmt: skip


def test_rows_written_again_are_no_events(world: World, url: str) -> None:
    run(url, *TABLE)
    world.source("t", iterator="sql", options={"url": url, "table": "t"})
    world.commit("t")
    kind = sa.make_url(url).get_backend_name()
    batches = [
        ["UPDATE t SET name = name, price = price"],
        ["UPDATE t SET price = 9 WHERE id = 1", "UPDATE t SET price = 1.50 WHERE id = 1"],
        ["CREATE TABLE copy AS SELECT * FROM t", "DELETE FROM t", "INSERT INTO t SELECT * FROM copy ORDER BY id DESC",
         "DROP TABLE copy"],
        ["UPDATE t SET weight = -0.0 WHERE id = 3"],
        *([statement] for statement in REWRITES[kind]),
    ]  # fmt: skip
    for batch in batches:
        for statement in batch:
            outside_of_a_transaction(url, statement)
        result = world.scan("t")
        assert (result.status, result.schema_changes) == ("unchanged", ()), (batch, result)
    outside_of_a_transaction(url, "UPDATE t SET name = NULL WHERE id = 3")
    assert (world.commit("t").updates, world.ops(since=4)) == (1, [("update", 3)])
    world.verify("t")


def outside_of_a_transaction(url: str, statement: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_dump_that_is_restored_elsewhere_is_no_change(world: World, postgresql: PostgreSQL) -> None:
    """The source moves to another database: the rows are the same, so nobody hears of it."""
    first, second = (postgresql.url(postgresql.create_database()) for _ in range(2))
    run(first, *TABLE)
    run(second, *reversed_columns())
    world.source("t", iterator="sql", options={"url": first, "table": "t"})
    world.commit("t")
    world.source("t", options={"url": second, "table": "t"})
    assert world.scan("t").status == "unchanged"


def reversed_columns() -> list[str]:
    return [
        "CREATE TABLE t (weight DOUBLE PRECISION, price DECIMAL(10,2), name VARCHAR(20), id INT PRIMARY KEY)",
        "INSERT INTO t VALUES (0.1, 1.50, 'a', 1), (NULL, 2, NULL, 2), (0.0, 3, '', 3), (1e100, NULL, 'd', 4)",
    ]


COUNT = 500
ROWS = [
    {
        "id": number,
        "name": ["a", "b", None, "ü,\"'\n"][number % 4],
        "price": Decimal(number).scaleb(-2) if number % 5 else None,
        "day": date(2024, 1, 1 + number % 28),
        "at": datetime(2024, 1, 1, 1, 2, 3, number, UTC),
        "raw": bytes([number % 256, 0]),
        "x": number / 7,
        "tags": ["x"] * (number % 3),
    }
    for number in range(COUNT)
]


def parquet_versions() -> dict[str, Callable[[Path], None]]:
    plain = pa.Table.from_pylist(ROWS)
    shuffled = plain.take(pa.array(random.Random(5).sample(range(COUNT), COUNT)))
    narrow = plain.set_column(0, "id", plain["id"].cast(pa.int32()))
    coded = plain.set_column(1, "name", plain["name"].dictionary_encode())
    large = plain.set_column(1, "name", plain["name"].cast(pa.large_string()))
    views = plain.set_column(1, "name", plain["name"].cast(pa.string_view()))
    reordered = plain.select(list(reversed(plain.column_names)))
    return {
        "row groups": lambda path: pq.write_table(plain, path, row_group_size=7),
        "shuffled": lambda path: pq.write_table(shuffled, path),
        "no dictionary": lambda path: pq.write_table(plain, path, use_dictionary=False, compression="none"),
        "encodings": lambda path: pq.write_table(
            plain, path, use_dictionary=False, version="2.6", data_page_version="2.0", compression="zstd",
            column_encoding={"id": "DELTA_BINARY_PACKED", "x": "BYTE_STREAM_SPLIT", "name": "DELTA_BYTE_ARRAY"},
        ),
        "dictionary": lambda path: pq.write_table(coded, path),
        "large": lambda path: pq.write_table(large, path),
        "views": lambda path: pq.write_table(views, path),
        "column order": lambda path: pq.write_table(reordered, path),
        "no statistics": lambda path: pq.write_table(plain, path, write_statistics=False, store_schema=False),
        "narrow": lambda path: pq.write_table(narrow, path),
    }  # fmt: skip


def test_a_parquet_file_written_otherwise_is_no_change(world: World) -> None:
    path = world.folder / "rows.parquet"
    world.source("t", iterator="files", options={"path": "rows.parquet"}, key="id")
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert world.commit("t").inserts == COUNT
    for name, write in parquet_versions().items():
        write(path)
        result = world.scan("t")
        assert result.changes == 0, (name, result)
        assert result.status == ("committed" if name == "narrow" else "unchanged"), (name, result)
    pq.write_table(pa.Table.from_pylist([*ROWS[1:], ROWS[0] | {"tags": [None]}]), path)
    assert world.commit("t").updates == 1
    world.verify("t")


def test_a_parquet_source_cut_into_other_files_is_no_change(world: World) -> None:
    table = pa.Table.from_pylist(ROWS)
    world.source("t", iterator="files", options={"path": "part-*.parquet"}, key="id")
    pq.write_table(table, world.folder / "part-0.parquet")
    world.commit("t")
    for number in range(5):
        pq.write_table(table.slice(number * 100, 100), world.folder / f"part-{number}.parquet")
    assert world.scan("t").status == "unchanged"


FLAT = [{name: row[name] for name in ("id", "name", "price", "day", "x")} for row in ROWS]


def csv_text(
    rows: list[dict[str, Any]], delimiter: str = ",", quoting: Any = csv.QUOTE_MINIMAL, end: str = "\n"
) -> str:
    lines = [delimiter.join(rows[0])]
    for row in rows:
        cells = []
        for value in row.values():
            text = "" if value is None else str(value)
            quoted = value is not None and (
                quoting == csv.QUOTE_ALL or any(sign in text for sign in f'{delimiter}"\n\r')
            )
            cells.append('"' + text.replace('"', '""') + '"' if quoted else text)
        lines.append(delimiter.join(cells))
    return end.join(lines) + end


def test_a_csv_file_written_otherwise_is_no_change(world: World) -> None:
    path = world.folder / "rows.csv"
    world.source("t", iterator="files", options={"path": "rows.csv"}, key="id")
    path.write_text(csv_text(FLAT), newline="")
    assert world.commit("t").inserts == COUNT
    assert str(world.project.snapshot("t").schema.types["price"]).startswith("decimal")
    shuffled = random.Random(1).sample(FLAT, COUNT)
    reordered = [dict(reversed(row.items())) for row in FLAT]
    versions = {
        "quoted": csv_text(FLAT, quoting=csv.QUOTE_ALL),
        "line ends": csv_text(FLAT, end="\r\n"),
        "shuffled": csv_text(shuffled),
        "column order": csv_text(reordered),
        "byte order mark": "\ufeff" + csv_text(FLAT),
        "no last line end": csv_text(FLAT)[:-1],
        "empty lines": csv_text(FLAT) + "\n\n",
    }
    for name, text in versions.items():
        path.write_text(text, newline="", encoding="utf-8")
        result = world.scan("t")
        assert (result.status, result.schema_changes) == ("unchanged", ()), (name, result)
    world.source("t", options={"path": "rows.csv", "delimiter": "\t"})
    path.write_text(csv_text(FLAT, delimiter="\t"), newline="")
    assert world.scan("t").status == "unchanged"
    path.write_text(csv_text([FLAT[0] | {"name": ""}, *FLAT[1:]], delimiter="\t"), newline="")
    assert world.commit("t").updates == 1
    world.verify("t")


DOCUMENTS = [
    {"id": number, "name": None if number % 4 == 0 else f"ü{number}", "big": 10**25 + number,
     "nested": {"b": [1, {"z": 1.5, "y": None}], "a": number}, "x": number / 3, "flag": number % 2 == 0}
    for number in range(200)
]  # fmt: skip


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: backwards(item) for name, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


def test_a_json_lines_file_written_otherwise_is_no_change(world: World) -> None:
    path = world.folder / "rows.jsonl"
    world.source("t", iterator="files", options={"path": "rows.jsonl"}, key="id")

    def write(documents: list[dict[str, Any]], end: str = "\n", **form: Any) -> None:
        path.write_text(end.join(json.dumps(one, **form) for one in documents) + end, newline="")

    write(DOCUMENTS)
    assert world.commit("t").inserts == len(DOCUMENTS)
    versions: dict[str, Callable[[], None]] = {
        "keys backwards": lambda: write([backwards(one) for one in DOCUMENTS]),
        "not escaped": lambda: write(DOCUMENTS, ensure_ascii=False),
        "no spaces": lambda: write(DOCUMENTS, separators=(",", ":")),
        "shuffled": lambda: write(random.Random(2).sample(DOCUMENTS, len(DOCUMENTS))),
        "line ends": lambda: write(DOCUMENTS, end="\r\n"),
        "nulls left out": lambda: write(
            [{name: value for name, value in one.items() if value is not None} for one in DOCUMENTS]
        ),
    }
    for name, again in versions.items():
        again()
        result = world.scan("t")
        assert (result.status, result.schema_changes) == ("unchanged", ()), (name, result)
    write([DOCUMENTS[0] | {"nested": {"b": [1, {"z": 1.5}], "a": 0}}, *DOCUMENTS[1:]])
    assert world.commit("t").updates == 1
    world.verify("t")


def test_documents_written_again_are_no_events(world: World, mongodb_url: str) -> None:
    world.source("t", iterator="mongodb", options={"url": mongodb_url, "collection": "things"})
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        things = client.get_default_database()["things"]
        things.insert_many([{"_id": number, "a": number, "b": {"c": 1, "d": [2]}} for number in range(50)])
        assert world.commit("t").inserts == 50
        things.delete_many({})
        things.insert_many([{"b": {"c": 1, "d": [2]}, "a": number, "_id": number} for number in reversed(range(50))])
        assert world.scan("t").status == "unchanged"
        things.create_index("a")
        things.update_many({}, {"$set": {"x": 1}})
        things.update_many({}, {"$unset": {"x": 1}})
        assert world.scan("t").status == "unchanged"
        things.update_one({"_id": 7}, {"$set": {"a": 7.0}})
        things.update_one({"_id": 8}, {"$set": {"b": {"d": [2], "c": 1}}})
        things.update_one({"_id": 9}, {"$set": {"n": None}})
        assert world.commit("t").updates == 3
    world.verify("t")


@pytest.mark.parametrize("small_base", ["64MiB", 0])
def test_a_table_rewritten_behind_deltas_is_no_change(world: World, small_base: Any) -> None:
    """The same where the state is a base and deltas."""
    world.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL); INSERT INTO t VALUES (1, 0.5), (2, NULL), (3, 1)")
    world.table("t", snapshots={"small_base": small_base, "delta_share": "100%"})
    world.commit("t")
    world.sql("UPDATE t SET v = 2 WHERE id = 2; DELETE FROM t WHERE id = 1")
    world.commit("t")
    world.sql("CREATE TABLE u AS SELECT * FROM t ORDER BY id DESC; DELETE FROM t; INSERT INTO t SELECT * FROM u")
    assert world.scan("t").status == "unchanged"
    world.verify("t")
