"""A run against a real relay: callbacks in order, checkpoints, answers, where it starts and how it ends."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from differ.client import Client, Consumer, FileCheckpoints, Next, Pace, Retries, Skip, Stop
from differ.errors import ConsumerError, CorruptionError, UsageError
from differ.model import ChangeEvent
from tests.client.recorder import Recorder
from tests.cycle.world import World, numbered
from tests.server.relay import Relay

QUICK = Retries(attempts=3, first_seconds=0.001, most_seconds=0.01)


def at(scn: int, act: Callable[[], Next | None]) -> Callable[[ChangeEvent], Next | None]:
    """An act at one SCN."""
    return lambda event: act() if event.scn == scn else None


def throw(error: Exception) -> Next | None:
    raise error


def test_callbacks_come_in_order(shop: World, relay: Relay) -> None:
    consumer = Recorder()
    Client(relay.url).run(consumer, name="index", start="oldest", until_head=True)
    assert consumer.calls == [
        ("start", None),
        ("window_start", (1, 3)), ("event", 1), ("event", 2), ("event", 3), ("window_end", (1, 3)),
        ("window_start", (4, 5)), ("event", 4), ("event", 5), ("window_end", (4, 5)),
        ("window_start", (6, 8)), ("event", 6), ("event", 7), ("event", 8), ("window_end", (6, 8)),
        ("checkpoint", 8),
        ("stop", None),
    ]  # fmt: skip
    assert consumer.events == list(shop.project.events())


@pytest.mark.parametrize("where", ["file", "relay"])
def test_the_next_run_goes_on_at_the_checkpoint(shop: World, relay: Relay, tmp_path: Path, where: str) -> None:
    checkpoints = tmp_path / "deep/er/index.json" if where == "file" else None
    client = Client(relay.url)
    first, second, third = Recorder(at(4, lambda: Next.STOP)), Recorder(), Recorder()
    for consumer in (first, second, third):
        client.run(consumer, name="index", start="oldest", until_head=True, checkpoints=checkpoints)
    assert (first.scns, second.scns, third.scns) == ([1, 2, 3, 4], [5, 6, 7, 8], [])
    assert first.of("checkpoint") == [4]
    assert second.of("window_start") == [(4, 5), (6, 8)]
    entry = relay.get("/v1/consumers/index").json
    assert (entry["scn"], entry["sources"]) == (8, [])


class Mistyped(Consumer):
    """Two letters changed places."""

    def on_evnet(self, event: ChangeEvent) -> None:
        """Would never be called."""


class Camel(Consumer):
    """Named as in another language."""

    def onEvent(self, event: ChangeEvent) -> None:  # noqa: N802
        """Would never be called."""


class OfItsOwn(Consumer):
    """Methods that are no callbacks."""

    def once(self) -> None:
        """No callback, and not meant as one."""

    def on_call(self) -> None:
        """Near none."""


@pytest.mark.parametrize(
    ("consumer", "said"),
    [
        (Mistyped(), "on_evnet is no callback.*did you mean on_event"),
        (Camel(), "onEvent is no callback.*did you mean on_event"),
        (Recorder, r"Recorder is a class.*Recorder\(\.\.\.\)"),
        (print, "is no Consumer"),
    ],
)
def test_what_is_no_consumer_is_refused_before_anything_is_sent(consumer: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Client("http://127.0.0.1:1").run(consumer, name="index")


def test_methods_of_its_own_are_a_consumers_own(shop: World, relay: Relay) -> None:
    Client(relay.url).run(OfItsOwn(), name="index", start="oldest", until_head=True)
    assert relay.get("/v1/consumers/index").json["scn"] == 8


def test_a_checkpoint_store_loads_and_saves(relay: Relay) -> None:
    store: Any = {}
    with pytest.raises(UsageError, match=r"checkpoints=\{\} is no store"):
        Client(relay.url).run(Recorder(), name="index", checkpoints=store)


def test_an_unregistered_consumer_is_unknown_to_the_relay(shop: World, relay: Relay, tmp_path: Path) -> None:
    Client(relay.url).run(
        Recorder(), name="index", start="oldest", until_head=True, checkpoints=tmp_path / "c.json", register=False
    )
    assert relay.get("/v1/consumers").json["consumers"] == []


def test_a_place_to_start_at_is_stored_before_anything_is_read(shop: World, relay: Relay, tmp_path: Path) -> None:
    client, store = Client(relay.url), FileCheckpoints(tmp_path / "c.json")
    client.run(Recorder(), name="index", start="head", until_head=True, checkpoints=store)
    checkpoint = store.load()
    assert checkpoint is not None
    assert checkpoint.cursor.scn == 8
    shop.commit("customers", numbered("x", "z"))
    consumer = Recorder()
    client.run(consumer, name="index", start="head", until_head=True, checkpoints=store)
    assert consumer.scns == [9]
    since = Recorder()
    client.run(since, name="another", start=6, until_head=True, checkpoints=tmp_path / "d.json")
    assert since.scns == [7, 8, 9]


def test_a_quiet_consumer_moves_with_the_stream(shop: World, relay: Relay) -> None:
    consumer = Recorder()
    client = Client(relay.url)
    client.run(consumer, name="index", sources=["customers"], start=5, until_head=True)
    assert consumer.scns == []
    assert relay.get("/v1/consumers/index").json["scn"] == 8
    assert relay.get("/v1/consumers/index").json["sources"] == ["customers"]


def test_answers_steer(shop: World, relay: Relay, tmp_path: Path) -> None:
    def run(name: str, act: Callable[[ChangeEvent], Next | None]) -> Recorder:
        consumer = Recorder(act)
        Client(relay.url).run(consumer, name=name, start="oldest", until_head=True, retries=QUICK)
        return consumer

    assert run("a", at(2, lambda: Next.CHECKPOINT)).of("checkpoint") == [2, 8]
    assert run("b", at(2, lambda: Next.SKIP)).scns == list(range(1, 9))
    assert run("c", at(2, lambda: throw(Skip()))).scns == list(range(1, 9))
    for number, act in enumerate((lambda: Next.STOP, lambda: throw(Stop()))):
        stopped = run(f"stop-{number}", at(7, act))
        assert (stopped.scns, stopped.of("checkpoint")) == ([1, 2, 3, 4, 5, 6, 7], [7])
        assert stopped.calls[-1] == ("stop", None)


def test_a_window_that_is_not_wanted_is_left_out(shop: World, relay: Relay) -> None:
    class Choosy(Recorder):
        def on_window_start(self, window: object) -> Next | None:
            super().on_window_start(window)  # type: ignore[arg-type]
            return Next.SKIP if self.of("window_start")[-1] == (4, 5) else None

    consumer = Choosy()
    Client(relay.url).run(consumer, name="index", start="oldest", until_head=True)
    assert consumer.scns == [1, 2, 3, 6, 7, 8]
    assert consumer.of("window_end") == [(1, 3), (6, 8)]
    assert relay.get("/v1/consumers/index").json["scn"] == 8


def test_stop_ends_a_run_that_waits(shop: World, relay: Relay) -> None:
    stop = threading.Event()
    consumer = Recorder(lambda event: stop.set() if event.scn == 8 else None)  # type: ignore[func-returns-value]
    Client(relay.url).run(consumer, name="index", start="oldest", stop=stop)
    assert consumer.of("checkpoint") == [8]
    waiting = threading.Event()

    class Waits(Recorder):
        def on_start(self) -> None:
            waiting.set()

    second = Waits()
    thread = threading.Thread(target=lambda: Client(relay.url).run(second, name="index", stop=stop))
    stop.clear()
    thread.start()
    assert waiting.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert second.calls == [("stop", None)]


def test_events_that_come_later_are_delivered(shop: World, relay: Relay) -> None:
    def act(event: ChangeEvent) -> Next | None:
        if event.scn == 8:
            shop.commit("customers", numbered("x", "z"))
        return Next.STOP if event.scn == 9 else None

    consumer = Recorder(act)
    Client(relay.url).run(consumer, name="index", start="oldest")
    assert consumer.scns == list(range(1, 10))


def test_a_failed_event_comes_again_from_the_last_checkpoint(shop: World, relay: Relay) -> None:
    failures = [ValueError("once"), RuntimeError("twice")]

    def act(event: ChangeEvent) -> Next | None:
        if event.scn == 2:
            return Next.CHECKPOINT
        if event.scn == 4 and failures:
            raise failures.pop(0)
        return None

    consumer = Recorder(act)
    Client(relay.url).run(consumer, name="index", start="oldest", until_head=True, retries=QUICK)
    assert consumer.scns == [1, 2, 3, 4, 3, 4, 3, 4, 5, 6, 7, 8]
    assert consumer.of("error") == [("once", 4), ("twice", 4)]
    assert consumer.of("rollback") == [2, 2]
    assert consumer.of("checkpoint") == [2, 8]


def test_a_run_halts_where_an_event_keeps_failing(shop: World, relay: Relay) -> None:
    consumer = Recorder(at(4, lambda: throw(ValueError("no\nway"))))
    with pytest.raises(ConsumerError, match="consumer index: on_event failed 3 times at SCN 4 of customers") as halted:
        Client(relay.url).run(consumer, name="index", start="oldest", until_head=True, retries=QUICK)
    assert "ValueError: no way" in str(halted.value)
    assert halted.value.exit_code == 7
    assert consumer.scns == [1, 2, 3, 4] * 3
    assert consumer.calls[-1] == ("stop", None)
    again = Recorder()
    Client(relay.url).run(again, name="index", start="oldest", until_head=True)
    assert again.scns == list(range(1, 9))


def test_retry_counts_as_no_attempt(shop: World, relay: Relay) -> None:
    left = [None] * 10
    consumer = Recorder(at(4, lambda: Next.RETRY if left and (left.pop() or True) else None))
    Client(relay.url).run(consumer, name="index", start="oldest", until_head=True, retries=QUICK)
    assert consumer.scns == [1, 2, 3, 4] * 10 + list(range(1, 9))
    assert consumer.of("error") == []


def test_retry_ends_when_patience_does(shop: World, relay: Relay) -> None:
    consumer = Recorder(at(4, lambda: Next.RETRY))
    retries = Retries(first_seconds=0.001, most_seconds=0.01, give_up_after=0.1)
    with pytest.raises(ConsumerError, match="give_up_after"):
        Client(relay.url).run(consumer, name="index", start="oldest", until_head=True, retries=retries)


def test_start_and_stop_are_paired(shop: World, relay: Relay) -> None:
    class Fails(Recorder):
        def on_start(self) -> None:
            super().on_start()
            raise ValueError("not ready")

    consumer = Fails()
    with pytest.raises(ConsumerError, match="on_start failed: ValueError: not ready"):
        Client(relay.url).run(consumer, name="index", start="oldest")
    assert consumer.calls == [("start", None)]


def test_options_that_make_no_sense(relay: Relay, tmp_path: Path) -> None:
    client = Client(relay.url)
    for options in (
        {"name": ""},
        {"workers": 0},
        {"bootstrap": "never"},
        {"start": "yesterday"},
        {"start": -1},
        {"ops": ["upsert"]},
        {"partition": "1"},
        {"group": True, "checkpoints": tmp_path / "c.json"},
    ):
        with pytest.raises(UsageError):
            client.run(Recorder(), **{"name": "index", **options})  # type: ignore[arg-type]
    for wrong in ({"attempts": 0}, {"first_seconds": 2, "most_seconds": 1}, {"callback_seconds": 0}):
        with pytest.raises(UsageError):
            Retries(**wrong)  # type: ignore[arg-type]


def test_a_file_that_is_no_checkpoint_is_not_taken_for_a_new_consumer(relay: Relay, tmp_path: Path) -> None:
    for text in ("", "{}", '{"kind":"stream","cursor":"x"}', "[1]"):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(CorruptionError, match=r"c\.json"):
            Client(relay.url).run(Recorder(), name="index", checkpoints=tmp_path / "c.json")


def test_checkpoints_come_every_so_many_events(world: World, serve: Callable[..., Relay]) -> None:
    world.fed("orders")
    world.commit("orders", numbered(*range(25)))
    consumer = Recorder()
    pace = Pace(checkpoint_events=10)
    Client(serve().url).run(consumer, name="index", start="oldest", until_head=True, pace=pace)
    assert consumer.of("checkpoint") == [10, 20, 25]
