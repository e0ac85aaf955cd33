"""Totals move with the cycles they count: once each, whoever ran them, and never for what was not committed."""

import math

from differ.catalog import SourceTotals
from differ.storage import seam
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


def totals(world: World) -> SourceTotals:
    (found,) = world.project.catalog.totals()
    return found


def test_nothing_happened_yet(world: World) -> None:
    world.fed("orders")
    assert world.project.catalog.totals() == []


def test_scans_rows_events_and_bytes_add_up_over_restarts(world: World) -> None:
    world.fed("orders")
    results = [
        world.commit("orders", numbered("a", "b", "c")),
        world.commit("orders", numbered("a", "x")),
        world.commit("orders"),
    ]
    world.close()
    found = totals(world)
    assert (found.source, found.scans, found.rows) == ("orders", {"committed": 2, "unchanged": 1}, 7)
    assert found.events == {"insert": 3, "update": 1, "delete": 1}
    assert found.bytes == sum(result.bytes_written for result in results)
    assert 0 < found.seconds <= sum(result.seconds["total"] for result in results)
    assert found.within[math.inf] == 3
    assert list(found.within.values()) == sorted(found.within.values())
    entry = world.project.catalog.cycles("orders", limit=1)[0]
    assert found.succeeded_at == entry.finished_at


def test_a_failed_scan_counts_as_one_and_nothing_else(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered("a"))
    before = totals(world)
    world.give("orders", [{"id": 1, "v": "a"}, {"id": 1, "v": "b"}])
    assert world.scan("orders").status == "failed"
    found = totals(world)
    assert found.scans == {"committed": 1, "failed": 1}
    assert (found.events, found.succeeded_at) == (before.events, before.succeeded_at)


def test_a_held_scan_is_counted_once_and_its_events_when_they_are_approved(world: World) -> None:
    world.fed("orders", guards={"rows": {"min": 1}})
    world.commit("orders", numbered("a", "b"))
    assert world.scan("orders", []).status == "held"
    assert totals(world).scans == {"committed": 1, "held": 1}
    assert totals(world).events["delete"] == 0
    world.project.approve("orders")
    found = totals(world)
    assert (found.scans, found.events["delete"], found.rows) == ({"committed": 1, "held": 1}, 2, 2)


def test_a_rejected_scan_stays_counted_as_held(world: World) -> None:
    world.fed("orders", guards={"rows": {"min": 1}})
    world.commit("orders", numbered("a", "b"))
    world.scan("orders", [])
    world.project.reject("orders")
    assert totals(world).scans == {"committed": 1, "held": 1}


def test_writing_a_new_base_is_no_scan(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered("a"))
    before = totals(world)
    world.project.compact("orders")
    assert totals(world) == before


def test_events_are_the_scns_that_were_taken_also_in_groups_and_new_bases(world: World) -> None:
    world.sql("CREATE TABLE c (id INTEGER PRIMARY KEY); CREATE TABLE d (id INTEGER PRIMARY KEY)")
    world.table("c")
    world.table("d")
    world.settings["consistency_groups"] = {"cd": {"sources": ["c", "d"]}}
    world.sql("INSERT INTO c VALUES (1), (2); INSERT INTO d VALUES (1)")
    world.project.scan_group("cd")
    world.sql("DELETE FROM c WHERE id = 1")
    world.project.scan_group("cd")
    world.fed("e", numbered("x", "y"), baseline="snapshot-only")
    world.commit("e")
    world.commit("e", numbered("x", "z"))
    world.give("e", numbered("q", "z", "u"))
    world.project.rebaseline("e")
    found = {entry.source: sum(entry.events.values()) for entry in world.project.catalog.totals()}
    assert found == {"c": 3, "d": 1, "e": 1}
    assert sum(found.values()) == world.project.catalog.stream().head_scn


def test_totals_that_cannot_be_committed_are_not_moved(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered("a"))
    before = totals(world)

    def fail(point: str) -> None:
        if point == "commit.end":
            raise OSError("no")

    stop = seam.listen(fail)
    try:
        world.scan("orders", numbered("b"))
    finally:
        stop()
    found = totals(world)
    assert (found.events, found.rows) == (before.events, before.rows)
    assert found.scans == {"committed": 1, "failed": 1}
