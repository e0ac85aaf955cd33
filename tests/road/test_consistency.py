"""A writer who never rests: what every scan sees is one state, and nothing counts as deleted that only moved."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from tests.cycle.world import World
from tests.iterators.sql.scanning import run

ACCOUNTS = 300
EACH = 100
SCANS = 6


@contextmanager
def writing(step: Callable[[int], None]) -> Iterator[threading.Semaphore]:
    """Call `step` over and over in another thread until the block ends; gives a release a step, fails as it failed."""
    stop, done = threading.Event(), threading.Semaphore(0)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for number in itertools.count():
                if stop.is_set():
                    return
                step(number)
                done.release()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(60)
        assert errors == []


def wait_for(done: threading.Semaphore, steps: int) -> None:
    """Wait for so many steps from now on."""
    while done.acquire(blocking=False):
        pass
    for _ in range(steps):
        assert done.acquire(timeout=30)


@contextmanager
def mover(url: str) -> Iterator[Callable[[int], None]]:
    """Moves money from an account in `a` to one in `b`, deletes an account of each and makes another, as one commit."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as plain:
        connection = plain.execution_options(no_parameters=True)
        if url.startswith("sqlite"):
            connection.exec_driver_sql("PRAGMA busy_timeout = 30000")

        def step(number: int) -> None:
            one, other = number * 7 % ACCOUNTS, number * 11 % ACCOUNTS
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"UPDATE a SET v = v - 1 WHERE id % {ACCOUNTS} = {one}")
            connection.exec_driver_sql(f"UPDATE b SET v = v + 1 WHERE id % {ACCOUNTS} = {other}")
            # The account gets another number: a row that is deleted here and inserted there, far away in the key.
            far = ACCOUNTS if number // ACCOUNTS % 2 == 0 else -ACCOUNTS
            connection.exec_driver_sql(f"UPDATE a SET id = id + {far} WHERE id % {ACCOUNTS} = {number % ACCOUNTS}")
            connection.exec_driver_sql("COMMIT")

        yield step
    engine.dispose()


def test_money_that_moves_is_always_all_there(world: World, url: str) -> None:
    if url.startswith("sqlite"):
        run(url, "PRAGMA journal_mode=WAL")
    values = ", ".join(f"({number}, {EACH})" for number in range(ACCOUNTS))
    for table in "ab":
        run(url, f"CREATE TABLE {table} (id INT PRIMARY KEY, v INT)", f"INSERT INTO {table} VALUES {values}")
        world.source(table, iterator="sql", options={"url": url, "table": table, "batch_rows": 10})
    world.settings["consistency_groups"] = {"bank": {"sources": ["a", "b"]}}
    with mover(url) as step, writing(step) as done:
        for _ in range(SCANS):
            wait_for(done, 5)  # Something is different each time.
            results = world.project.scan_group("bank")
            assert {result.status for result in results} <= {"committed", "unchanged"}, results
            assert [result.rows for result in results] == [ACCOUNTS, ACCOUNTS]
            assert sum(row["v"] for table in "ab" for row in world.state(table).values()) == 2 * ACCOUNTS * EACH
    assert world.project.catalog.stream().head_scn > 2 * ACCOUNTS
    world.project.scan_group("bank")
    for table in "ab":
        world.verify(table)
    for window in world.project.catalog.windows():  # Also as of each window.
        total = sum(row["v"] for table in "ab" for row in world.state(table, window.last).values())
        assert total == 2 * ACCOUNTS * EACH


def test_documents_in_a_transaction_with_snapshot(world: World, mongodb_url: str) -> None:
    for name in ("a", "b"):
        options = {"url": mongodb_url, "collection": name, "batch_rows": 20}
        world.source(name, iterator="mongodb", options=options)
    world.settings["consistency_groups"] = {"bank": {"sources": ["a", "b"]}}
    with MongoClient[dict[str, Any]](mongodb_url, retryWrites=False) as client:
        database = client.get_default_database()
        for name in ("a", "b"):
            database[name].insert_many([{"_id": number, "v": EACH} for number in range(100)])

        def step(number: int) -> None:
            with (
                client.start_session() as session,
                session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")),
            ):
                database["a"].update_one({"_id": number * 7 % 100}, {"$inc": {"v": -1}}, session=session)
                database["b"].update_one({"_id": number * 11 % 100}, {"$inc": {"v": 1}}, session=session)

        with writing(step) as done:
            for _ in range(SCANS):
                wait_for(done, 2)
                results = world.project.scan_group("bank")
                assert {result.status for result in results} <= {"committed", "unchanged"}, results
                assert total(world) == 200 * EACH
    assert world.project.catalog.stream().head_scn > 200
    for name in ("a", "b"):
        world.verify(name)


