"""Retention in one process beside bootstraps and readers in others: they exclude each other, or hear of it."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from differ.catalog.pins import Pin, Pins
from differ.errors import NotKeptError
from tests.canary import with_canary
from tests.cycle.world import World
from tests.relay.retiring import Retiring

TINY = {"retention": {"size": 1, "age": "7d"}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two sources on tables, of which nothing but the newest state is kept: no event, one snapshot."""
    world = World(tmp_path, relay=TINY)
    world.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, v); CREATE TABLE others (id INTEGER PRIMARY KEY, v)")
    for source in ("orders", "others"):
        world.table(source, snapshots={"keep": 1, "small_base": 0, "delta_share": "100%"})
    for number in range(3):
        change(world, "orders", number)
        change(world, "others", number)
    return world


def change(world: World, source: str, number: int) -> None:
    world.sql(f"INSERT INTO {source} VALUES ({number}, 'v'); UPDATE {source} SET v = v || '{number}'")
    world.commit(source)


def pin(world: World, sources: Sequence[str] = ("orders", "others")) -> Pin:
    """As a bootstrap of these sources makes one."""
    place = world.project.place
    return Pins(place.consumers).create(place.catalog, sources, consumer="c", partition=None, lease_seconds=600.0)


def pinned_rows(world: World, found: Pin) -> dict[str, list[tuple[int, str]]]:
    """What the bootstrap reads."""
    rows = {}
    for source in found.sources:
        snapshot = world.project.snapshot(source, as_of=found.scn)
        rows[source] = sorted((row["id"], row["v"]) for batch in snapshot.to_batches() for row in batch.to_pylist())
    return rows


def check_pin(world: World, found: Pin, rows: dict[str, list[tuple[int, str]]]) -> None:
    """Its snapshots are what they were, and every event after it can be read."""
    assert pinned_rows(world, found) == rows
    head = world.project.catalog.stream().head_scn
    scns = [event.scn for event in world.project.events(since=found.scn)]
    assert scns == list(range(found.scn + 1, head + 1))
    assert world.project.check(read_data=True) == []


def test_what_a_pin_names_stays_however_much_is_committed_after_it(world: World) -> None:
    found = pin(world)
    rows = pinned_rows(world, found)
    for number in range(3, 7):
        change(world, "orders", number)
        change(world, "others", number)
    check_pin(world, found, rows)
    assert Pins(world.project.consumers).remove(found.id)
    change(world, "orders", 9)
    with pytest.raises(NotKeptError):
        world.project.snapshot("orders", as_of=found.scn)
    with pytest.raises(NotKeptError):
        list(world.project.events(since=found.scn))


def test_a_pin_that_is_made_while_another_process_plans_to_retire_is_respected(world: World) -> None:
    world.sql("INSERT INTO orders VALUES (100, 'child')")
    pin(world)  # so that there is a database of consumers to lock
    with Retiring(world.folder, "orders", "retire.planned") as child:
        child.wait()
        found = pin(world)
        rows = pinned_rows(world, found)
        assert (100, "child") in rows["orders"]
        change(world, "others", 50)
        assert child.go_on() == "committed"
    change(world, "orders", 101)
    check_pin(world, found, rows)


def test_the_first_pin_ever_is_respected_by_who_saw_no_database_to_lock(world: World) -> None:
    world.sql("INSERT INTO orders VALUES (100, 'child')")
    with Retiring(world.folder, "orders", "retire.planned") as child:
        child.wait()
        assert not world.project.consumers.exists()
        found = pin(world)
        rows = pinned_rows(world, found)
        change(world, "others", 50)
        assert child.go_on() == "committed"
    check_pin(world, found, rows)


def test_a_pin_waits_for_who_is_letting_go(world: World) -> None:
    world.sql("INSERT INTO orders VALUES (100, 'child')")
    assert Pins(world.project.consumers).remove(pin(world).id)
    made: list[Pin] = []
    with Retiring(world.folder, "orders", "retire.claimed") as child:
        child.wait()
        project = world.project
        waiting = threading.Thread(
            target=lambda: made.append(
                Pins(project.consumers).create(
                    project.catalog, ["orders"], consumer="c", partition=None, lease_seconds=600.0
                )
            )
        )
        waiting.start()
        waiting.join(0.5)
        assert not made
        assert child.go_on() == "committed"
        waiting.join(60)
    check_pin(world, made[0], pinned_rows(world, made[0]))


def test_a_killed_process_leaves_no_lock(world: World) -> None:
    world.sql("INSERT INTO orders VALUES (100, 'child')")
    pin(world)
    with Retiring(world.folder, "orders", "retire.claimed") as child:
        child.wait()
    found = pin(world)
    rows = pinned_rows(world, found)
    change(world, "orders", 101)
    check_pin(world, found, rows)


def test_no_database_is_made_where_nobody_ever_followed(world: World) -> None:
    assert not (world.folder / ".differ" / "consumers.db").exists()
    assert world.project.status()["consumers"] == []
    assert world.project.check() == []
    assert not (world.folder / ".differ" / "consumers.db").exists()


def test_what_is_mapped_stays_readable_and_who_comes_too_late_hears_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, v); INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    world.table("orders")
    world.commit("orders")
    change(world, "orders", 4)
    events = world.project.events("orders")
    assert next(events).scn == 1
    reader = world.project
    world.settings["relay"] = TINY
    (tmp_path / "scheduler.yaml").write_text(yaml.safe_dump(with_canary(world.settings)))
    world.sql("INSERT INTO orders VALUES (9, 'z')")
    with Retiring(tmp_path, "orders") as child:
        assert child.go_on() == "committed"
    assert not list((tmp_path / ".differ" / "segments" / "orders").iterdir())
    assert [next(events).scn, next(events).scn] == [2, 3]
    with pytest.raises(NotKeptError, match="retention overtook the reader"):
        next(events)
    with pytest.raises(NotKeptError):
        reader.events("orders", since=1)
