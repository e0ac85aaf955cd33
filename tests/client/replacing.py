"""A project whose consumers must bootstrap, and how a run of one ends; for the tests of bootstraps."""

from typing import Any

import pytest

from differ.catalog.pins import Pins
from differ.client import Client, Pace, Retries
from differ.snapshots import pages
from tests.client.mirror import Mirror, Store
from tests.cycle.world import DELTAS, World, numbered
from tests.server.relay import Relay

__all__ = ["equals", "pins", "run", "shop", "small_pages"]

QUICK = Retries(attempts=3, first_seconds=0, most_seconds=0)
EACH_PAGE = Pace(checkpoint_events=1)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", 10)


@pytest.fixture
def shop(world: World) -> World:
    """Orders with dead rows, an empty source, one that never had a cycle; nothing but the state is kept."""
    world.settings["relay"] = {"retention": {"age": "0s", "size": 0, "hold_for_consumers": 0}}
    world.fed("orders", numbered(*range(60)), snapshots=DELTAS | {"keep": 1})
    world.fed("parts", numbered(1, 2), snapshots={"keep": 1})
    world.fed("unborn", snapshots={"keep": 1})
    world.commit("orders")
    world.commit("parts")
    world.commit("orders", numbered(*range(3, 58), first=4))
    return world


def run(relay: Relay, mirror: Mirror, store: Store, **options: Any) -> None:
    """Run until the head."""
    usual: dict[str, Any] = {"until_head": True, "retries": QUICK, "pace": EACH_PAGE}
    Client(relay.url).run(mirror, name="index", checkpoints=store, **(usual | options))


def equals(world: World, mirror: Mirror, *sources: str) -> None:
    for source in sources or ("orders", "parts"):
        held = sorted(mirror.state(source), key=lambda row: row["id"])
        assert held == sorted(world.state(source).values(), key=lambda row: row["id"]), source


def pins(world: World) -> list[Any]:
    return Pins(world.project.consumers).all()
