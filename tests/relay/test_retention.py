"""The relay lets go of old windows by age and size, and says so to whoever asks for them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import differ
from differ.catalog import SegmentEntry, WindowEntry
from differ.config import RetentionSettings
from differ.errors import NotKeptError
from differ.relay.retention import expired
from differ.storage import StoredFile

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def window(first: int, count: int, days: float) -> WindowEntry:
    moment = NOW - timedelta(days=days)
    return WindowEntry(first=first, last=first + count - 1, commit_id="c", committed_at=moment, chain="")


def segment(of: WindowEntry, size: int) -> SegmentEntry:
    return SegmentEntry(
        first_scn=of.first,
        window_first=of.first,
        source="orders",
        cycle=1,
        count=of.last - of.first + 1,
        schema_id=1,
        before_schema_id=1,
        baseline=False,
        seen_unchanged_at=None,
        detected_at=of.committed_at,
        file=StoredFile(path="p", bytes=size, hash="", rows=1),
    )


@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 20), st.integers(0, 100)), max_size=8),
    st.integers(0, 10),
    st.integers(0, 300),
)
def test_what_is_kept_is_a_suffix_within_the_limits(shapes: list[tuple[int, float, int]], days: int, size: int) -> None:
    windows: list[WindowEntry] = []
    segments: list[SegmentEntry] = []
    ages = sorted((age for _, age, _ in shapes), reverse=True)
    for (count, _, weight), age in zip(shapes, ages, strict=True):
        windows.append(window(windows[-1].last + 1 if windows else 1, count, age))
        segments.append(segment(windows[-1], weight))
    settings = RetentionSettings(age_seconds=days * 86400, size_bytes=size)
    last = expired(windows, segments, settings, NOW) or 0
    kept = [w for w in windows if w.last > last]
    sizes = {s.window_first: s.file.bytes for s in segments}
    assert all(w.first > last for w in kept)  # whole windows
    assert all(NOW - w.committed_at <= timedelta(days=days) for w in kept)
    assert sum(sizes[w.first] for w in kept) <= size
    gone = [w for w in windows if w.last <= last]
    if gone:  # the last one that went had to go
        too_old = NOW - gone[-1].committed_at > timedelta(days=days)
        assert too_old or sum(sizes[w.first] for w in [*kept, gone[-1]]) > size


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
