"""Retention looks at the oldest windows only, page by page, and lets the same windows go as one look at all would."""

from datetime import timedelta
from pathlib import Path

import pytest

from differ.catalog.catalog import now
from differ.config import RetentionSettings
from differ.relay import retention
from tests.cycle.world import World, numbered

WEEK = 7 * 86400
PLENTY = 10**9


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Eight windows of one event each, looked at three a page."""
    monkeypatch.setattr(retention, "PAGE_WINDOWS", 3)
    world = World(tmp_path)
    world.fed("orders")
    for value in range(8):
        world.commit("orders", numbered(value))
    return world


@pytest.mark.parametrize("kept", range(9))
def test_size_is_that_of_all_windows(world: World, kept: int) -> None:
    catalog = world.project.catalog
    size = sum(segment.file.bytes for segment in catalog.segments()[8 - kept :])
    found = retention.retain(catalog, RetentionSettings(age_seconds=WEEK, size_bytes=size), now())
    assert (found.removed, found.oldest_scn) == (8 - kept, 9 - kept)
    assert catalog.segment_bytes() == size


def test_age_lets_all_pages_go(world: World) -> None:
    catalog = world.project.catalog
    settings = RetentionSettings(age_seconds=WEEK, size_bytes=PLENTY)
    assert retention.retain(catalog, settings, now()).removed == 0
    found = retention.retain(catalog, settings, now() + timedelta(days=8))
    assert (found.removed, found.oldest_scn, catalog.windows()) == (8, 9, [])
    assert world.commit("orders", numbered(9)).scn_first == 9
