"""A SIGKILL at every step of a cycle leaves the old state or the new one, and the next scan works at once."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cycle.crashing import Crasher
from tests.cycle.world import State, World

pytestmark = pytest.mark.crash

ROWS = 60


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    """The warm process of this module."""
    with Crasher() as crasher:
        yield crasher


def shop(world: World, **settings: Any) -> None:
    world.sql(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, v TEXT NOT NULL);"
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
        "INSERT INTO orders SELECT i, 'v' || i FROM n"
    )
    world.table("orders", **settings)


CHANGE = (
    "UPDATE orders SET v = 'new' WHERE id <= 3; DELETE FROM orders WHERE id = 4; INSERT INTO orders VALUES (99, 'x')"
)


def baseline(world: World) -> str:
    shop(world)
    return "scan"


def full_base(world: World) -> str:
    shop(world)
    world.commit("orders")
    world.sql(CHANGE)
    return "scan"


def delta(world: World) -> str:
    shop(world, snapshots={"small_base": 0, "delta_share": "100%", "keep": 1})
    world.commit("orders")
    world.sql(CHANGE)
    return "scan"


def compaction(world: World) -> str:
    shop(world, snapshots={"small_base": 0, "delta_share": "0.001%", "keep": 1})
    world.commit("orders")
    world.sql("UPDATE orders SET v = 'old' WHERE id <= 9")
    world.commit("orders")
    world.sql(CHANGE)
    return "scan"


def schema_change(world: World) -> str:
    shop(world)
    world.commit("orders")
    world.sql("ALTER TABLE orders ADD COLUMN w INTEGER; UPDATE orders SET w = 7 WHERE id = 2")
    return "scan"


def hold(world: World) -> str:
    shop(world, guards={"deletes": "20%"})
    world.commit("orders")
    world.sql("DELETE FROM orders WHERE id <= 50")
    return "scan"


def approve(world: World) -> str:
    hold(world)
    assert world.scan("orders").status == "held"
    return "approve"


def reject(world: World) -> str:
    hold(world)
    assert world.scan("orders").status == "held"
    return "reject"


def look(world: World) -> tuple[int, State]:
    """The head and the state, checked against the fold of the events."""
    world.verify("orders")
    entry = world.project.catalog.source("orders")
    known = entry is not None and entry.current is not None
    return world.project.catalog.stream().head_scn, world.state("orders") if known else {}


SCENARIOS: list[Callable[[World], str]] = [
    baseline, full_base, delta, compaction, schema_change, hold, approve, reject,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_kill_at_any_point(world: World, crasher: Crasher, scenario: Callable[[World], str]) -> None:
    action = scenario(world)
    old = look(world)
    world.close()
    kept = world.folder.with_name(world.folder.name + "-kept")
    shutil.copytree(world.folder, kept)
    try:
        points = crasher.run(world.folder, action)["points"]
        new = look(world)
        final = settled(world)
        whole = world.files()
        assert points
        outcomes = set()
        for number in distinct(points):
            world.close()
            shutil.rmtree(world.folder)
            shutil.copytree(kept, world.folder)
            told = crasher.run(world.folder, action, kill_at=number)
            assert told["killed"], f"point {number} was not reached"
            where = f"killed at {number}: {points[number]}"
            found = look(world)
            assert found in (old, new), where
            outcomes.add(found == new)
            assert settled(world) == final, where
            assert shapes(world.files()) == shapes(whole), where
        assert outcomes == ({True, False} if old != new else {True})
    finally:
        shutil.rmtree(kept)


def distinct(points: list[str]) -> list[int]:
    """The numbers of the points at which the disk may look different to who comes after a killed process.

    Writes to a file are buffered until it is synced, so the last of a row of them stands for all. A sync itself changes
    nothing that another process sees (a file is flushed before it), so the point after it stands for it.
    """
    chosen = []
    for i, point in enumerate(points):
        following = points[i + 1 : i + 2]
        if not following or not (point in ("file.fsync", "folder.fsync") or [point] == following == ["file.write"]):
            chosen.append(i)
    return chosen


def settled(world: World) -> tuple[int, State]:
    """The state after the next scan, which must work at once, and after the held cycle that it may give."""
    result = world.scan("orders")
    assert result.status in ("committed", "unchanged", "held"), result
    if result.status == "held":
        world.project.approve("orders")
    return look(world)


def shapes(files: set[str]) -> list[str]:
    """The kinds of files that are there, without the numbers of cycles and the random part of their names."""
    return sorted(name.split("cycle-")[0] + name.rpartition("/")[2].rpartition("-")[2] for name in files)
