"""Damage and full disks: never served, never taken for emptiness, and the state of before stays whole."""

import errno
import json
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from differ.errors import CorruptionError
from differ.storage import seam
from tests.cycle.conftest import world
from tests.cycle.world import DELTAS, World, numbered

__all__ = ["world"]

MANY = numbered(*(f"v{i}" for i in range(2000)))
CHANGED = [{**row, "v": "new"} if row["id"] <= 10 else row for row in MANY[:-5]]


def flip(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0x10
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: list[Callable[[Path], Any]] = [flip, cut, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES, ids=["flip", "cut", "delete"])
@pytest.mark.parametrize("what", ["index.arrow", "manifest.json", "part-00000.parquet"])
@pytest.mark.parametrize("snapshots", [{}, DELTAS], ids=["full", "delta"])
def test_a_damaged_state_fails_the_cycle(
    world: World, what: str, damage: Callable[[Path], Any], snapshots: dict[str, Any]
) -> None:
    world.fed("orders", MANY, snapshots=snapshots)
    world.commit("orders")
    (path,) = (world.folder / "snapshots" / "orders").glob(f"*/{what}")
    whole = path.read_bytes()
    damage(path)
    world.close()
    result = world.scan("orders", CHANGED)
    assert (result.status, result.exit_code) == ("failed", 5), result
    assert path.name in (result.error or "")
    assert "differ check" in (result.hint or "")
    assert world.project.catalog.stream().head_scn == len(MANY)
    with pytest.raises(CorruptionError):
        world.state("orders")
    path.write_bytes(whole)
    result = world.commit("orders")
    assert (result.updates, result.deletes) == (10, 5)
    world.verify("orders")


@pytest.mark.parametrize("damage", DAMAGES, ids=["flip", "cut", "delete"])
def test_a_damaged_segment_is_never_served(world: World, damage: Callable[[Path], Any]) -> None:
    world.fed("orders", MANY)
    world.commit("orders")
    world.commit("orders", CHANGED)
    for path in (world.folder / ".differ" / "segments" / "orders").glob("cycle-00000001*"):
        damage(path)
    with pytest.raises(CorruptionError, match="orders"):
        list(world.project.events("orders"))
    assert len(list(world.project.events("orders", since=len(MANY)))) == 15


def test_a_damaged_held_cycle_is_not_approved(world: World) -> None:
    world.fed("orders", MANY, guards={})
    world.commit("orders")
    held = world.scan("orders", MANY[:5])
    for path in (world.folder / ".differ" / "segments" / "orders").glob("cycle-00000002*"):
        flip(path)
    with pytest.raises(CorruptionError):
        world.project.approve("orders", cycle=held.cycle, hash=held.hash)
    assert len(world.state("orders")) == len(MANY)
    world.verify("orders")


def test_a_damaged_record_of_absent_keys_fails_the_cycle(world: World) -> None:
    world.fed("orders", MANY)
    world.feed("orders").consistent = False
    world.commit("orders")
    assert world.commit("orders", MANY[1:]).waiting_deletes == 1
    (path,) = (world.folder / ".differ" / "absent" / "orders").iterdir()
    flip(path)
    result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 5)


def changed(world: World) -> str:
    """What the only cycle wrote, with another number of rows."""
    with world.project.catalog.reading() as connection:
        staged = json.loads(connection.exec_driver_sql("SELECT staged FROM cycles").scalar_one())
    staged["manifest"]["rows"] = 4
    return json.dumps(staged)


def test_a_changed_row_of_the_catalog_is_noticed(world: World) -> None:
    world.fed("orders", MANY[:3])
    world.commit("orders")
    staged = changed(world)
    with world.project.catalog.writing() as connection:  # which seals it
        connection.exec_driver_sql("UPDATE cycles SET staged = ?", (staged,))
    result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 5)


