"""A source that changes a little, thousands of times, stays readable: few open files, and a new base now and then."""

import os
from pathlib import Path

import pytest

from differ.snapshots import manifest, parts
from tests.cycle.world import World, numbered

SMALL_DELTAS = {"small_base": 0, "delta_share": "100%"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A source with a base that is much larger than its deltas."""
    world = World(tmp_path)
    rows = [{"id": i, "v": os.urandom(24).hex()} for i in range(3_000)]
    world.fed("orders", rows, snapshots=SMALL_DELTAS)
    world.commit("orders")
    return world


def changed(world: World, times: int) -> None:
    rows = [dict(row) for row in world.state("orders").values()]
    for number in range(times):
        rows[number]["v"] = f"changed {number}"
        world.commit("orders", rows)


def test_a_snapshot_of_many_parts_keeps_few_files_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "OPEN_FILES", 3)
    changed(world, 12)
    snapshot = world.project.snapshot("orders")
    assert len(snapshot.manifest.parts) == 13
    before = len(os.listdir("/proc/self/fd"))
    rows = 0
    for batch in snapshot.to_batches():
        rows += batch.num_rows
        assert len(os.listdir("/proc/self/fd")) <= before + 5
    assert rows == 3_000
    world.verify("orders")


def test_deltas_end_in_a_new_base_however_small_they_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "DELTA_FILES_MAX", 6)
    changed(world, 9)
    assert max(len(world.project.snapshot("orders", scn).manifest.files) for scn in range(3_000, 3_010)) <= 9
    world.verify("orders")


def test_deletes_alone_end_in_a_new_base_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "DELTA_FILES_MAX", 4)
    for count in range(8):
        world.commit("orders", numbered(*range(2_900 - count)))
    assert len(world.project.snapshot("orders").manifest.removed) <= 4
