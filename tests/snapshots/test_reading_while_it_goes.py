"""A snapshot that retention removes under its reader was not kept, which is no damage."""

from pathlib import Path

import pytest

from differ.cycle.place import Place
from differ.errors import CorruptionError, NotKeptError
from differ.snapshots.manifest import Manifest
from tests.cycle.world import World, numbered


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A source of which only the current snapshot is kept."""
    world = World(tmp_path)
    world.fed("orders", numbered(1, 2), snapshots={"keep": 1})
    world.commit("orders")
    return world


def test_rows_that_were_let_go_before_they_were_read(world: World) -> None:
    snapshot = world.project.snapshot("orders")
    scn = snapshot.scn
    world.commit("orders", numbered(3, 4))
    with pytest.raises(NotKeptError, match=f"read snapshot orders as of SCN {scn}: it is no longer kept"):
        snapshot.to_arrow()


def test_a_row_that_was_let_go_between_two_looks(world: World) -> None:
    snapshot = world.project.snapshot("orders")
    assert snapshot.index.rows == 2
    world.commit("orders", numbered(3, 4))
    with pytest.raises(NotKeptError):
        list(snapshot.to_batches())


def test_a_file_that_is_missing_is_damage(world: World) -> None:
    snapshot = world.project.snapshot("orders")
    for part in (world.folder / "snapshots").rglob("part-*.parquet"):
        part.unlink()
    with pytest.raises(CorruptionError, match="is missing"):
        snapshot.to_arrow()


def test_who_opens_the_current_state_while_it_moves_on_gets_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Place.manifest
    other = World(world.folder)
    moved: list[int] = []

    def moving(place: Place, entry: object) -> Manifest:
        if not moved:
            moved.append(1)
            other.settings = world.settings
            other.commit("orders", numbered(3, 4))
        return real(place, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(Place, "manifest", moving)
    assert world.project.snapshot("orders").to_arrow().column("v").to_pylist() == [3, 4]
    other.close()
