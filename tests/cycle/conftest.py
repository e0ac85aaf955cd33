"""A project in a fresh folder."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canary import check_folder
from tests.cycle.world import World

IN_MEMORY = Path("/dev/shm")
"""Thousands of cycles run here; what a disk's fsync costs is not what they ask."""


@pytest.fixture
def world() -> Iterator[World]:
    """A project in a fresh folder."""
    folder = Path(tempfile.mkdtemp(prefix="differ-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    world = World(folder)
    yield world
    world.close()
    check_folder(folder)
    shutil.rmtree(folder)
