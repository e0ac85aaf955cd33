"""Several processes on one project: one writer a source, fenced when it sleeps, and nobody in another's way."""

import os
import signal
import threading

import pytest

from differ.cycle.procedure import RunOptions
from differ.model import CycleResult
from tests.catalog.holding import PLUGIN, Child
from tests.cycle.conftest import world
from tests.cycle.world import World, numbered

__all__ = ["world"]


@pytest.fixture
def shared(world: World) -> World:
    """A project with a source `orders` that a child reads, and a source `others`."""
    world.plugin("holding", PLUGIN)
    world.source("orders", iterator="holding")
    world.fed("others", numbered("a"))
    assert world.project.catalog.stream().head_scn == 0
    return world


def fed(world: World) -> None:
    """Let this process read `orders` from memory; the key and the column are those that the child gives."""
    world.fed("orders", numbered("here"))


def test_the_second_writer_of_a_source_is_busy(shared: World) -> None:
    with Child(shared.folder, "orders") as child:
        child.wait_reading()
        fed(shared)
        result = shared.scan("orders")
        assert (result.status, result.exit_code) == ("busy", 6)
        assert str(child.pid) in (result.error or "")
        assert shared.scan("others").status == "committed"
        assert child.go_on()["status"] == "committed"
    assert shared.commit("orders").updates == 1
    shared.verify("orders")
    shared.verify("others")


def test_the_second_writer_can_wait(shared: World) -> None:
    results: list[CycleResult] = []
    with Child(shared.folder, "orders") as child:
        child.wait_reading()
        fed(shared)
        project = shared.project
        waiting = threading.Thread(target=lambda: results.append(project.scan("orders", RunOptions(wait=True))))
        waiting.start()
        assert child.go_on()["status"] == "committed"
        waiting.join(60)
    assert [(result.status, result.updates) for result in results] == [("committed", 1)]


def test_a_killed_writer_blocks_nobody(shared: World) -> None:
    with Child(shared.folder, "orders") as child:
        child.wait_reading()
        os.kill(child.pid, signal.SIGKILL)
    fed(shared)
    assert shared.commit("orders").inserts == 1
    assert [entry.status for entry in shared.project.catalog.cycles("orders")] == ["committed", "failed"]


def test_a_frozen_writer_whose_lock_was_lost_is_fenced(shared: World) -> None:
    """As on a file system that forgets the locks of a client: the epoch in the commit is what counts."""
    with Child(shared.folder, "orders") as child:
        child.wait_reading()
        os.kill(child.pid, signal.SIGSTOP)
        (shared.folder / ".differ" / "locks" / "orders.lock").unlink()
        fed(shared)
        assert shared.commit("orders").inserts == 1
        os.kill(child.pid, signal.SIGCONT)
        told = child.go_on()
    assert (told["status"], told["exit_code"]) == ("busy", 6)
    assert "took the source over" in told["error"]
    assert shared.state("orders") == {(1,): {"id": 1, "v": "here"}}
    assert shared.project.catalog.stream().head_scn == 1
    assert shared.commit("orders").status == "unchanged"
    shared.verify("orders")


def test_many_processes_commit_in_parallel(world: World) -> None:
    names = [f"source{number}" for number in range(4)]
    for name in names:
        world.plugin(name, PLUGIN.replace("def holding", f"def {name}"))
        world.source(name, iterator=name)
    assert world.project.catalog.stream().head_scn == 0
    children = [Child(world.folder, name) for name in names]
    try:
        for child in children:
            child.wait_reading()
        answers: list[object] = []
        threads = [threading.Thread(target=lambda c=child: answers.append(c.go_on()["status"])) for child in children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        for child in children:
            child.__exit__()
    assert answers == ["committed"] * 4
    assert world.project.catalog.stream().head_scn == 4
    for name in names:
        world.verify(name)
    windows = world.project.catalog.windows()
    assert [(window.first, window.last) for window in windows] == [(n, n) for n in range(1, 5)]
    assert len({window.chain for window in windows}) == 4
