"""A project in a fresh folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cycle.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A project in a fresh folder."""
    world = World(tmp_path)
    yield world
    world.close()
