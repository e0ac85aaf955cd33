"""Whoever lost a source commits nothing, also where the state looks just as when it began."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import update

from differ.catalog import tables
from differ.errors import BusyError
from differ.storage import seam
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


@contextmanager
def at(point: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something once, when a point is passed."""
    waiting = [act]

    def listener(passed: str) -> None:
        if passed == point and waiting:
            waiting.pop()()

    end = seam.listen(listener)
    try:
        yield
    finally:
        end()


def unchanged(world: World) -> None:
    """The first state again; a cycle was committed, and another one is under way."""
    assert world.project.catalog.stream().head_scn == 2
    assert world.state("orders") == {(1,): {"id": 1, "v": "a"}, (2,): {"id": 2, "v": "b"}}
    world.verify("orders")


def test_a_writer_whose_source_was_taken_over_without_a_change(world: World) -> None:
    """Another process begins while this one is frozen, and finds nothing new: only the epoch tells."""
    world.fed("orders", numbered("a", "b"))
    world.commit("orders")
    with at("cycle.staged", lambda: world.project.catalog.begin_cycle("orders", "another")):
        result = world.scan("orders", numbered("stale", "b"))
    assert (result.status, result.exit_code) == ("busy", 6)
    unchanged(world)


def test_a_held_cycle_whose_source_was_taken_over(world: World) -> None:
    world.fed("orders", numbered("a", "b"), guards={"updates": 0})
    world.commit("orders")
    assert world.scan("orders", numbered("stale", "b")).status == "held"
    with (
        at("commit.begin", lambda: world.project.catalog.take_epoch("orders")),
        pytest.raises(BusyError, match="took the source over"),
    ):
        world.project.approve("orders")
    unchanged(world)


def test_a_cycle_that_was_compared_with_another_state(world: World) -> None:
    """No way leads there, and the commit asks all the same."""
    world.fed("orders", numbered("a", "b"), snapshots={"keep": 9})
    world.commit("orders")
    world.commit("orders", numbered("c", "b"))
    table = tables.sources

    def go_back() -> None:
        with world.project.catalog.writing() as connection:
            connection.execute(update(table).where(table.c.name == "orders").values(current=1))

    head = world.project.catalog.stream().head_scn
    with at("cycle.staged", go_back):
        result = world.scan("orders", numbered("c", "d"))
    assert (result.status, result.exit_code) == ("failed", 4)
    assert "compared with cycle 2" in (result.error or "")
    assert world.project.catalog.stream().head_scn == head
