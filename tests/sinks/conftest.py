"""A project with a relay on a real port, and sinks that follow it."""

from collections.abc import Callable, Iterator

import pytest

from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.server.conftest import serve
from tests.server.relay import Relay
from tests.sinks.rig import Rig

__all__ = ["rig", "serve", "world"]


@pytest.fixture
def rig(world: World, serve: Callable[..., Relay]) -> Iterator[Rig]:
    """A relay of the world's project, which has one source `orders`, and what runs sinks."""
    world.fed("orders")
    made = Rig(world, serve)
    yield made
    made.close()
