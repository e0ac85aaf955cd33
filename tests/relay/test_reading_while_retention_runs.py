"""A reader that retention overtakes hears of it: it never gets the rest as if nothing had been in between."""

from pathlib import Path

import pytest

from differ.errors import NotKeptError
from differ.relay import reader
from tests.cycle.world import World, numbered


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A source of seven windows, one event each, read a segment a page."""
    monkeypatch.setattr(reader, "PAGE_SEGMENTS", 1)
    world = World(tmp_path)
    world.fed("orders", numbered(0))
    for value in range(7):
        world.commit("orders", numbered(value))
    return world


def test_windows_that_went_while_a_reader_was_behind_them_are_an_error(world: World) -> None:
    events = world.project.events("orders")
    assert next(events).scn == 1
    world.project.catalog.let_windows_go(4)
    with pytest.raises(NotKeptError, match="the oldest that is kept is SCN 5"):
        list(events)


def test_windows_that_went_behind_the_reader_do_not_disturb_it(world: World) -> None:
    events = world.project.events("orders")
    assert [next(events).scn for _ in range(4)] == [1, 2, 3, 4]
    world.project.catalog.let_windows_go(3)
    assert [event.scn for event in events] == [5, 6, 7]


def test_all_windows_going_is_an_error_too(world: World) -> None:
    events = world.project.events("orders")
    assert next(events).scn == 1
    world.project.catalog.let_windows_go(7)
    with pytest.raises(NotKeptError):
        list(events)
