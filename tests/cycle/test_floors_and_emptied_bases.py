"""A new base is no way around the guards, and nobody reads across a floor unknowingly."""

import pytest

from differ.errors import NotKeptError
from tests.cycle.world import World, numbered


def test_a_new_base_of_an_emptied_source_is_held(world: World) -> None:
    world.fed("orders", guards={})
    world.commit("orders", numbered("a", "b"))
    world.give("orders", [])
    assert world.project.rebaseline("orders").status == "held"
    held = world.project.catalog.held("orders")
    assert held is not None
    assert "fewer than 1 (guards.rows.min); it had 2" in held.result["reason"]
    world.project.approve("orders")
    assert world.state("orders") == {}


def test_reading_from_below_a_floor_names_the_source(world: World) -> None:
    world.fed("orders")
    world.commit("orders", numbered("a", "b"))
    world.give("orders", numbered("a", "c"))
    assert world.project.rebaseline("orders").status == "committed"
    with pytest.raises(NotKeptError, match="orders since SCN 1: its floor is SCN 2"):
        list(world.project.events("orders", since=1))
    with pytest.raises(NotKeptError, match="orders since SCN 0"):
        list(world.project.events(since=0))
    assert list(world.project.events("orders", since=2)) == []
    assert [event.scn for event in world.project.events("orders")] == [1, 2]
