"""Tables that are altered, emptied, dropped or swapped while a scan runs: a clean failure or the state as it was.

A snapshot does not cover everything: PostgreSQL shows a table that was rewritten after the snapshot as empty. What is
never allowed is that the rows of the table count as deleted.
"""

import itertools
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from differ.cycle.procedure import Progress, RunOptions
from differ.model import CycleResult
from tests.cycle.world import World
from tests.iterators.sql.scanning import run

ROWS = 200
VALUES = ", ".join(f"({number}, {number})" for number in range(ROWS))

KINDS = ("postgresql", "mysql", "sqlite")
DDL = {
    "a rewrite": {
        "postgresql": ["ALTER TABLE b ALTER COLUMN v TYPE bigint"],
        "mysql": ["ALTER TABLE b MODIFY COLUMN v BIGINT"],
        "sqlite": ["CREATE TABLE c (id INT PRIMARY KEY, v BIGINT)", "INSERT INTO c SELECT * FROM b", "DROP TABLE b",
                   "ALTER TABLE c RENAME TO b"],
    },
    "a truncation and the same rows": {
        "postgresql": ["CREATE TABLE c AS SELECT * FROM b", "TRUNCATE b", "INSERT INTO b SELECT * FROM c"],
        "mysql": ["CREATE TABLE c AS SELECT * FROM b", "TRUNCATE b", "INSERT INTO b SELECT * FROM c"],
        "sqlite": ["CREATE TABLE c AS SELECT * FROM b", "DELETE FROM b", "INSERT INTO b SELECT * FROM c"],
    },
    "made anew": {
        kind: ["DROP TABLE b", "CREATE TABLE b (id INT PRIMARY KEY, v INT)", f"INSERT INTO b VALUES {VALUES}"]
        for kind in KINDS
    },
    "swapped": {
        "postgresql": ["INSERT INTO spare SELECT * FROM b", "ALTER TABLE b RENAME TO old",
                       "ALTER TABLE spare RENAME TO b"],
        "sqlite": ["INSERT INTO spare SELECT * FROM b", "ALTER TABLE b RENAME TO old", "ALTER TABLE spare RENAME TO b"],
    },
    "an index": {kind: ["CREATE INDEX i ON b (v)"] for kind in KINDS},
    "a new column": {kind: ["ALTER TABLE b ADD COLUMN w INT"] for kind in KINDS},
    "dropped": {kind: ["DROP TABLE b"] for kind in KINDS},
}  # fmt: skip


@pytest.fixture
def shop(world: World, url: str) -> Iterator[str]:
    """Tables a and b, read in this order in one snapshot."""
    if url.startswith("sqlite"):
        run(url, "PRAGMA journal_mode=WAL")
    for table in "ab":
        run(url, f"CREATE TABLE {table} (id INT PRIMARY KEY, v INT)", f"INSERT INTO {table} VALUES {VALUES}")
        world.source(table, iterator="sql", options={"url": url, "table": table, "batch_rows": 20})
    run(url, "CREATE TABLE spare (id INT PRIMARY KEY, v INT)")
    world.settings["consistency_groups"] = {"shop": {"sources": ["a", "b"]}}
    world.project.scan_group("shop")
    return url


def scan_while(world: World, url: str, *statements: str) -> list[CycleResult]:
    """A scan of both; the statements are run once rows of `a` have come."""
    once = itertools.count()

    def progress(seen: Progress) -> None:
        if seen.source == "a" and seen.rows and next(once) == 0:
            run(url, *statements)

    return world.project.scan_group("shop", RunOptions(on_progress=progress))


@pytest.mark.parametrize("ddl", DDL)
def test_a_table_that_is_not_read_yet(world: World, shop: str, ddl: str) -> None:
    statements = DDL[ddl].get(sa.make_url(shop).get_backend_name())
    if statements is None:
        return
    results = scan_while(world, shop, *statements)
    assert {result.deletes for result in results} == {0}, results
    assert {result.status for result in results} <= {"failed", "unchanged", "committed"}, results
    for result in results:
        if result.status == "failed":
            assert result.exit_code == 3, result
            assert result.hint
        else:
            assert result.rows == ROWS
    assert world.project.catalog.stream().head_scn == 2 * ROWS
    if ddl == "an index" and not shop.startswith("mysql"):
        assert {result.status for result in results} == {"unchanged"}, results
    if ddl != "dropped":
        again = world.project.scan_group("shop")
        assert {(result.status == "failed", result.changes) for result in again} == {(False, 0)}, again
        world.verify("b")


@pytest.mark.parametrize("statement", ["TRUNCATE a", "DROP TABLE a", "ALTER TABLE a DROP COLUMN v"])
def test_a_table_that_is_being_read_keeps_the_writer_waiting(world: World, shop: str, statement: str) -> None:
    """On the servers the statement waits for the scan; SQLite's reader has its own state."""
    if shop.startswith("sqlite"):
        statement = statement.replace("TRUNCATE", "DELETE FROM")
    done: list[BaseException | None] = []

    def alter() -> None:
        try:
            run(shop, statement)
            done.append(None)
        except BaseException as error:
            done.append(error)

    writer = threading.Thread(target=alter)

    def progress(seen: Progress) -> None:
        if seen.source == "a" and seen.rows and not writer.ident:
            writer.start()

    results = world.project.scan_group("shop", RunOptions(on_progress=progress))
    writer.join(60)
    assert done == [None]
    assert [(result.status, result.rows, result.changes) for result in results] == [("unchanged", ROWS, 0)] * 2
