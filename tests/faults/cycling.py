"""Scenarios of cycles, of what a person does to a held one, of retention and of care; and what must always hold."""

import shutil
from typing import Any

from differ.errors import NotKeptError, StorageError
from differ.project import Project
from tests.cycle.world import World, apply

ROWS = 60
DELTAS = {"small_base": 0, "delta_share": "100%", "keep": 1}
CHANGE = (
    "UPDATE orders SET v = 'new' WHERE id <= 3; DELETE FROM orders WHERE id = 4; INSERT INTO orders VALUES (99, 'x')"
)


def shop(world: World, **settings: Any) -> None:
    """A table of the shop, and a source that reads it."""
    world.sql(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, v TEXT NOT NULL);"
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
        "INSERT INTO orders SELECT i, 'v' || i FROM n"
    )
    world.table("orders", **settings)


def scan(project: Project) -> None:
    """One cycle, which must not fail: it is the first word after a crash."""
    result = project.scan("orders")
    if result.status == "failed":
        raise StorageError(result.error or "", hint=result.hint)
    assert result.status in ("committed", "unchanged", "held"), result


def settle(project: Project) -> None:
    """The next scan, and the approval of what a guard holds."""
    scan(project)
    if project.catalog.held("orders") is not None:
        project.approve("orders")


def look(world: World) -> Any:
    """Head and state: nothing that is referred to is damaged, and the events that are kept tell how the state came."""
    project = world.project
    assert project.check(read_data=True) == []
    head, oldest = project.catalog.stream().head_scn, project.catalog.oldest_scn()
    batches = list(project.event_batches())
    assert [scn for batch in batches for scn in batch.scns] == list(range(oldest, head + 1))
    entry = project.catalog.source("orders")
    if entry is None or entry.current is None:
        assert world.fold("orders") == {}
        return head, {}
    state = world.state("orders")
    try:
        fold = {} if oldest == 1 else world.state("orders", as_of=oldest - 1)
    except NotKeptError:
        return head, state
    for batch in batches:
        apply(fold, batch)
    names = project.snapshot("orders").schema.names
    assert {key: {name: row.get(name) for name in names} for key, row in fold.items()} == state
    return head, state


def full_base(world: World) -> None:
    shop(world)
    world.commit("orders")
    world.sql(CHANGE)


def delta(world: World) -> None:
    shop(world, snapshots=DELTAS)
    world.commit("orders")
    world.sql(CHANGE)


def compaction(world: World) -> None:
    """Deltas that have grown past their share: the next cycle writes a new base."""
    shop(world, snapshots=DELTAS | {"delta_share": "0.001%"})
    world.commit("orders")
    world.sql("UPDATE orders SET v = 'old' WHERE id <= 9")
    world.commit("orders")
    world.sql(CHANGE)


def compact(world: World) -> None:
    """`differ compact`, on a base with deltas."""
    delta(world)
    world.commit("orders")


def schema_change(world: World) -> None:
    shop(world)
    world.commit("orders")
    world.sql("ALTER TABLE orders ADD COLUMN w INTEGER; UPDATE orders SET w = 7 WHERE id = 2")


def hold(world: World) -> None:
    shop(world, guards={"deletes": "20%"})
    world.commit("orders")
    world.sql("DELETE FROM orders WHERE id <= 50")


def held(world: World) -> None:
    hold(world)
    assert world.scan("orders").status == "held"


def retention(world: World) -> None:
    """The next scan lets go of windows by size, and of a snapshot."""
    shop(world, snapshots={"keep": 2})
    for value in "abc":
        world.sql(f"UPDATE orders SET v = '{value}' WHERE id <= 3")
        world.commit("orders")
    world.settings["relay"] = {"retention": {"size": "6kB"}}
    world.source("orders", snapshots={"keep": 1})
    world.sql(CHANGE)


def litter(world: World) -> None:
    """Files that nothing refers to, as a killed cycle leaves them."""
    delta(world)
    world.commit("orders")
    (folder,) = (
        path for path in (world.folder / "snapshots" / "orders").iterdir() if (path / "removed-00000.parquet").exists()
    )
    name = f"cycle-00000009-{folder.name.split('-')[2]}-beef"
    shutil.copytree(folder, folder.with_name(name))
    for path in (world.folder / ".differ" / "segments" / "orders").glob("cycle-00000002-*"):
        shutil.copy(path, path.with_name(f"{name}-{path.name.rpartition('-')[2]}"))


def compact_again(project: Project) -> None:
    project.compact("orders")
    settle(project)


def gc_again(project: Project) -> None:
    project.gc()
    settle(project)
