"""The relay lets go of old windows by age and size, and says so to whoever asks for them."""

from datetime import timedelta
from pathlib import Path

import pytest

import differ
from differ.catalog.catalog import now
from differ.config import RetentionSettings
from differ.errors import NotKeptError
from differ.relay.retention import expired, let_go
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


@pytest.mark.parametrize("kept", range(5))
def test_size_is_that_of_all_windows(world: World, kept: int) -> None:
    world.fed("orders")
    for value in range(4):
        world.commit("orders", numbered(value))
    catalog = world.project.catalog
    size = sum(segment.file.bytes for segment in catalog.segments()[4 - kept :])
    settings = RetentionSettings(size_bytes=size)
    if kept == 4:
        assert expired(catalog, settings, now()) is None
        return
    assert (found := expired(catalog, settings, now()))
    assert let_go(catalog, found, settings, behind=[], pinned=[]) == 4 - kept
    assert (catalog.segment_bytes(), catalog.oldest_scn()) == (size, 5 - kept)


def test_when_all_windows_went_by_age_the_stream_goes_on(world: World) -> None:
    world.fed("orders")
    for value in range(3):
        world.commit("orders", numbered(value))
    catalog, settings = world.project.catalog, RetentionSettings()
    chain = catalog.stream().chain
    assert expired(catalog, settings, now()) is None
    assert (found := expired(catalog, settings, now() + timedelta(days=8)))
    assert let_go(catalog, found, settings, behind=[], pinned=[]) == 3
    assert (catalog.oldest_scn(), catalog.windows(), catalog.standing(3).chain) == (4, [], chain)
    assert world.commit("orders", numbered(9)).scn_first == 4
    assert world.project.check() == []


def test_events_past_retention_are_refused_and_their_files_go(tmp_path: Path) -> None:
    (tmp_path / "iterators").mkdir()
    (tmp_path / "iterators" / "feed.py").write_text(
        "import json\nfrom pathlib import Path\nfrom differ.iterators import iterator\n"
        "@iterator(key='id', consistent=True)\n"
        "def feed(ctx):\n    yield json.loads((Path(ctx.project) / 'rows.json').read_text())\n"
    )
    (tmp_path / "scheduler.yaml").write_text(
        "version: 1\nsources: {feed: {iterator: feed}}\nrelay: {retention: {size: 6kB}}\n"
    )
    with differ.open(tmp_path) as project:
        for cycle in range(6):
            (tmp_path / "rows.json").write_text(f'[{{"id": 1, "v": {cycle}}}]')
            assert project.scan("feed").status == "committed"
        oldest = project.catalog.oldest_scn()
        assert 1 < oldest <= 6
        assert [event.scn for event in project.events("feed")] == list(range(oldest, 7))
        with pytest.raises(NotKeptError, match=f"oldest that is kept is SCN {oldest}"):
            list(project.events("feed", since=0))
        files = list((tmp_path / ".differ" / "segments" / "feed").iterdir())
        assert len(files) == 7 - oldest
        assert project.check(read_data=True) == []
        assert project.snapshot("feed").to_arrow()["v"].to_pylist() == [5]
