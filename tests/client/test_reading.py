"""Events as an iterator and in batches, from a real relay."""

import pytest

from differ.client import Client
from differ.errors import ScnAheadError, ScnTooOldError, StreamChangedError, UsageError
from tests.cycle.world import World
from tests.server.relay import Relay


def test_events_are_those_of_the_project(shop: World, relay: Relay) -> None:
    client = Client(relay.url)
    assert list(client.events()) == list(shop.project.events())
    assert client.head() == 8
    assert [source["source"] for source in client.sources()] == ["customers", "orders"]


def test_filters(shop: World, relay: Relay) -> None:
    client = Client(relay.url)
    assert [event.scn for event in client.events("customers")] == [4, 5]
    assert [event.scn for event in client.events(["orders"], since=3)] == [6, 7, 8]
    assert [event.scn for event in client.events(ops=["delete", "update"])] == [6, 7]
    halves = [[event.scn for event in client.events(partition=f"{number}/2")] for number in range(2)]
    assert sorted(halves[0] + halves[1]) == list(range(1, 9))


def test_batches_as_columns(shop: World, relay: Relay) -> None:
    batches = list(Client(relay.url).batches())
    assert [(one.source, len(one)) for one in batches] == [
        ("orders", 3), ("customers", 2), ("orders", 1), ("orders", 1), ("orders", 1),
    ]  # fmt: skip
    assert batches[0].to_arrow().column("scn").to_pylist() == [1, 2, 3]
    frame = batches[1].to_pandas()
    assert frame["op"].tolist() == ["insert", "insert"]
    assert [row["v"] for row in frame["after"]] == ["x", "y"]


def test_reading_goes_on_at_a_cursor_inside_a_window(shop: World, relay: Relay) -> None:
    client = Client(relay.url)
    first, *_others = client.batches()
    inside = first.cursor.at(2)
    assert [event.scn for event in client.events(since=inside)] == [3, 4, 5, 6, 7, 8]
    assert [event.scn for event in client.events(since=first.cursor.text)] == [4, 5, 6, 7, 8]
    assert list(client.events(since="head")) == []


def test_what_cannot_be_read_is_said(shop: World, relay: Relay) -> None:
    client = Client(relay.url)
    with pytest.raises(ScnAheadError) as ahead:
        list(client.events(since=9))
    assert ahead.value.head == 8
    first = next(client.batches())
    with pytest.raises(StreamChangedError):
        list(client.events(since=first.cursor.text.replace(first.cursor.chain, "0" * 32)))
    for senseless in ({"sources": ["nobody"]}, {"ops": ["upsert"]}, {"partition": "4/4"}, {"since": "yesterday"}):
        with pytest.raises(UsageError):
            list(client.events(**senseless))  # type: ignore[arg-type]


def test_the_oldest_is_what_retention_left(shop: World, relay: Relay) -> None:
    shop.project.catalog.let_windows_go(5)
    client = Client(relay.url)
    assert [event.scn for event in client.events()] == [6, 7, 8]
    with pytest.raises(ScnTooOldError) as old:
        list(client.events(since=2))
    assert old.value.oldest == 6
