"""A member whose partitions stand at different places: each gets exactly what it does not have yet.

The places are stored as other members would have left them; then one member takes all.
"""

import itertools
import random
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differ.catalog.groups import Groups
from differ.client import Client, Next
from differ.errors import StreamChangedError
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, StreamCheckpoint
from differ.formats.cursor import Cursor
from differ.model import ChangeEvent
from tests.client.recorder import Act, Recorder
from tests.cycle.world import World, numbered
from tests.server.relay import Relay

ROWS, CHANGES = 60, 5
HEAD = ROWS * CHANGES
NAMES = (f"group-{number}" for number in itertools.count())

Place = int | str
"""Where a partition stands: after an SCN, or one of PLACES, from all of which it can only begin anew."""
PLACES = ("nowhere", "another history", "another stream", "a bootstrap that is gone")


class Keeper(Recorder):
    """Also writes down the rows of bootstraps, and which partitions each bootstrap was of."""

    def __init__(self, act: Act | None = None) -> None:
        super().__init__(act)
        self.rows: list[int] = []
        self.bootstraps: list[str] = []

    def on_bootstrap_start(self, bootstrap: Any) -> None:
        self.bootstraps.append("all" if bootstrap.partitions is None else bootstrap.partitions.text)

    def on_bootstrap_event(self, event: ChangeEvent) -> None:
        self.rows.append(event.key["id"])


@pytest.fixture
def shop(world: World) -> World:
    world.fed("orders")
    for version in range(CHANGES):
        world.commit("orders", numbered(*(f"{version}-{number}" for number in range(ROWS))))
    return world


def partition(key: int) -> int:
    return int(xxhash.xxh3_64_intdigest(f'{{"id":{key}}}') % 256)


def known(relay: Relay, scn: int) -> StreamCheckpoint:
    """The checkpoint of a consumer that has come this far."""
    return StreamCheckpoint(cursor=Cursor.parse(relay.stream(since=scn, limit=0).cursor))


def checkpoint(relay: Relay, place: Place) -> Checkpoint | None:
    if isinstance(place, int):
        return known(relay, place)
    good = Cursor.parse(relay.stream(since=HEAD - 1, limit=0).cursor)
    match place:
        case "another history":
            return StreamCheckpoint(cursor=Cursor(stream=good.stream, scn=good.scn, chain="f" * 32, floors=0))
        case "another stream":
            other = "00000000-0000-4000-8000-000000000000"
            return StreamCheckpoint(cursor=Cursor(stream=other, scn=3, chain=good.chain, floors=0))
        case "a bootstrap that is gone":
            return BootstrapCheckpoint(
                bootstrap="gone", generation="g", cursor=good, source="orders", page="p", done=()
            )
    return None


def leave_at(shop: World, relay: Relay, places: dict[int, Place]) -> str:
    """A new group whose members have left each partition at a place; returns its name."""
    name = next(NAMES)
    groups = Groups(shop.project.consumers)
    share = groups.join(name)
    made = {place: checkpoint(relay, place) for place in set(places.values())}
    stored = {number: found for number, place in places.items() if (found := made[place]) is not None}
    groups.save(name, share.member, share.partitions, stored)
    groups.leave(name, share.member)
    return name


def run(relay: Relay, name: str, **options: Any) -> Keeper:
    keeper = Keeper()
    Client(relay.url).run(keeper, name=name, group=True, until_head=True, **options)
    return keeper


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, HEAD) | st.sampled_from(PLACES), min_size=1, max_size=4, unique=True),
    st.integers(0, 2**32),
)
def test_each_partition_gets_what_it_does_not_have(shop: World, relay: Relay, choices: list[Place], seed: int) -> None:
    chance = random.Random(seed)
    places = {number: chance.choice(choices) for number in range(256)}
    name = leave_at(shop, relay, places)
    keeper = run(relay, name)
    history = list(shop.project.events("orders"))
    expected = []
    for event in history:
        place = places[partition(event.key["id"])]
        if isinstance(place, int) and event.scn > place:
            expected.append(event.scn)
    anew = [key for key in range(1, ROWS + 1) if isinstance(places[partition(key)], str)]
    assert keeper.scns == expected
    assert sorted(keeper.rows) == anew
    entry = shop.project.consumers.get(name)
    assert entry is not None
    assert {at.cursor.scn for at in entry.checkpoints} == {HEAD}
    assert len(entry.checkpoints) == 256
    assert entry.state == "streaming"
    assert run(relay, name).calls == [("start", None), ("stop", None)]


def test_only_what_stands_nowhere_bootstraps(shop: World, relay: Relay) -> None:
    places: dict[int, Place] = {number: "nowhere" if number in (7, 8, 200) else HEAD for number in range(256)}
    assert run(relay, leave_at(shop, relay, places)).bootstraps == ["7-8,200/256"]


@pytest.mark.parametrize("place", ["another history", "another stream"])
def test_a_refused_place_is_an_error_where_it_may_not_bootstrap(shop: World, relay: Relay, place: Place) -> None:
    places: dict[int, Place] = {number: place if number < 128 else HEAD for number in range(256)}
    with pytest.raises(StreamChangedError):
        run(relay, leave_at(shop, relay, places), start="oldest", bootstrap="never")


def test_who_is_ahead_stays_there_while_others_catch_up(shop: World, relay: Relay) -> None:
    name = leave_at(shop, relay, {number: 10 if number < 128 else HEAD - 1 for number in range(256)})
    keeper = Keeper(lambda _: Next.STOP)
    Client(relay.url).run(keeper, name=name, group=True)
    (scn,) = keeper.scns
    entry = shop.project.consumers.get(name)
    assert entry is not None
    places = {number: at.cursor.scn for number, at in entry.partitions.items() if at is not None}
    assert places == {number: scn if number < 128 else HEAD - 1 for number in range(256)}


def test_a_source_that_began_anew_bootstraps_only_for_those_who_do_not_know(shop: World, relay: Relay) -> None:
    name = leave_at(shop, relay, dict.fromkeys(range(256), HEAD))
    shop.project.rebaseline("orders")
    groups = Groups(shop.project.consumers)
    share = groups.join(name)
    groups.save(name, share.member, share.partitions, dict.fromkeys(range(100), known(relay, HEAD)))
    groups.leave(name, share.member)
    assert run(relay, name).bootstraps == ["100-255/256"]
    assert run(relay, name).bootstraps == []


def test_all_are_refused_at_once_and_bootstrap_together(shop: World, relay: Relay) -> None:
    name = leave_at(shop, relay, {number: 10 + number % 3 for number in range(256)})
    shop.project.rebaseline("orders")
    keeper = run(relay, name)
    assert sorted(keeper.rows) == list(range(1, ROWS + 1))
    assert keeper.scns == []
