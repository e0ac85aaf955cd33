"""Damage in the consumers' database is named by check, mended by repair, and stops nobody but whom it concerns."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from differ.catalog.groups import Groups
from differ.catalog.pins import Pins
from differ.errors import BootstrapGoneError
from tests.catalog.checkpointing import at
from tests.cycle.world import World, numbered


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A source, a consumer, a group and a pin."""
    world = World(tmp_path)
    world.fed("orders", numbered("a"))
    world.commit("orders")
    stream = world.project.catalog.stream().stream_id
    consumers = world.project.consumers
    consumers.put("good", checkpoint=at(1, stream=stream))
    consumers.put("bad", checkpoint=at(1, stream=stream))
    share = Groups(consumers).join("g", member="m")
    Groups(consumers).save("g", "m", {7: share.partitions[7]}, {7: at(1, stream=stream)})
    Pins(consumers).create(world.project.catalog, ["orders"], consumer="x", partition=None, lease_seconds=600.0)
    assert world.project.check() == []
    yield world
    world.close()


def database(world: World) -> Path:
    return world.folder / ".differ" / "consumers.db"


def damage(world: World, statement: str) -> None:
    world.close()
    with sqlite3.connect(database(world)) as raw:
        assert raw.execute(statement).rowcount == 1
    raw.close()


DAMAGED = {
    "UPDATE consumers SET scn = 2 WHERE name = 'bad'": ("consumers", "bad"),
    "UPDATE consumers SET checkpoint = 'x' || checkpoint WHERE name = 'bad'": ("consumers", "bad"),
    "UPDATE consumer_groups SET sources = '0' || sources": ("consumer_groups", "g"),
    "UPDATE consumer_partitions SET checkpoint = replace(checkpoint, '.1.', '.2.') WHERE number = 7": (
        "consumer_partitions",
        "g",
        "7",
    ),
    "UPDATE pins SET cursor = replace(cursor, '.1.', '.2.')": ("pins",),
}


@pytest.mark.parametrize("statement", list(DAMAGED))
def test_a_damaged_record_is_named_and_forgotten(world: World, statement: str) -> None:
    damage(world, statement)
    (finding,) = world.project.check()
    assert finding.part == "consumers"
    assert finding.record is not None
    assert finding.record[: len(DAMAGED[statement])] == DAMAGED[statement]
    (mending,) = world.project.plan_repair([finding])
    assert mending.possible
    world.project.repair([mending])
    assert world.project.check() == []
    assert (world.project.consumers.get("good") or pytest.fail("it is gone")).scn == 1


def test_nothing_is_let_go_while_it_cannot_be_known_who_needs_it(world: World) -> None:
    damage(world, "UPDATE pins SET cursor = 'x' || cursor")
    world.settings["relay"] = {"retention": {"size": 1}}
    world.source("orders", snapshots={"keep": 1})
    for value in range(3):
        assert world.commit("orders", numbered(value)).status == "committed"
    assert world.project.catalog.oldest_scn() == 1
    world.project.repair(world.project.plan_repair(world.project.check()))
    world.project.consumers.remove("good")
    world.project.consumers.remove("bad")
    world.project.consumers.remove("g")
    world.commit("orders", numbered("z"))
    assert world.project.catalog.oldest_scn() == 6


def test_status_tells_where_the_sources_stand_all_the_same(world: World) -> None:
    damage(world, "UPDATE consumers SET scn = 2 WHERE name = 'bad'")
    body = world.project.status()
    assert "'bad' is not what was written" in body["consumers_error"]
    assert [source["status"] for source in body["sources"]] == ["committed"]


@pytest.mark.parametrize("garbage", [b"no database at all " * 100, b""])
def test_a_database_that_is_none_is_put_away(world: World, garbage: bytes) -> None:
    pin = Pins(world.project.consumers).all()[0]
    world.close()
    database(world).write_bytes(garbage)
    found = world.project.check()
    if not garbage:  # An empty file is an empty database: all are new.
        assert (found, world.project.consumers.all()) == ([], [])
        return
    assert [(finding.part, finding.record) for finding in found] == [("consumers", None)]
    assert world.project.status()["consumers_error"]
    quarantine = world.project.repair(world.project.plan_repair(found))
    assert [path.read_bytes() for path in quarantine.iterdir()] == [garbage]
    assert world.project.check() == []
    assert world.project.consumers.all() == []
    with pytest.raises(BootstrapGoneError):
        Pins(world.project.consumers).get(pin.id)
    assert world.project.consumers.put("good").state == "new"


def test_a_torn_page_is_found(world: World) -> None:
    world.close()
    body = bytearray(database(world).read_bytes())
    for start in range(4096, len(body), 4096):
        body[start : start + 64] = b"\xff" * 64
    database(world).write_bytes(bytes(body))
    assert {finding.part for finding in world.project.check()} == {"consumers"}
