"""A consumer bootstraps: all rows of all sources at one SCN, resumable, replacing what was there; then the stream."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from differ.catalog.pins import Pins
from differ.client import BootstrapCheckpoint, Client, Stop, StreamCheckpoint
from differ.errors import BootstrapGoneError, ScnTooOldError
from differ.formats.partitions import Partitions
from tests.client.mirror import Mirror, Store
from tests.client.replacing import EACH_PAGE, QUICK, equals, pins, run, shop, small_pages
from tests.cycle.world import World, numbered
from tests.server.relay import Relay

__all__ = ["shop", "small_pages"]


class Crash(BaseException):
    """The process ends here: nothing that the client does about errors is done."""


def test_a_new_consumer_is_given_every_row_and_then_the_stream(shop: World, serve: Callable[..., Relay]) -> None:
    del shop.settings["relay"]
    shop.close()
    mirror, store = Mirror(), Store()
    relay = serve()
    run(relay, mirror, store)
    equals(shop, mirror)
    (begun,) = mirror.of("bootstrap_start")
    assert (begun.scn, begun.sources, begun.resumed) == (67, ("orders", "parts", "unborn"), False)
    assert (begun.rows, begun.partitions) == ({"orders": 55, "parts": 2, "unborn": 0}, None)
    assert mirror.of("bootstrap_end") == [begun]
    assert store.checkpoint == StreamCheckpoint(cursor=begun.cursor)
    assert pins(shop) == []
    shop.commit("unborn", numbered(1))
    shop.commit("orders", numbered(1, 2))
    run(relay, mirror, store)
    equals(shop, mirror, "orders", "parts", "unborn")
    assert len(mirror.of("bootstrap_start")) == 1


def test_rows_that_are_not_in_the_snapshot_are_gone(shop: World, serve: Callable[..., Relay]) -> None:
    mirror = Mirror()
    mirror.rows = {("orders", f"stale {n}"): ({"id": n}, "before", n) for n in range(5)}
    mirror.rows["other", "kept"] = ({"id": 1}, "before", 1)
    run(serve(), mirror, Store())
    equals(shop, mirror)
    assert mirror.state("other") == [{"id": 1}]


def test_checkpoints_stand_at_pages_and_sources_until_the_end(shop: World, serve: Callable[..., Relay]) -> None:
    mirror, store = Mirror(), Store()
    run(serve(), mirror, store)
    found = mirror.of("checkpoint")
    assert all(isinstance(checkpoint, BootstrapCheckpoint) for checkpoint in found[:-1])
    assert [checkpoint.source for checkpoint in found[:-1]] == sorted(checkpoint.source for checkpoint in found[:-1])
    assert len({checkpoint.page for checkpoint in found[:-1]}) > 4
    assert isinstance(found[-1], StreamCheckpoint)
    names = [name for name, _ in mirror.calls]
    assert names.index("bootstrap_end") == len(names) - 2  # The stream's checkpoint comes behind it, nothing else.


@pytest.mark.parametrize(
    ("callback", "nth"),
    [
        ("bootstrap_start", 1),
        ("bootstrap_events", 1),
        ("bootstrap_events", 4),
        ("checkpoint", 1),
        ("checkpoint", 4),
        ("bootstrap_end", 1),
    ],
)
def test_a_crash_is_resumed_in_the_same_generation(
    shop: World, serve: Callable[..., Relay], callback: str, nth: int
) -> None:
    relay = serve()
    left = [nth]

    def crash(name: str) -> None:
        left[0] -= name == callback
        if left[0] == 0 and name == callback:
            raise Crash

    first, store = Mirror(crash), Store()
    with pytest.raises(Crash):
        run(relay, first, store)
    shop.commit("orders", numbered(*range(9)))
    second = Mirror()
    second.rows, second.generation = first.rows, first.generation
    stood = store.checkpoint
    run(relay, second, store)
    equals(shop, second)
    (begun,) = second.of("bootstrap_start")
    if stood is None:
        assert begun.generation != first.generation
    else:
        assert isinstance(stood, BootstrapCheckpoint)
        assert (begun.generation, begun.resumed) == (first.generation, True)
    if callback == "checkpoint" and nth == 4:
        whole = 57
        assert sum(count for _, count in second.of("bootstrap_events")) < whole  # Not all rows came again.


def test_a_pin_that_is_gone_in_the_middle_is_begun_anew(shop: World, serve: Callable[..., Relay]) -> None:
    def let_go(name: str) -> None:
        if name == "bootstrap_events" and len(mirror.of(name)) == 3 and len(mirror.of("bootstrap_start")) == 1:
            Pins(shop.project.consumers).remove(mirror.of("bootstrap_start")[0].id)
            shop.commit("orders", numbered(*range(30), first=20))

    mirror, store = Mirror(let_go), Store()
    run(serve(), mirror, store)
    equals(shop, mirror)
    first, second = mirror.of("bootstrap_start")
    assert (first.generation != second.generation, second.resumed) == (True, False)
    assert mirror.of("bootstrap_end") == [second]


def test_a_pin_that_is_gone_while_the_consumer_was_down(shop: World, serve: Callable[..., Relay]) -> None:
    relay = serve()

    def stop(name: str) -> None:
        if name == "bootstrap_events":
            raise Stop

    mirror, store = Mirror(stop), Store()
    run(relay, mirror, store)
    assert isinstance(store.checkpoint, BootstrapCheckpoint)
    (held,) = pins(shop)
    assert held.id == store.checkpoint.bootstrap
    Pins(shop.project.consumers).remove(held.id)
    shop.commit("orders", numbered(7))
    with pytest.raises(BootstrapGoneError):
        run(relay, Mirror(), store, bootstrap="never", start="head")
    mirror._hook = lambda name: None
    run(relay, mirror, store)
    equals(shop, mirror)


def test_what_was_asked_for_changed_so_it_begins_anew(shop: World, serve: Callable[..., Relay]) -> None:
    relay = serve()

    def stop(name: str) -> None:
        if name == "bootstrap_events":
            raise Stop

    store = Store()
    run(relay, Mirror(stop), store)
    mirror = Mirror()
    run(relay, mirror, store, sources=["parts"])
    (begun,) = mirror.of("bootstrap_start")
    assert (begun.sources, begun.resumed) == (("parts",), False)
    assert mirror.state("orders") == []
    equals(shop, mirror, "parts")


def test_partitions_replace_only_their_rows(shop: World, serve: Callable[..., Relay]) -> None:
    relay, mirror = serve(), Mirror()
    mirror.rows = {("orders", f"stale {n}"): ({"id": -n}, "before", n) for n in range(4)}
    run(relay, mirror, Store(), partition="0/2")
    half = {key for key in mirror.rows if key[1].startswith("stale")}
    assert half == {("orders", "stale 1"), ("orders", "stale 3")}
    run(relay, mirror, Store(), partition="1/2")
    equals(shop, mirror)


def test_partitions_that_were_handed_on_are_resumed_apart(shop: World, serve: Callable[..., Relay]) -> None:
    """As when members of a group share out what one of them began: each goes on where the checkpoint stands."""
    relay, store, enough = serve(), Store(), threading.Event()

    def stop(name: str) -> None:
        if name == "bootstrap_events" and len(mirror.of(name)) == 2:
            enough.set()

    mirror = Mirror(stop)
    run(relay, mirror, store, partition="0-2/4", stop=enough)
    assert isinstance(store.checkpoint, BootstrapCheckpoint)
    shop.commit("orders", numbered(*range(3, 60), first=4))
    stood = store.checkpoint
    for number in ("0", "1,2"):
        store.save(stood)
        run(relay, mirror, store, partition=f"{number}/4")
        begun = mirror.of("bootstrap_start")[-1]
        assert (begun.generation, begun.resumed) == (stood.generation, True)
        assert begun.partitions == Partitions.parse(f"{number}/4")
    store.save(stood)
    run(relay, mirror, store, partition="2,3/4")
    assert not mirror.of("bootstrap_start")[-1].resumed
    equals(shop, mirror)


def test_members_of_a_group_bootstrap_their_partitions(shop: World, serve: Callable[..., Relay]) -> None:
    """Two members that come one after the other; the second comes in the middle of the first one's bootstrap."""
    relay, mirror = serve(), Mirror()
    second: list[threading.Thread] = []

    def member(own: Mirror) -> None:
        Client(relay.url).run(own, name="index", group=True, until_head=True, retries=QUICK, pace=EACH_PAGE)

    def another(name: str) -> None:
        if name == "bootstrap_events" and not second:
            other = Mirror()
            other.rows = mirror.rows  # One destination, two processes.
            second.append(threading.Thread(target=member, args=(other,)))
            second[0].start()

    mirror._hook = another
    member(mirror)
    second[0].join(60)
    equals(shop, mirror)


