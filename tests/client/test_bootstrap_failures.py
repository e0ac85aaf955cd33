"""Callbacks, stores and clocks that fail in the middle of a bootstrap: it ends as one all the same, or says why not."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from differ.catalog.pins import Pins
from differ.client import Checkpoint, Client, Consumer, Next, Retries, Retry, Skip, StreamCheckpoint
from differ.errors import ConsumerError, RelayError, ScnAheadError, StreamChangedError
from differ.model import ChangeEvent
from tests.client.mirror import Mirror, Store
from tests.client.replacing import equals, pins, run, shop, small_pages
from tests.cycle.world import World, numbered
from tests.server.relay import Relay

__all__ = ["shop", "small_pages"]


@pytest.mark.parametrize("callback", ["bootstrap_start", "bootstrap_events", "checkpoint", "bootstrap_end"])
@pytest.mark.parametrize("error", [RuntimeError, Retry], ids=["failure", "not now"])
def test_a_callback_that_fails_for_a_while(
    shop: World, serve: Callable[..., Relay], callback: str, error: type[Exception]
) -> None:
    failures = [2 if error is RuntimeError else 10]

    def fail(name: str) -> None:
        if name == callback and failures[0]:
            failures[0] -= 1
            raise error("not yet")

    mirror, store = Mirror(fail), Store()
    run(serve(), mirror, store)
    assert failures == [0]
    equals(shop, mirror)
    assert len({begun.generation for begun in mirror.of("bootstrap_start")}) == 1
    assert isinstance(store.checkpoint, StreamCheckpoint)


@pytest.mark.parametrize("callback", ["bootstrap_start", "bootstrap_events", "bootstrap_end"])
def test_a_callback_that_keeps_failing_halts_the_run(shop: World, serve: Callable[..., Relay], callback: str) -> None:
    def fail(name: str) -> None:
        if name == callback:
            raise RuntimeError("broken")

    store = Store()
    with pytest.raises(ConsumerError, match=rf"on_{callback} failed.*broken") as halted:
        run(serve(), Mirror(fail), store)
    assert not isinstance(store.checkpoint, StreamCheckpoint)
    assert ("dead letters" in str(halted.value)) == (callback == "bootstrap_events")  # Others are of no event.


def test_a_row_that_fails_is_named_by_its_key(shop: World, serve: Callable[..., Relay]) -> None:
    class Choosy(Consumer):
        def on_bootstrap_event(self, event: ChangeEvent) -> None:
            if event.source == "orders" and tuple(event.key.values()) == (7,):
                raise RuntimeError("broken")

    with pytest.raises(ConsumerError, match=r"on_bootstrap_event failed .* of orders, key 7: RuntimeError: broken"):
        Client(serve().url).run(Choosy(), name="index", until_head=True, retries=Retries(attempts=1))


def test_the_end_cannot_be_skipped(shop: World, serve: Callable[..., Relay]) -> None:
    def skip(name: str) -> None:
        if name in ("bootstrap_end", "checkpoint"):
            raise Skip

    store = Store()
    run(serve(), Mirror(skip), store)
    assert isinstance(store.checkpoint, StreamCheckpoint)


def test_stopped_at_the_end_it_is_over(shop: World, serve: Callable[..., Relay]) -> None:
    class Ending(Mirror):
        def on_bootstrap_end(self, bootstrap: Any) -> Next | None:
            super().on_bootstrap_end(bootstrap)
            return Next.STOP

    relay, mirror, store = serve(), Ending(), Store()
    run(relay, mirror, store, until_head=False)
    equals(shop, mirror)
    assert isinstance(store.checkpoint, StreamCheckpoint)
    assert pins(shop) == []


def test_a_slow_consumer_keeps_its_lease(shop: World, serve: Callable[..., Relay]) -> None:
    """The lease is a second; the consumer takes as long as it takes for two renewals of it to arrive."""
    shop.settings["bootstrap"] = {"lease": "1s"}
    shop.close()
    renewed = threading.Semaphore(0)
    original = Pins.renew

    def noticed(self: Pins, pin_id: str) -> Any:
        found = original(self, pin_id)
        renewed.release()
        return found

    def slow(name: str) -> None:
        if name == "bootstrap_events" and len(mirror.of(name)) == 1:
            while renewed.acquire(blocking=False):
                pass
            for _ in range(4):
                assert renewed.acquire(timeout=20)
            shop.commit("orders", numbered(*range(9)))

    mirror, store = Mirror(slow), Store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pins, "renew", noticed)
        run(serve(), mirror, store)
    equals(shop, mirror)
    assert len(mirror.of("bootstrap_start")) == 1


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("error", [ScnAheadError, StreamChangedError])
def test_a_checkpoint_that_a_restored_store_refuses_is_begun_anew(
    shop: World, serve: Callable[..., Relay], nth: int, error: type[RelayError]
) -> None:
    """As a relay does whose catalog was restored from a backup while the consumer was in the middle of a bootstrap."""

    class Refusing(Store):
        left = nth

        def save(self, checkpoint: Checkpoint) -> None:
            self.left -= 1
            if not self.left:
                raise error("store checkpoint: the store was restored")
            super().save(checkpoint)

    mirror = Mirror()
    run(serve(), mirror, Refusing())
    equals(shop, mirror)
    first, second = mirror.of("bootstrap_start")
    assert (second.generation != first.generation, second.resumed) == (True, False)
