"""A snapshot handed out in pages: whatever the limits and where it is resumed, each live row comes once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differ.errors import NotKeptError
from differ.formats.batch import EventBatch
from differ.formats.events import change_events
from differ.formats.partitions import Partitions
from differ.records.keytext import key_texts, partition_hashes
from differ.snapshots import pages
from differ.snapshots.pages import Pinned, RowGroups, SnapshotPages
from tests.cycle.world import DELTAS, World, numbered

PINNED = Pinned(
    stream="6f0c1b1e-55a5-4a0c-8d59-0d4a0f6a2c11",
    scn=57,
    source="orders",
    cycle=3,
    schema_id=1,
    detected_at=datetime(2026, 11, 23, tzinfo=UTC),
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A project in a fresh folder."""
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def orders(world: World) -> World:
    """300 rows in a base and two deltas, so that some locations are dead."""
    world.fed("orders", snapshots=DELTAS)
    world.commit("orders", numbered(*range(300)))
    world.commit("orders", numbered(*range(280), first=11))
    world.commit("orders", [{"id": i, "v": -i if i % 7 == 0 else i - 11} for i in range(11, 291)])
    return world


def walk(shown: SnapshotPages, limits: list[int | None], partitions: Partitions | None = None) -> list[EventBatch]:
    """All pages, as a reader sees them who asks with these limits in turn and goes on where each answer ended."""
    found: list[EventBatch] = []
    start, turn = 0, 0
    while start < shown.end:
        end = shown.after(start, limits[turn % len(limits)])
        assert start < end <= shown.end
        for page in shown.read(start, end, PINNED, partitions):
            assert len(page.batch)
            assert start < page.end <= end
            found.append(page.batch)
        start, turn = end, turn + 1
    return found


def rows(batches: list[EventBatch]) -> list[dict[str, Any]]:
    return [dict(event.after or {}) for batch in batches for event in change_events(batch)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(limits=st.lists(st.none() | st.integers(7, 400), min_size=1, max_size=5), page_rows=st.integers(3, 500))
def test_each_live_row_comes_once(orders: World, limits: list[int | None], page_rows: int) -> None:
    snapshot = orders.project.snapshot("orders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "PAGE_ROWS", page_rows)
        found = walk(SnapshotPages(snapshot, RowGroups()), limits)
    assert rows(found) == snapshot.to_arrow().to_pylist()
    assert max(map(len, found)) <= page_rows


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(count=st.integers(1, 7), limit=st.none() | st.integers(7, 400))
def test_partitions_share_the_rows_out(orders: World, count: int, limit: int | None) -> None:
    shown = SnapshotPages(orders.project.snapshot("orders"), RowGroups())
    parts = [rows(walk(shown, [limit], Partitions.parse(f"{number}/{count}"))) for number in range(count)]
    assert sorted(row["id"] for part in parts for row in part) == list(range(11, 291))


def test_a_reader_that_stopped_anywhere_goes_on_there(orders: World) -> None:
    shown = SnapshotPages(orders.project.snapshot("orders"), RowGroups())
    whole = rows(walk(shown, [None]))
    for start in range(0, shown.end + 1, 5):
        before = sum(len(page.batch) for page in shown.read(0, start, PINNED))
        assert rows([page.batch for page in shown.read(start, shown.end, PINNED)]) == whole[before:]


def test_rows_are_inserts_at_the_pinned_scn(orders: World) -> None:
    shown = SnapshotPages(orders.project.snapshot("orders"), RowGroups())
    page = next(iter(shown.read(0, shown.end, PINNED)))
    event = next(iter(change_events(page.batch)))
    assert (event.op, event.scn, event.source, event.cycle, event.baseline) == ("insert", 57, "orders", 3, True)
    assert (event.before, event.changed, event.key) == (None, (), {"id": event.after["id"] if event.after else None})
    keys = page.batch.events.column("key")
    hashes = partition_hashes(key_texts(keys, page.batch.schema.key_schema))
    assert page.batch.events.column("partition").to_pylist() == hashes.tolist()


def test_an_emptied_source_has_no_page(world: World) -> None:
    world.fed("orders", snapshots=DELTAS)
    world.commit("orders", numbered(1, 2, 3))
    world.commit("orders", [])
    shown = SnapshotPages(world.project.snapshot("orders"), RowGroups())
    assert (shown.end, shown.after(0, 10), list(shown.read(0, 0, PINNED))) == (0, 0, [])


def test_a_snapshot_that_is_gone_is_told_apart_from_damage(orders: World) -> None:
    snapshot = orders.project.snapshot("orders")
    shown = SnapshotPages(snapshot, RowGroups())
    orders.project.catalog.let_go("orders", [snapshot.manifest.cycle], [])
    for part in snapshot.manifest.parts:
        (snapshot.root / part.file.path).unlink()
    with pytest.raises(NotKeptError):
        next(iter(shown.read(0, shown.end, PINNED)))
