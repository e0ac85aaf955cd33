"""What a commit will refer to is on the disk before it: every file, its name, and every new folder on its way.

The system's own calls are listened to, so that a sync that is only announced counts for nothing.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from differ.storage import seam
from tests.cycle.conftest import world
from tests.cycle.world import DELTAS, World, numbered

__all__ = ["world"]

LASTING = ("snapshots", ".differ/segments", ".differ/absent", ".differ/sums")


class Synced:
    """What the calls of this process made durable. sizes: synced bytes by inode; names: entries of synced folders."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.sizes: dict[int, int] = {}
        self.names: set[Path] = set()
        self.commits = 0
        fsync = os.fsync

        def told(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_dir():
                self.names |= set(path.iterdir())
            else:
                status = os.fstat(descriptor)
                self.sizes[status.st_ino] = status.st_size

        patch.setattr(os, "fsync", told)

    def at(self, point: str) -> None:
        """At a commit all that lasts, and has its name, must be durable."""
        if point not in ("commit.begin", "hold.begin"):
            return
        self.commits += 1
        for kind in LASTING:
            top = self.root / kind
            for path in [top, *top.rglob("*")] if top.exists() else []:
                assert path in self.names, f"the name of {path} is not durable"
                if path.is_file():
                    assert self.sizes.get(path.stat().st_ino) == path.stat().st_size, f"{path} is not durable"


@pytest.fixture
def synced(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Listening from the project's beginning to its end."""
    (world.folder / "snapshots").rmdir() if (world.folder / "snapshots").exists() else None
    found = Synced(monkeypatch, world.folder)
    end = seam.listen(found.at)
    yield found
    end()
    assert found.commits


def test_a_whole_base(world: World, synced: Synced) -> None:
    world.fed("orders", numbered(*"abc"))
    world.commit("orders")
    world.commit("orders", numbered(*"xb"))


def test_a_delta_and_a_compaction(world: World, synced: Synced) -> None:
    world.fed("orders", numbered(*"abcdef"), snapshots=DELTAS)
    world.commit("orders")
    world.commit("orders", numbered(*"xbcdeg"))
    world.commit("orders", numbered(*"xbcde"))
    world.project.compact("orders")


def test_keys_that_wait(world: World, synced: Synced) -> None:
    world.fed("orders", numbered(*"abc")).consistent = False
    world.commit("orders")
    assert world.commit("orders", numbered(*"ab")).waiting_deletes == 1
    assert world.files() & {path for path in world.files() if "/absent/" in path}


def test_a_held_cycle(world: World, synced: Synced) -> None:
    world.fed("orders", numbered(*range(100)), guards={"deletes": "10%"})
    world.commit("orders")
    assert world.scan("orders", numbered(*range(50))).status == "held"
    world.project.approve("orders")


PRAGMAS: dict[str, Callable[[World], Any]] = {
    "catalog": lambda world: world.project.catalog,
    "consumers": lambda world: world.project.consumers,
}


@pytest.mark.parametrize("database", PRAGMAS)
def test_a_transaction_is_durable_when_it_returns(world: World, database: str) -> None:
    """SQLite syncs journal, database and, by EXTRA, the folder after the journal's end."""
    with PRAGMAS[database](world).writing() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