def test_a_consumer_that_fell_behind_bootstraps_by_itself(shop: World, serve: Callable[..., Relay]) -> None:
    relay, mirror, store = serve(), Mirror(), Store()
    run(relay, mirror, store)
    for rows in (range(3), range(5), range(4)):
        shop.commit("orders", numbered(*rows))
    with pytest.raises(ScnTooOldError):
        run(relay, Mirror(), store, bootstrap="never", start="head")
    run(relay, mirror, store)
    equals(shop, mirror)
    assert len(mirror.of("bootstrap_start")) == 2


@pytest.mark.parametrize(
    "other",
    [{"stream": "00000000-0000-4000-8000-000000000000"}, {"scn": 1_000_000}, {"chain": "f" * 32}, {"scn": 0}],
    ids=["another stream", "ahead of the head", "another history", "no longer kept"],
)
def test_a_checkpoint_that_fits_no_more_is_replaced(
    shop: World, serve: Callable[..., Relay], other: dict[str, Any]
) -> None:
    relay, mirror, store = serve(), Mirror(), Store()
    run(relay, mirror, store)
    assert isinstance(store.checkpoint, StreamCheckpoint)
    store.save(StreamCheckpoint(cursor=replace(store.checkpoint.cursor, **other)))
    mirror.rows = {("orders", "stale"): ({"id": -1}, "before", 1)}
    run(relay, mirror, store)
    equals(shop, mirror)
    assert len(mirror.of("bootstrap_start")) == 2


def test_a_new_base_without_events_is_noticed_at_the_head(shop: World, serve: Callable[..., Relay]) -> None:
    relay, mirror, store = serve(), Mirror(), Store()
    run(relay, mirror, store)
    shop.give("orders", numbered(*range(20), first=30))
    shop.project.rebaseline("orders")
    assert shop.project.catalog.stream().head_scn == store.checkpoint.cursor.scn  # type: ignore[union-attr]
    run(relay, mirror, store)
    equals(shop, mirror)
