"""A source that commits for years: its catalog holds what is kept, and says of the rest that it was let go."""

from collections.abc import Iterator

import pytest

from differ.errors import NotKeptError, UsageError
from tests.cycle.world import World, numbered

KEPT = 3


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A source of 12 commits, three snapshots and the events from SCN 8 on; another began late. It is only read."""
    world = World(tmp_path_factory.mktemp("old"))
    world.fed("orders", snapshots={"keep": KEPT})
    world.fed("late", numbered(1))
    for value in range(12):
        if value == 9:
            world.commit("late")
        world.commit("orders", numbered(value))
        if value == 10:
            world.project.catalog.let_windows_go(7)
    yield world
    world.close()


def test_committed_cycles_go_with_their_snapshots_and_events(old: World) -> None:
    cycles = old.project.catalog.cycles("orders", status=["committed"])
    assert len([entry for entry in cycles if entry.staged is not None]) == KEPT
    assert [entry.scn_last for entry in cycles] == [13, 12, 11, 9, 8]
    assert old.project.check(read_data=True) == []
    assert [event.scn for event in old.project.events()] == [8, 9, 10, 11, 12, 13]


@pytest.mark.parametrize("scn", range(1, 11))
def test_states_that_were_let_go_are_not_kept(old: World, scn: int) -> None:
    with pytest.raises(NotKeptError):
        old.project.snapshot("orders", scn)


def test_states_that_are_kept_and_those_that_never_were(old: World) -> None:
    assert [old.project.snapshot("orders", scn).to_arrow().column("v").to_pylist() for scn in (11, 12, 13)] == [
        [9], [10], [11],
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no committed cycle"):
        old.project.snapshot("late", 9)
