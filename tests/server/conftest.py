"""A project in a fresh folder, and relays that serve it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cycle.conftest import world
from tests.cycle.world import World
from tests.server.relay import Relay

__all__ = ["relay", "serve", "world"]


@pytest.fixture
def serve(world: World) -> Iterator[Callable[..., Relay]]:
    """Start a relay of the world's project as it is configured now; all are stopped at the end."""
    relays: list[Relay] = []

    def start(**services: Any) -> Relay:
        relays.append(Relay(world.project, **services))
        return relays[-1].start()

    yield start
    for found in relays:
        found.stop()


@pytest.fixture
def relay(serve: Callable[..., Relay]) -> Relay:
    """A relay of the world's project as it was configured before the first use."""
    return serve()
