"""A project, and relays that serve it on real ports."""

import pytest

from tests.cycle.conftest import world
from tests.cycle.world import World, numbered
from tests.server.conftest import relay, serve

__all__ = ["relay", "serve", "world"]


@pytest.fixture
def shop(world: World) -> World:
    """Two sources, three windows: orders 1..3, customers 4..5, orders 6..8 (delete, update, insert)."""
    world.fed("orders")
    world.fed("customers")
    world.commit("orders", numbered("a", "b", "c"))
    world.commit("customers", numbered("x", "y"))
    world.commit("orders", [{"id": 1, "v": "a"}, {"id": 2, "v": "B"}, {"id": 4, "v": "d"}])
    return world
