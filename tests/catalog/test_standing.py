"""What a cursor is checked against: the chain at every SCN that is kept, the boundary, and floors with numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from differ.catalog import Catalog, Floor
from differ.catalog.catalog import GENESIS
from differ.catalog.pins import Pins
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered
from tests.relay.timeline import Made, timeline

__all__ = ["world"]


def test_every_scn_has_the_chain_of_its_window() -> None:
    with timeline([Made(3, 0, 1), Made(1, 0, 1), Made(2, 0, 1)]) as catalog:
        windows = catalog.windows()
        chains = [windows[0].chain] * 3 + [windows[1].chain] + [windows[2].chain] * 2
        assert [catalog.standing(scn).chain for scn in range(8)] == [GENESIS, *chains, None]
        assert [(w.first if (w := catalog.standing(scn).window) else None) for scn in range(8)] == [
            None, 1, 1, 1, 4, 5, 5, None,
        ]  # fmt: skip


@pytest.mark.parametrize("last", [0, 2, 3, 4, 6, 9])
def test_the_boundary_of_what_went_can_still_be_verified(last: int) -> None:
    with timeline([Made(3, 0, 1), Made(1, 0, 1), Made(2, 0, 1)]) as catalog:
        before = [catalog.standing(scn).chain for scn in range(8)]
        catalog.let_windows_go(last)
        after = max(end for end in (0, 3, 4, 6) if end <= last)
        assert catalog.stream().kept_after_scn == after
        assert catalog.oldest_scn() == after + 1
        assert [catalog.standing(scn).chain for scn in range(8)] == [None] * after + before[after:]
        assert catalog.let_windows_go(last) == 0


def rebaseline(world: World) -> None:
    assert world.project.rebaseline("orders").status == "committed"


def lose(world: World) -> None:
    world.project.catalog.lose_segment(world.project.catalog.segments(sources=["orders"])[-1])


@pytest.mark.parametrize("raise_it", [rebaseline, lose])
def test_a_floor_that_is_raised_has_a_new_number(world: World, raise_it: Callable[[World], None]) -> None:
    world.fed("orders")
    world.commit("orders", numbered("a", "b"))
    catalog = world.project.catalog
    assert (catalog.stream().floors, catalog.standing(2).floors) == (0, {})
    raise_it(world)
    number = catalog.stream().floors
    assert number > 0
    standing = catalog.standing(2)
    assert standing.floors == {"orders": Floor(scn=2, number=number)}
    assert list(standing.crossed([])) == []
    assert list(standing.crossed([], floors=0)) == ["orders"], "the SCN is the floor, and the cursor is from before it"
    assert list(standing.crossed(["orders"], floors=number)) == []
    assert list(standing.crossed(["others"], floors=0)) == []
    assert list(catalog.standing(1).crossed([], floors=number)) == ["orders"]


def test_two_new_bases_at_one_scn_are_two_floors(world: World) -> None:
    world.fed("orders", numbered("a"), baseline="snapshot-only")
    world.commit("orders")
    first = world.project.catalog.stream().floors
    world.project.rebaseline("orders")
    catalog = world.project.catalog
    second = catalog.stream().floors
    assert (catalog.stream().head_scn, 0 < first < second) == (0, True)
    assert catalog.standing(0).floors == {"orders": Floor(scn=0, number=second)}
    assert list(catalog.standing(0).crossed([], floors=first)) == ["orders"]


def test_losing_a_segment_below_the_floor_raises_nothing(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered("a"))
    world.commit("orders", numbered("b"))
    first, second = world.project.catalog.segments()
    world.project.catalog.lose_segment(second)
    number = world.project.catalog.stream().floors
    world.project.catalog.lose_segment(first)
    assert world.project.catalog.standing(2).floors == {"orders": Floor(scn=2, number=number)}


@pytest.mark.parametrize(("scn", "sources", "events"), [
    (0, (), 6), (2, (), 4), (4, (), 2), (6, (), 0), (0, ("a",), 5), (4, ("b",), 0), (3, ("b",), 1), (0, ("c",), 0),
])  # fmt: skip
def test_how_far_behind(scn: int, sources: tuple[str, ...], events: int) -> None:
    with timeline([Made(3, 3, 1, "a"), Made(1, 2, 1, "b"), Made(2, 1, 1, "a")]) as catalog:
        behind = catalog.behind(scn, sources)
        assert behind.events == events
        assert (behind.since is None) == (events == 0)
        if events:
            waiting = [w for w in catalog.windows(scn) if catalog.segments(scn, w.last, sources=sources)]
            assert behind.since == waiting[0].committed_at


@pytest.mark.service
def test_retention_and_pins_with_the_catalog_in_postgresql(tmp_path: Path, postgresql_url: str) -> None:
    world = World(tmp_path, storage={"catalog": postgresql_url}, relay={"retention": {"size": 1}})
    world.fed("orders", snapshots={"keep": 1})
    world.commit("orders", numbered("a"))
    assert world.project.catalog.oldest_scn() == 2
    assert not world.project.consumers.exists()
    consumers, catalog = world.project.consumers, world.project.catalog
    found = Pins(consumers).create(catalog, ["orders"], consumer="c", partition=None, lease_seconds=600.0)
    for value in "bcd":
        world.commit("orders", numbered(value))
    assert catalog.oldest_scn() == 2
    assert world.state("orders", found.scn) == {(1,): {"id": 1, "v": "a"}}
    assert Pins(consumers).remove(found.id)
    world.commit("orders", numbered("e"))
    assert (catalog.oldest_scn(), Catalog(postgresql_url).standing(5).chain) == (6, catalog.stream().chain)
    assert world.project.check(read_data=True) == []
    world.close()