def total(world: World) -> int:
    return sum(row["document"]["v"] for name in ("a", "b") for row in _documents(world, name))


def _documents(world: World, name: str) -> Iterator[dict[str, Any]]:
    from bson import json_util

    for batch in world.project.snapshot(name).to_batches():
        for text in batch.column("document").to_pylist():
            yield {"document": json_util.loads(text)}


PAGES = '''
import psycopg
from differ.iterators import iterator


@iterator(key="id")
class pages:
    """Reads by keyset pages, each in a transaction of its own: rows that move backwards in the order are missed."""

    def __init__(self, ctx):
        self.connection = psycopg.connect(ctx.options["dsn"], autocommit=True)
        self.has_lookup = ctx.options["lookup"]
        self.between = ctx.options["between"]

    def read(self, split):
        last = -10_000
        while True:
            rows = self.connection.execute(
                "SELECT place, id, v FROM t WHERE place > %s ORDER BY place LIMIT 10", (last,)
            ).fetchall()
            if not rows:
                return
            yield [{"id": row[1], "v": row[2]} for row in rows]
            last = rows[-1][0]
            if self.between:
                self.connection.execute(self.between)
                self.between = None

    def lookup(self, keys):
        if not self.has_lookup:
            return None
        found = self.connection.execute(
            "SELECT id, v FROM t WHERE id = ANY(%s)", ([key["id"] for key in keys],)
        ).fetchall()
        return [[{"id": row[0], "v": row[1]} for row in found]]

    def close(self):
        self.connection.close()
'''


@pytest.mark.parametrize("lookup", [True, False])
def test_rows_that_move_under_a_paged_read_are_never_deleted(world: World, postgresql_url: str, lookup: bool) -> None:
    """Rows wander from the end to where the reader has been already: the scan misses them, and none was deleted."""
    rows, moved = 200, 20
    options = {"dsn": postgresql_url.replace("+psycopg", ""), "lookup": lookup, "between": ""}
    run(
        postgresql_url,
        "CREATE TABLE t (id int PRIMARY KEY, v int, place int UNIQUE)",
        f"INSERT INTO t SELECT g, g, g * 10 FROM generate_series(0, {rows - 1}) g",
    )
    world.plugin("pages", PAGES)
    world.source("t", iterator="pages", options=options)
    world.commit("t")
    for _ in range(3):
        world.source("t", options=options | {"between": f"UPDATE t SET place = id - 1000 WHERE id >= {rows - moved}"})
        missing = world.scan("t")
        assert (missing.changes, missing.waiting_deletes) == (0, 0 if lookup else moved), missing
        world.source("t", options=options)
        assert (world.scan("t").changes, world.scan("t").waiting_deletes) == (0, 0)
        run(postgresql_url, "UPDATE t SET place = id * 10")
    # Rows that the reader meets twice are an error, and nothing is committed either.
    run(postgresql_url, "UPDATE t SET place = id - 1000 WHERE id = 150")
    world.source("t", options=options | {"between": "UPDATE t SET place = id * 10"})
    twice = world.scan("t")
    assert (twice.status, twice.exit_code) == ("failed", 3)
    world.source("t", options=options)
    assert [event.op for event in world.project.events("t")] == ["insert"] * rows
    run(postgresql_url, "DELETE FROM t WHERE id = 5")
    results = [world.scan("t") for _ in range(2)]
    assert [result.deletes for result in results] == ([1, 0] if lookup else [0, 1]), results
    assert world.ops(since=rows) == [("delete", 5)]
    world.verify("t")
