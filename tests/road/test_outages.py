"""A store that dies, hangs or hangs up in mid-scan: nothing is committed, and the next scan tells the truth."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo import MongoClient

from differ.cycle.procedure import Progress, RunOptions
from differ.model import CycleResult
from tests.cycle.world import World
from tests.iterators.sql.scanning import run
from tests.road.proxy import Proxy
from tests.servers import MariaDB, PostgreSQL, Server

ROWS = 2000
TEXT = "x" * 10_000
"""Twenty megabytes are more than sockets and drivers hold, so that the server is needed to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A server with a table or collection `things` of ROWS rows; `change` updates 1, deletes 2, inserts 9999."""

    server: Server
    url: str
    options: dict[str, Any]
    key: Callable[[int], Any]
    change: Callable[[], None]
    hang_up: Callable[[], None]


def sql_store(request: pytest.FixtureRequest, name: str, end: str) -> Store:
    server, url = request.getfixturevalue(name), request.getfixturevalue(f"{name}_url")
    series = {"postgresql": "generate_series(1, {0}) AS g(id)", "mariadb": "(SELECT seq AS id FROM seq_1_to_{0}) AS g"}
    run(
        url,
        "CREATE TABLE things (id INT PRIMARY KEY, v INT, t VARCHAR(10000))",
        f"INSERT INTO things SELECT id, id, '{TEXT}' FROM {series[name].format(ROWS)}",
    )
    database = sa.make_url(url).database

    def hang_up() -> None:
        engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(end.format(database=database)).fetchall()
        engine.dispose()

    def kill_connections() -> None:
        engine = sa.create_engine(server.url(), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            listed = f"SELECT id FROM information_schema.processlist WHERE db = '{database}'"
            for (thread,) in connection.exec_driver_sql(listed).fetchall():
                connection.exec_driver_sql(f"KILL CONNECTION {thread}")
        engine.dispose()

    return Store(
        server=server,
        url=url,
        options={"iterator": "sql", "options": {"url": url, "table": "things", "batch_rows": 50}},
        key=lambda id_: id_,
        change=lambda: run(
            url,
            "UPDATE things SET v = -1 WHERE id = 1",
            "DELETE FROM things WHERE id = 2",
            "INSERT INTO things VALUES (9999, 1, '')",
        ),
        hang_up=hang_up if end else kill_connections,
    )


def document_store(request: pytest.FixtureRequest) -> Store:
    server, url = request.getfixturevalue("mongodb"), request.getfixturevalue("mongodb_url")
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database()["things"].insert_many(
            [{"_id": number, "v": number, "t": TEXT} for number in range(1, ROWS + 1)]
        )

    def change() -> None:
        with MongoClient[dict[str, Any]](url, retryWrites=False) as client:
            things = client.get_default_database()["things"]
            things.update_one({"_id": 1}, {"$set": {"v": -1}})
            things.delete_one({"_id": 2})
            things.insert_one({"_id": 9999})

    options = {"url": f"{url}?serverSelectionTimeoutMS=1000", "collection": "things", "batch_rows": 50}
    return Store(
        server=server,
        url=url,
        options={"iterator": "mongodb", "options": options},
        key=lambda id_: id_,
        change=change,
        hang_up=lambda: None,
    )


TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"


@pytest.fixture(params=["postgresql", "mariadb", "mongodb"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "mongodb":
        yield document_store(request)
    else:
        yield sql_store(request, request.param, TERMINATE if request.param == "postgresql" else "")


def scan_while(world: World, outage: Callable[[], None]) -> CycleResult:
    """A scan in the middle of which something happens."""
    once = itertools.count()

    def progress(seen: Progress) -> None:
        if seen.phase == "scan" and seen.rows >= 100 and next(once) == 0:
            assert seen.rows < ROWS / 2
            outage()

    result = world.project.scan("things", RunOptions(on_progress=progress))
    assert next(once) > 0
    return result


def assert_nothing_happened(world: World, result: CycleResult, before: set[str]) -> None:
    assert (result.status, result.exit_code) == ("failed", 3), result
    assert result.error
    assert result.error.startswith("scan things: ")
    assert "\n" not in result.error
    assert len(result.error) < 700
    assert ": unexpected" not in result.error
    assert result.hint
    assert world.project.catalog.stream().head_scn == ROWS
    assert world.files() == before


def assert_next_scan_is_exact(world: World, store: Store) -> None:
    store.change()
    result = world.scan("things")
    assert (result.status, result.inserts, result.updates, result.deletes) == ("committed", 1, 1, 1), result
    found = {(op, int(key)) for op, key in world.ops("things", since=ROWS)}
    assert found == {("delete", 2), ("update", 1), ("insert", 9999)}
    assert world.scan("things").status == "unchanged"
    world.verify("things")


@pytest.mark.crash
@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_a_server_that_goes_away_in_mid_scan(
    world: World, store: Store, outage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("differ.cycle.procedure.CLOSE_SECONDS", 0.2)  # How long a frozen server is waited for.
    world.source("things", **store.options)
    world.commit("things")
    before = world.files()
    if outage == "killed":
        result = scan_while(world, store.server.kill)
        assert_nothing_happened(world, result, before)
        world.source("things", options=store.options["options"])
        down = world.scan("things")
        assert_nothing_happened(world, down, before)
        store.server.start()
    else:
        world.source("things", timeout="1500ms")
        result = scan_while(world, store.server.freeze)
        store.server.thaw()
        assert_nothing_happened(world, result, before)
        assert "timeout" in (result.error or "") + (result.hint or "")
        world.drop("things", "timeout")
    assert_next_scan_is_exact(world, store)


@pytest.mark.parametrize("outage", ["hung up", "cut"])
def test_a_connection_that_ends_in_mid_scan(world: World, store: Store, outage: str) -> None:
    world.source("things", **store.options)
    world.commit("things")
    before = world.files()
    if outage == "hung up":
        if not isinstance(store.server, PostgreSQL | MariaDB):
            return
        result = scan_while(world, store.hang_up)
    else:
        with Proxy(store.server.port) as wire:
            url = store.url.replace(f":{store.server.port}/", f":{wire.port}/")
            if store.options["iterator"] == "mongodb":
                url += "?directConnection=true&serverSelectionTimeoutMS=1000"
            world.source("things", options=store.options["options"] | {"url": url})
            result = scan_while(world, wire.cut)
            world.source("things", options=store.options["options"])
        if store.options["iterator"] == "mongodb" and result.status == "unchanged":
            # After a second's pause the driver looks at its connection, and asks for the next batch on a new one.
            assert result.rows == ROWS
            assert world.files() == before
            return
    assert_nothing_happened(world, result, before)
    assert_next_scan_is_exact(world, store)
