"""Scenarios of a repair: what is damaged is put away, whole, once, and never served meanwhile."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from differ.errors import CorruptionError, NotKeptError
from differ.project import Project
from tests.cycle.world import World
from tests.faults.cycling import CHANGE, settle, shop
from tests.faults.following import followed


def damaged(world: World, path: Path) -> None:
    """Turn a bit, and remember what is to be found in the quarantine, and nowhere a second time."""
    world.close()
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0x10
    path.write_bytes(body)
    (world.folder / "damaged").write_text(hashlib.sha256(body).hexdigest())


def damaged_segment(world: World) -> None:
    shop(world)
    world.commit("orders")
    world.sql(CHANGE)
    world.commit("orders")
    (path,) = (world.folder / ".differ" / "segments" / "orders").glob("cycle-00000002-*-updates.arrow")
    damaged(world, path)


def damaged_snapshot(world: World) -> None:
    shop(world)
    world.commit("orders")
    (path,) = (world.folder / "snapshots" / "orders").glob("*/part-00000.parquet")
    damaged(world, path)


def damaged_consumers(world: World) -> None:
    """The whole database; it is put away."""
    followed(world)
    world.close()
    path = world.folder / ".differ" / "consumers.db"
    body = bytearray(path.read_bytes())
    body[:100] = bytes(100)
    path.write_bytes(body)
    (world.folder / "damaged").write_text(hashlib.sha256(body).hexdigest())


def repair(project: Project) -> None:
    findings = project.check(read_data=True)
    if findings:
        project.repair(project.plan_repair(findings))


def repair_again(project: Project) -> None:
    repair(project)
    settle(project)


def look_at_damage(world: World) -> Any:
    """Whether anything is still referred to that is damaged. It is never served, and never lost."""
    digest = (world.folder / "damaged").read_text()
    lying = [
        path for path in world.folder.rglob("*") if path.is_file() and path.suffix in (".arrow", ".parquet", ".db")
    ]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in lying].count(digest) == 1
    findings = world.project.check(read_data=True)
    if not findings:
        return "mended"
    for finding in findings:
        if finding.part == "segment":
            refused(lambda: list(world.project.events("orders")))
        if finding.part == "snapshot":
            refused(lambda: world.state("orders"))
    return "damaged"


def refused(read: Callable[[], Any]) -> None:
    try:
        read()
    except (CorruptionError, NotKeptError):
        return
    raise AssertionError("what is damaged was served")
