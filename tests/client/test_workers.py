"""Workers: keys in order, several callbacks at once, failures and callbacks that hang."""

import itertools
import signal
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from differ.client import Client, Consumer, Next, Retries
from differ.errors import ConsumerError
from differ.model import ChangeEvent
from tests.client.recorder import Recorder
from tests.cycle.world import World
from tests.server.eventually import eventually
from tests.server.relay import Relay

KEYS = 40


@pytest.fixture
def relay(world: World, serve: Callable[..., Relay]) -> Relay:
    """40 keys, each changed four times; 200 events."""
    world.fed("orders")
    for version in range(5):
        world.commit("orders", [{"id": key, "v": version} for key in range(KEYS)])
    return serve()


def run(relay: Relay, consumer: Consumer, **options: Any) -> None:
    Client(relay.url).run(consumer, **{"name": "index", "start": "oldest", "until_head": True, **options})


class ByKey(Consumer):
    """What was delivered of each key, and from which threads."""

    def __init__(self) -> None:
        self.versions: dict[int, list[int]] = defaultdict(list)
        self.threads: dict[int, set[str]] = defaultdict(set)

    def on_event(self, event: ChangeEvent) -> Next | None:
        assert event.after is not None
        self.versions[event.key["id"]].append(event.after["v"])
        self.threads[event.key["id"]].add(threading.current_thread().name)
        return None


def test_each_key_comes_in_order_from_one_worker(relay: Relay) -> None:
    consumer = ByKey()
    run(relay, consumer, workers=4)
    assert consumer.versions == {key: [0, 1, 2, 3, 4] for key in range(KEYS)}
    assert all(len(names) == 1 for names in consumer.threads.values())
    assert len(set.union(*consumer.threads.values())) == 4
    assert relay.get("/v1/consumers/index").json["scn"] == 200


def test_a_key_stays_with_its_worker_wherever_it_stands_in_a_window(world: World, serve: Callable[..., Relay]) -> None:
    """One key less each time, so that all others move up."""
    world.fed("orders")
    for version in range(5):
        world.commit("orders", [{"id": key, "v": version} for key in range(version, KEYS)])
    consumer = ByKey()
    run(serve(), consumer, workers=4, ops=["insert", "update"])
    assert consumer.versions == {key: list(range(5))[: key + 1] for key in range(KEYS)}
    assert all(len(names) == 1 for names in consumer.threads.values())


def test_callbacks_of_several_workers_run_at_once(relay: Relay) -> None:
    meeting = threading.Barrier(3, timeout=20)
    met = threading.Event()

    class Meets(ByKey):
        def on_event(self, event: ChangeEvent) -> Next | None:
            if not met.is_set():
                meeting.wait()
                met.set()
            return super().on_event(event)

    run(relay, Meets(), workers=3)
    assert met.is_set()


def test_a_failure_in_one_worker_replays_all_from_the_checkpoint(relay: Relay) -> None:
    left = [None] * 2

    class Fails(ByKey):
        def on_event(self, event: ChangeEvent) -> Next | None:
            if event.scn == 150 and left:
                left.pop()
                raise ValueError("once more")
            return super().on_event(event)

    consumer = Fails()
    run(relay, consumer, workers=4, retries=Retries(first_seconds=0.001))
    for versions in consumer.versions.values():
        assert set(versions) == {0, 1, 2, 3, 4}
        # A replay begins earlier; between two replays the versions ascend one by one.
        steps = [new - old for old, new in itertools.pairwise(versions)]
        assert all(step == 1 or step <= 0 for step in steps)
    assert relay.get("/v1/consumers/index").json["scn"] == 200


@pytest.mark.parametrize("workers", [1, 3])
def test_a_callback_that_hangs_is_reported_and_ends_the_run(relay: Relay, workers: int) -> None:
    release = threading.Event()
    told: list[tuple[str, int | None]] = []

    class Hangs(Recorder):
        def on_event(self, event: ChangeEvent) -> Next | None:
            if event.scn == 5:
                release.wait()
            return super().on_event(event)

        def on_error(self, error: Exception, event: ChangeEvent | None) -> Next | None:
            told.append((type(error).__name__, event.scn if event else None))
            return None

    consumer = Hangs()
    with pytest.raises(
        ConsumerError, match=r"on_event has not returned .* at SCN 5 of orders, key 4; its thread was left"
    ):
        run(relay, consumer, workers=workers, retries=Retries(attempts=3, callback_seconds=0.1))
    assert told == [("TimeoutError", 5)] * 3
    assert consumer.calls[-1] == ("stop", None)
    assert relay.get("/v1/consumers/index").json["scn"] == 0
    release.set()


def test_a_callback_that_returns_late_counts_as_failed(relay: Relay) -> None:
    late = threading.Event()

    class Late(Recorder):
        def on_event(self, event: ChangeEvent) -> Next | None:
            if event.scn == 5 and not late.is_set():
                late.wait()
            return super().on_event(event)

        def on_error(self, error: Exception, event: ChangeEvent | None) -> Next | None:
            late.set()
            return super().on_error(error, event)

    consumer = Late()
    run(relay, consumer, retries=Retries(attempts=50, first_seconds=0.001, callback_seconds=0.1))
    assert consumer.scns == [1, 2, 3, 4, 5, *range(1, 201)]
    assert len(consumer.of("error")) >= 1
    assert consumer.of("rollback") == [0]


def test_ctrl_c_ends_a_run_with_workers(relay: Relay) -> None:
    consumer = Recorder(lambda event: signal.raise_signal(signal.SIGINT) if event.scn == 20 else None)  # type: ignore[func-returns-value]
    with pytest.raises(KeyboardInterrupt):
        run(relay, consumer, workers=3)
    assert consumer.calls[-1] == ("stop", None)
    eventually(lambda: not any(thread.name.startswith("differ-worker") for thread in threading.enumerate()))


def test_stop_and_checkpoint_wait_for_what_was_handed_out(relay: Relay) -> None:
    consumer = Recorder(lambda event: Next.STOP if event.scn == 90 else Next.CHECKPOINT if event.scn == 50 else None)
    run(relay, consumer, workers=3)
    first, last = consumer.of("checkpoint")
    assert first >= 50
    assert last >= 90
    assert set(consumer.scns) == set(range(1, last + 1))
