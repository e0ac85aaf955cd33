"""The whole road with the catalog in PostgreSQL."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from differ.cycle.procedure import RunOptions
from differ.errors import StorageError
from tests.cycle.world import World, numbered


@pytest.fixture
def shared(tmp_path: Path, postgresql_url: str) -> Iterator[World]:
    """A project whose catalog is in PostgreSQL."""
    world = World(tmp_path, storage={"catalog": postgresql_url})
    yield world
    world.close()


def test_the_whole_road(shared: World) -> None:
    shared.fed("orders", numbered("a", "b", "c"), guards={"rows": {"min": 2}})
    assert shared.commit("orders").inserts == 3
    assert shared.commit("orders").status == "unchanged"
    result = shared.commit("orders", numbered("a", "x", first=1))
    assert (result.updates, result.deletes) == (1, 1)
    held = shared.scan("orders", numbered("a"))
    assert held.status == "held"
    shared.project.approve("orders", cycle=held.cycle, hash=held.hash)
    assert list(shared.state("orders")) == [(1,)]
    assert shared.state("orders", 3) == {(i,): {"id": i, "v": v} for i, v in enumerate("abc", 1)}
    shared.verify("orders")
    assert shared.project.status()["head_scn"] == 6


def test_a_second_writer_is_busy_and_can_wait(shared: World) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(ctx: object) -> Iterator[list[dict[str, object]]]:
        reading.set()
        assert go_on.wait(30)
        yield numbered("a")

    shared.fed("orders")
    shared.feed("orders").splits = [slow]
    project = shared.project
    first = threading.Thread(target=lambda: results.append(project.scan("orders")))
    results: list[object] = []
    first.start()
    assert reading.wait(30)
    busy = project.scan("orders")
    assert (busy.status, busy.exit_code) == ("busy", 6)
    second = threading.Thread(target=lambda: results.append(project.scan("orders", RunOptions(wait=True))))
    second.start()
    go_on.set()
    first.join(30)
    second.join(30)
    assert [result.status for result in results] == ["committed", "unchanged"]  # type: ignore[attr-defined]


def test_sources_commit_at_once_without_disturbing_each_other(shared: World) -> None:
    names = [f"source{i}" for i in range(4)]
    for name in names:
        shared.fed(name, numbered("a", "b"))
    project = shared.project
    assert project.catalog.stream().head_scn == 0
    barrier = threading.Barrier(len(names))
    failures: list[object] = []

    def run(name: str) -> None:
        barrier.wait()
        for value in range(5):
            shared.give(name, numbered("a", f"b{value}"))
            result = project.scan(name)
            if result.status != "committed":
                failures.append(result)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert project.catalog.stream().head_scn == len(names) * (2 + 4)
    for name in names:
        shared.verify(name)


def test_an_unreachable_catalog_is_an_error_without_its_password(tmp_path: Path, postgresql_url: str) -> None:
    port = 1
    url = f"postgresql+psycopg://somebody:verysecret@127.0.0.1:{port}/nothing"
    world = World(tmp_path, storage={"catalog": url})
    world.fed("orders")
    with pytest.raises(StorageError) as caught:
        world.scan("orders")
    assert "verysecret" not in str(caught.value)


def test_a_lost_lock_does_not_hide_the_result(shared: World, postgresql_url: str) -> None:
    def disconnecting(ctx: object) -> Iterator[list[dict[str, object]]]:
        engine = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks"
                    " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                )
            )
        engine.dispose()
        yield numbered("a")

    shared.fed("orders")
    shared.feed("orders").splits = [disconnecting]
    assert shared.scan("orders").status == "committed"
    shared.verify("orders")
