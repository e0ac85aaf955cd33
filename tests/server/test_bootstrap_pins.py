"""Pins: all sources at one SCN, a lease on a clock that may be set, and nothing that comes back to life."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from differ.catalog.consumers import Consumers
from differ.catalog.pins import Pin, Pins, live, pinned_cycles
from differ.errors import BootstrapGoneError, BusyError, RelayUnavailableError
from differ.storage import remove_tree
from tests.cycle.world import World, numbered

LEASE = 600.0


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def step(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two sources, one of which never had a cycle."""
    world = World(tmp_path)
    world.fed("orders", numbered(1, 2, 3))
    world.fed("parts")
    world.commit("orders")
    yield world
    world.close()


@pytest.fixture
def consumers(tmp_path: Path) -> Iterator[Consumers]:
    opened = Consumers(f"sqlite:///{tmp_path / 'consumers.db'}")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pins(consumers: Consumers, clock: Clock) -> Pins:
    return Pins(consumers, clock=clock)


def pin(world: World, pins: Pins, *sources: str) -> Pin:
    return pins.create(
        world.project.catalog, sources or ("orders",), consumer="index", partition=None, lease_seconds=LEASE
    )


def seen_by_retention(consumers: Consumers, clock: Clock) -> list[str]:
    """What retention does before it lets anything go."""
    with consumers.writing() as connection:
        return [found.id for found in live(connection, clock())]


def test_all_sources_are_pinned_at_the_head(world: World, pins: Pins) -> None:
    world.commit("orders", numbered(1, 2, 3, 4))
    made = pin(world, pins, "orders", "parts")
    stream = world.project.catalog.stream()
    assert (made.scn, made.cursor.stream, stream.chain) == (4, stream.stream_id, stream.chain)
    assert stream.chain.startswith(made.cursor.chain)
    assert made.sources == {"orders": 2, "parts": None}
    assert pins.get(made.id) == made
    assert pins.all() == [made]
    assert pinned_cycles([made]) == {"orders": {2}}


def test_generations_differ_and_are_not_the_pin(world: World, pins: Pins) -> None:
    first, second = pin(world, pins), pin(world, pins)
    assert len({first.generation, second.generation, first.id, second.id}) == 4


def test_a_lease_ends_and_is_renewed_before(world: World, pins: Pins, clock: Clock) -> None:
    made = pin(world, pins)
    clock.step(LEASE - 1)
    assert pins.renew(made.id).id == made.id
    clock.step(LEASE - 1)
    assert pins.get(made.id).id == made.id
    clock.step(2)
    assert pins.all() == []
    for call in (pins.get, pins.renew):
        with pytest.raises(BootstrapGoneError) as raised:
            call(made.id)
        assert "POST /v1/bootstrap" in str(raised.value)


def test_what_retention_saw_as_ended_never_comes_back(
    world: World, pins: Pins, consumers: Consumers, clock: Clock
) -> None:
    made = pin(world, pins)
    clock.step(LEASE + 1)
    assert seen_by_retention(consumers, clock) == []
    clock.step(-LEASE)  # The clock is set back, to a time at which the lease still ran.
    with pytest.raises(BootstrapGoneError):
        pins.renew(made.id)


def test_a_clock_set_back_holds_for_one_lease_at_most(
    world: World, pins: Pins, consumers: Consumers, clock: Clock
) -> None:
    made = pin(world, pins)
    clock.step(-365 * 86400)
    assert seen_by_retention(consumers, clock) == [made.id]
    clock.step(LEASE + 1)
    assert seen_by_retention(consumers, clock) == []


def test_letting_go_is_told_once(world: World, pins: Pins) -> None:
    made = pin(world, pins)
    assert [pins.remove(made.id), pins.remove(made.id)] == [True, False]
    with pytest.raises(BootstrapGoneError):
        pins.get(made.id)


def test_nothing_is_pinned_while_somebody_lets_go(
    world: World, consumers: Consumers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's pin waits for the transaction in which snapshots go, and then names what is left."""
    other = Consumers(f"sqlite:///{consumers.path}")
    monkeypatch.setattr("differ.catalog.engine.BUSY_SECONDS", 0)
    monkeypatch.setattr("differ.catalog.consumers.BUSY_SECONDS", 0)
    pin(world, Pins(other, clock=clock))
    with consumers.writing() as connection:
        assert len(live(connection, clock())) == 1
        with pytest.raises(BusyError):
            pin(world, Pins(other, clock=clock))
    assert len(Pins(other, clock=clock).all()) == 1
    other.close()


def test_a_source_whose_state_was_lost_is_not_taken_for_an_empty_one(world: World, pins: Pins) -> None:
    world.project.catalog.lose_snapshot("orders", 1)
    remove_tree(world.project.place.snapshots / "orders")
    with pytest.raises(RelayUnavailableError, match="lost to damage"):
        pin(world, pins)
    assert pins.all() == []
    world.commit("orders", numbered(1, 2, 3))
    assert pin(world, pins).sources == {"orders": 2}
