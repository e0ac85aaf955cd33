"""The commit is the point of no return: what fails after it never takes back what it made visible."""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from differ.cycle.procedure import RunOptions
from differ.errors import InterruptedScanError
from differ.storage import seam
from tests.cycle.world import World, numbered


@contextmanager
def failing_at(point: str, make: Callable[[], BaseException]) -> Iterator[None]:
    """Raise at the first passage of a point; what is no interrupt is raised at all that follow, too, but for those
    where it is the database that would raise, an error of its own."""
    passed = threading.Event()

    def listener(name: str) -> None:
        databases = name.startswith(("catalog.", "consumers."))
        again = passed.is_set() and make is not KeyboardInterrupt and not databases
        if name == point:
            passed.set()
        if name == point or again:
            raise make()

    stop = seam.listen(listener)
    try:
        yield
    finally:
        stop()
    assert passed.is_set(), f"{point} was never reached"


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_a_failure_after_the_commit_leaves_the_new_state(world: World) -> None:
    world.fed("orders", numbered("a", "b"))
    world.commit("orders")
    world.give("orders", numbered("a", "c"))
    with failing_at("commit.done", disk_full):
        result = world.scan("orders")
    assert (result.status, result.updates, result.scn_last) == ("committed", 1, 3)
    assert world.state("orders")[2,] == {"id": 2, "v": "c"}
    world.verify("orders")
    assert world.scan("orders").status == "unchanged"


def test_ctrl_c_just_after_the_commit_leaves_the_new_state(world: World) -> None:
    world.fed("orders", numbered("a", "b"))
    with failing_at("commit.done", KeyboardInterrupt), pytest.raises(InterruptedScanError):
        world.scan("orders")
    assert len(world.state("orders")) == 2
    world.verify("orders")
    assert world.project.catalog.cycle("orders", 1).status == "committed"
    assert world.scan("orders").status == "unchanged"


@pytest.mark.parametrize("make", [disk_full, KeyboardInterrupt])
def test_a_failure_just_before_the_commit_leaves_the_old_state(world: World, make: Callable[[], BaseException]) -> None:
    world.fed("orders", numbered("a", "b"))
    world.commit("orders")
    world.give("orders", numbered("a", "c"))
    with failing_at("commit.end", make):
        if make is KeyboardInterrupt:
            with pytest.raises(InterruptedScanError):
                world.scan("orders")
        else:
            assert world.scan("orders").status == "failed"
    assert world.state("orders")[2,] == {"id": 2, "v": "b"}
    assert world.commit("orders").updates == 1
    world.verify("orders")


def test_a_failure_after_a_hold_keeps_the_held_cycle(world: World) -> None:
    world.fed("orders", numbered(*range(30)), guards={"deletes": "20%"})
    world.commit("orders")
    world.give("orders", numbered(1))
    with failing_at("hold.done", disk_full):
        result = world.scan("orders")
    assert result.status == "held"
    (approved,) = world.project.approve("orders", cycle=result.cycle, hash=result.hash)
    assert (approved.status, approved.deletes) == ("committed", 29)
    world.verify("orders")


def test_one_failed_source_does_not_cancel_those_after_it(world: World) -> None:
    world.fed("broken", numbered("a"))
    world.feed("broken").splits = [lambda ctx: [1 // 0]]
    world.fed("orders", numbered("a"))
    options = RunOptions()
    statuses = {result.source: result.status for result in world.project.scan_all(options)}
    assert statuses == {"broken": "failed", "orders": "committed"}