def test_a_catalog_that_another_program_changed_decides_nothing(world: World) -> None:
    world.fed("orders", MANY[:3])
    world.commit("orders")
    path = world.folder / ".differ" / "catalog.db"
    world.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE stream SET head_scn = 2")
    for ask in (lambda: world.scan("orders"), lambda: list(world.project.events()), world.project.status):
        with pytest.raises(CorruptionError, match=r"catalog\.db is not what was written"):
            ask()
    (finding,) = world.project.check()
    assert (finding.part, str(path) in finding.problem) == ("catalog", True)
    (mending,) = world.project.plan_repair([finding])
    assert (mending.possible, "backup" in mending.step) == (False, True)


def test_a_process_that_runs_long_looks_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fed("orders", MANY[:3])
    world.commit("orders")
    with closing(sqlite3.connect(world.folder / ".differ" / "catalog.db")) as connection, connection:
        connection.execute("UPDATE sources SET cycles = 0")
    monkeypatch.setattr("differ.catalog.seal.LOOK_SECONDS", -1.0)
    with pytest.raises(CorruptionError):
        world.project.catalog.set_flag("orders", paused=True)


def test_a_catalog_that_is_no_database_is_corruption(world: World) -> None:
    world.fed("orders", MANY[:3])
    path = world.folder / ".differ" / "catalog.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all, but long enough to be read as one" * 100)
    with pytest.raises(CorruptionError, match="catalog"):
        world.scan("orders")


# -- the disk --------------------------------------------------------------------------------------------------


@contextmanager
def failing_from(number: int, points: list[str]) -> Iterator[None]:
    """From the point of that number on no file can be made, written or synced: the disk is full."""

    def listener(point: str) -> None:
        points.append(point)
        full = len(points) > number
        if full and (
            point in ("file.create", "file.write", "file.fsync", "file.rename", "folder.create", "folder.fsync")
        ):
            raise OSError(errno.ENOSPC, "No space left on device")

    stop = seam.listen(listener)
    try:
        yield
    finally:
        stop()


@pytest.mark.parametrize("snapshots", [{}, DELTAS], ids=["full", "delta"])
def test_a_disk_that_is_full_from_any_write_on(world: World, snapshots: dict[str, Any]) -> None:
    world.fed("orders", MANY[:50], snapshots=snapshots)
    world.commit("orders")
    old, files = world.state("orders"), world.files()
    world.give("orders", CHANGED[:45])
    number, failed = 0, 0
    while True:
        points: list[str] = []
        with failing_from(number, points):
            result = world.scan("orders")
        if result.status == "committed":
            break
        assert (result.status, result.exit_code) == ("failed", 3), f"{result} at {points[-1]}"
        assert "No space left" in (result.error or "")
        assert "disk is full" in (result.hint or "")
        assert world.state("orders") == old
        assert world.files() == files
        failed += 1
        number = next(i for i in range(number, len(points)) if points[i].startswith(("file", "folder"))) + 1
    assert failed > 10
    assert (result.updates, result.deletes) == (10, 5)
    world.verify("orders")


@contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """No file of this process may grow past so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("memory", ["1GiB", 0], ids=["roomy", "spilling"])
@pytest.mark.parametrize("limit", [100, 60_000, 100_000])
def test_a_real_limit_of_the_system(world: World, limit: int, memory: Any) -> None:
    world.settings["executor"] = {"memory": memory}
    many = [{"id": i, "v": f"{i * 7919 % 100_003}-{i}" * 4} for i in range(4_000)]
    world.fed("orders", many[:10])
    world.commit("orders")
    old, files = world.state("orders"), world.files()
    world.give("orders", many)
    catalog = (world.folder / ".differ" / "catalog.db").stat().st_size
    with largest_file(max(limit, 2 * catalog) if limit > 100 else 2 * catalog):
        result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "File too large" in (result.error or "")
    assert "unexpected" not in (result.error or "")
    assert world.state("orders") == old
    assert world.files() == files
    assert world.commit("orders").inserts == len(many) - 10
    world.verify("orders")
